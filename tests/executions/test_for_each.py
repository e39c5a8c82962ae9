"""Tasks that run once for each item of a list: order, bounds, failures, and what the log says of many."""

from __future__ import annotations

from typing import Any

import pytest

from dataflow.lib.errors import TaskError
from executions import store
from executions.engine.outcomes import Completed, Failed, Outcome
from executions.engine.planner import Claim
from executions.models import Attempt, Execution
from tests.carrier_driver import Tries, alone, ask, each, ended, go_on, item_runs, process
from tests.executions_driver import age_due_times, age_wake, event_types, started, task

pytestmark = pytest.mark.django_db(transaction=True)
ALL = [{"name": "all", "type": "list", "value": "{{tasks.a.outputs.body}}"}]


def url_of(claim: Claim) -> Outcome:
    return Completed(outputs={"body": str(claim.inputs["url"]).rpartition("/")[2]})


def but(*bad: str, error: TaskError | None = None) -> Tries:
    """Tries whose items end with their URL, but for the ``bad`` ones."""
    wrong = error or TaskError("runtime", "as told")
    return Tries(lambda claim: Failed(error=wrong) if claim.task in bad else url_of(claim))


def carried(execution: Execution, tries: Tries) -> tuple[str, Any]:
    alone(tries).carry(execution.pk)
    return ended(execution)


def test_the_outputs_are_lists_in_the_order_of_the_items() -> None:
    execution = started(each("a", ["x", "y", "z"], concurrency=3), outputs=ALL)
    with process(Tries(url_of)) as carrier:
        carrier.carry(execution.pk)
    assert ended(execution) == ("COMPLETED", {"all": ["x", "y", "z"]})
    assert [(run.name, run.item, run.status, run.attempt) for run in item_runs(execution)] == [
        (f"a[{at}]", at, "COMPLETED", 1) for at in range(3)
    ]
    assert task(execution, "a").items == {"total": 3, "next": 3, "completed": 3, "failed": 0}


def test_an_item_knows_its_place() -> None:
    given = {"text": "{{index}}:{{item.name}}"}
    tasks = {"name": "a", "type": "text.echo", "inputs": given, "for_each": [{"name": "x"}, {"name": "y"}]}
    value = {"name": "all", "type": "list", "value": "{{tasks.a.outputs.text}}"}
    execution = started(tasks, outputs=[value])
    tries = Tries(lambda claim: Completed(outputs={"text": claim.inputs["text"]}))
    assert carried(execution, tries) == ("COMPLETED", {"all": ["0:x", "1:y"]})


@pytest.mark.parametrize("bound", [1, 3])
def test_no_more_at_once_than_it_says(bound: int) -> None:
    execution = started(each("a", list(range(12)), concurrency=bound))
    tries = Tries(url_of)
    with process(tries, threads=6) as one, process(tries, threads=6, worker="wk-2") as two:
        one.carry(execution.pk)
        two.carry(execution.pk)
    go_on(tries)
    assert tries.most <= bound
    assert len(tries.ran) == 12
    assert ended(execution)[0] == "COMPLETED"


def test_a_failed_item_fails_the_task() -> None:
    execution = started(each("a", list(range(5)), concurrency=1), ask("b"))
    tries = but("a[2]")
    status, error = carried(execution, tries)
    assert [name for name, _ in tries.ran] == ["a[0]", "a[1]", "a[2]"]
    assert (status, error["code"], error["task"], error["item"]) == ("FAILED", "runtime", "a", 2)
    assert "Item 2" in error["message"]
    assert task(execution, "b").status == "CANCELLED"


def test_a_failed_item_stops_those_beside_it() -> None:
    execution = started(each("a", list(range(3)), concurrency=3, continue_on_failure=True))
    first, second = (store.step(execution.pk, worker="wk-1") for _ in range(2))
    assert first is not None
    assert second is not None
    ended_badly = store.EndOfTry(claim=first, outcome=Failed(error=TaskError("runtime", "as told")))
    store.step(execution.pk, worker="wk-1", ended=ended_badly)
    assert [run.status for run in item_runs(execution)] == ["FAILED", "CANCELLED"]
    late = store.EndOfTry(claim=second, outcome=url_of(second))
    assert store.step(execution.pk, worker="wk-1", ended=late) is None
    assert task(execution, "a[1]").status == "CANCELLED"
    assert ended(execution)[0] == "COMPLETED"


@pytest.mark.parametrize(("policy", "outputs"), [("null", ["0", None, "2", None]), ("drop", ["0", "2"])])
def test_failed_items_can_be_left_out(policy: str, outputs: list[str | None]) -> None:
    execution = started(each("a", list(range(4)), on_item_failure=policy), outputs=ALL)
    assert carried(execution, but("a[1]", "a[3]")) == ("COMPLETED", {"all": outputs})
    assert task(execution, "a").items == {"total": 4, "next": 4, "completed": 2, "failed": 2}
    assert event_types(execution).count("task.item_failed a") == 2


def test_each_item_has_retries_of_its_own() -> None:
    execution = started(each("a", list(range(3)), retry={"attempts": 1, "delay": 100}), outputs=ALL)

    def second_time(claim: Claim) -> Outcome:
        passing = TaskError("communication", "as told", retryable=True)
        return Failed(error=passing) if claim.attempt == 1 and claim.task != "a[1]" else url_of(claim)

    tries = Tries(second_time)
    alone(tries).carry(execution.pk)
    assert [run.status for run in item_runs(execution)] == ["WAITING", "COMPLETED", "WAITING"]
    assert go_on(tries) == 0
    age_due_times(execution)
    age_wake(execution, seconds=3600)
    assert go_on(tries) == 1
    assert ended(execution) == ("COMPLETED", {"all": ["0", "1", "2"]})
    assert sorted(tries.ran) == [("a[0]", 1), ("a[0]", 2), ("a[1]", 1), ("a[2]", 1), ("a[2]", 2)]
    assert sorted(Attempt.objects.values_list("task_run__name", "number")) == [("a[0]", 1), ("a[2]", 1)]


def test_each_item_has_a_fallback_of_its_own() -> None:
    spare = {"task": "http.request", "inputs": {"url": "http://example.org/spare{{index}}"}}
    execution = started(each("a", list(range(3)), fallback=spare), outputs=ALL)

    def first_fails(claim: Claim) -> Outcome:
        bad = claim.task == "a[1]" and not claim.stands_in_for
        return Failed(error=TaskError("runtime", "as told")) if bad else url_of(claim)

    assert carried(execution, Tries(first_fails)) == ("COMPLETED", {"all": ["0", "spare1", "2"]})
    assert [run.on_fallback for run in item_runs(execution)] == [False, True, False]


def test_an_empty_list_is_complete_at_once() -> None:
    execution = started(each("a", []), outputs=ALL)
    tries = Tries(url_of)
    assert carried(execution, tries) == ("COMPLETED", {"all": []})
    assert tries.ran == []


def test_a_list_of_a_skipped_task_skips_it() -> None:
    gone = {"name": "gone", "type": "http.request", "inputs": {"url": "http://example.com"}, "condition": "{{false}}"}
    execution = started(gone, each("a", "{{tasks.gone.outputs.json}}"))
    tries = Tries(url_of)
    assert carried(execution, tries)[0] == "COMPLETED"
    assert (task(execution, "a").status, tries.ran) == ("SKIPPED", [])
    assert "task gone" in task(execution, "a").reason


def test_items_that_lack_an_input_through_a_skipped_task_are_skipped_as_one() -> None:
    gone = ask("gone", condition="{{false}}")
    needs = {"url": "http://example.com/{{item}}/{{tasks.gone.outputs.body}}"}
    execution = started(gone, ask("a", inputs=needs, for_each=[1, 2]), ask("b"), outputs=[ALL[0] | {"type": "any"}])
    tries = Tries(url_of)
    assert carried(execution, tries) == ("COMPLETED", {"all": None})
    row = task(execution, "a")
    assert (row.status, row.reason) == ("SKIPPED", "Its input url comes from task gone, which gave no outputs.")
    assert ([name for name, _ in tries.ran], item_runs(execution)) == (["b"], [])
    assert event_types(execution)[:3] == ["execution.created", "task.skipped gone", "execution.started"]


def test_a_list_that_is_none_fails_it() -> None:
    execution = started(ask("first"), each("a", "{{tasks.first.outputs.json}}"))
    status, error = carried(execution, Tries(lambda _claim: Completed(outputs={"json": {"no": 1}})))
    assert (status, error["task"]) == ("FAILED", "a")
    assert item_runs(execution) == []


def test_a_cancel_in_the_middle_stops_the_rest() -> None:
    execution = started(each("a", list(range(6)), concurrency=2), ask("b"))

    def cancel_at_third(claim: Claim) -> Outcome:
        if claim.task == "a[2]":
            store.cancel(execution.pk, reason="", by="ann")
        return url_of(claim)

    tries = Tries(cancel_at_third)
    assert carried(execution, tries)[0] == "CANCELLED"
    assert [name for name, _ in tries.ran] == ["a[0]", "a[1]", "a[2]"]
    assert [run.status for run in item_runs(execution)] == ["COMPLETED", "COMPLETED", "CANCELLED"]
    assert [task(execution, name).status for name in "ab"] == ["CANCELLED", "CANCELLED"]
    assert go_on(tries) == 0


def test_a_lost_item_is_taken_over_alone() -> None:
    execution = started(each("a", list(range(2)), concurrency=2), outputs=ALL)
    dead = store.step(execution.pk, worker="wk-dead")
    assert dead is not None
    execution.task_runs.filter(name="a[0]").update(lease_until=execution.created_at)
    tries = Tries(url_of)
    assert carried(execution, tries) == ("COMPLETED", {"all": ["0", "1"]})
    assert sorted(tries.ran) == [("a[0]", 2), ("a[1]", 1)]
    assert task(execution, "a[0]").lost == 1


def test_a_thousand_items_and_a_short_log() -> None:
    execution = started(each("a", list(range(1000)), concurrency=50), ask("b"), outputs=ALL)
    tries = Tries(url_of)
    with process(tries, threads=4) as carrier:
        carrier.carry(execution.pk)
    assert tries.twice() == []
    status, outputs = ended(execution)
    assert (status, outputs["all"]) == ("COMPLETED", [str(at) for at in range(1000)])
    log = event_types(execution)
    assert log.count("task.progress a") == 20
    assert len(log) < 40


def test_a_thousand_failures_and_a_short_log() -> None:
    execution = started(each("a", list(range(300)), on_item_failure="null"))
    tries = Tries(lambda _claim: Failed(error=TaskError("runtime", "as told")))
    assert carried(execution, tries)[0] == "COMPLETED"
    assert event_types(execution).count("task.item_failed a") == 100
