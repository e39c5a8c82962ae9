"""Items of a ``for_each`` task: what others see of them, what is large, what fails and is accepted."""

from __future__ import annotations

from typing import Any

import pytest

from executions import files, store
from executions.database import writing
from executions.engine.outcomes import Completed, Outcome
from executions.engine.planner import Claim
from executions.models import Execution, StoredFile, TaskRun
from tests.carrier_driver import Tries, alone, ask, each, ended, go_on, item_runs
from tests.executions_driver import carry, event_types, failed, started, task

pytestmark = pytest.mark.django_db(transaction=True)
BODIES = {"name": "all", "type": "any", "value": "{{tasks.a.outputs.body}}"}
LARGE = "ä" * 150_000  # 300 kB of JSON


def output(value: str) -> list[dict[str, Any]]:
    return [{"name": "all", "type": "any", "value": value}]


def but(bad: str) -> Tries:
    def answer(claim: Claim) -> Outcome:
        return failed(retryable=False) if claim.task == bad else Completed(outputs={"body": claim.task})

    return Tries(answer)


def test_renames_are_those_of_an_item() -> None:
    renamed = {"outputs": [{"name": "page", "value": "{{outputs.text}}"}]}
    loop = {"name": "a", "type": "text.echo", "inputs": {"text": "{{item}}"}, "for_each": ["x", "y"], **renamed}
    execution = started(loop, outputs=output("{{tasks.a.outputs.page}}"))
    carry(execution)
    assert ended(execution) == ("COMPLETED", {"all": ["x", "y"]})


def test_a_failed_task_of_items_can_be_accepted() -> None:
    execution = started(each("a", [1, 2, 3], concurrency=1, continue_on_failure=True), ask("b"), outputs=[BODIES])
    tries = but("a[1]")
    alone(tries).carry(execution.pk)
    assert ended(execution) == ("COMPLETED", {"all": None})
    assert tries.ran == [("a[0]", 1), ("a[1]", 1), ("b", 1)]
    assert (task(execution, "a").status, task(execution, "b").status) == ("FAILED", "COMPLETED")


def test_items_are_seen_by_what_follows_as_one_list() -> None:
    loop = {"name": "a", "type": "text.echo", "inputs": {"text": "{{item}}"}, "for_each": ["x", "y", "z"]}
    count = {"name": "b", "type": "text.echo", "inputs": {"text": "{{size(tasks.a.outputs.text)}} {{tasks.a.outputs.text[2]}}"}}  # fmt: skip
    execution = started(loop, count, outputs=output("{{tasks.b.outputs.text}}"))
    carry(execution)
    assert ended(execution) == ("COMPLETED", {"all": "3 z"})


def test_large_outputs_of_items_are_kept_as_files_and_so_is_their_list() -> None:
    loop = {"name": "a", "type": "text.static", "inputs": {"text": "{{inputs.text}}{{item}}"}, "for_each": [1, 2, 3]}
    last = {"name": "b", "type": "text.size", "inputs": {"text": "{{tasks.a.outputs.text[2]}}"}}
    given = [{"name": "text", "type": "text"}]
    execution = started(loop, last, inputs=given, values={"text": LARGE}, outputs=output("{{tasks.b.outputs.size}}"))
    carry(execution)
    assert ended(execution) == ("COMPLETED", {"all": len(LARGE) + 1})
    runs = item_runs(execution)
    assert [run.outputs for run in runs] == [{"text": None}] * 3
    assert {StoredFile.objects.get(pk=run.stored["text"]["file_id"]).task for run in runs} == {f"a[{at}]" for at in range(3)}  # fmt: skip
    row = task(execution, "a")
    assert row.outputs == {"text": None}
    with files.open_stored(row.stored["text"]["file_id"]) as content:
        assert content.read().decode().count("ä") == 3 * len(LARGE)


def test_a_list_that_comes_from_a_large_output_is_read_again_by_each_worker() -> None:
    """The list is no part of what is stored of the task: whoever goes on works it out from what it came from."""
    made = ask("list")
    execution = started(made, each("a", "{{tasks.list.outputs.json}}", depends_on=["list"]), outputs=[BODIES])

    def answer(claim: Claim) -> Outcome:
        if claim.task != "list":
            return Completed(outputs={"body": claim.inputs["url"].rpartition("/")[2][:1]})
        inline, stored = files.keep_large({"json": [*"xyz", LARGE]}, execution_id=execution.pk, task="list")
        return Completed(outputs=inline, stored=stored)

    tries = Tries(answer)
    claimed = store.step(execution.pk, worker="wk-1")
    while claimed is not None:
        ended_try = store.EndOfTry(claim=claimed, outcome=tries(claimed))
        assert store.step(execution.pk, worker="wk-1", ended=ended_try, claiming=False) is None
        claimed = store.step(execution.pk, worker="wk-1")
    assert ended(execution) == ("COMPLETED", {"all": ["x", "y", "z", "ä"]})


def test_the_items_of_two_tasks_go_on_beside_each_other() -> None:
    other = each("b", [1, 2], depends_on=[])
    execution = started(each("a", [1, 2, 3], depends_on=[]), other, outputs=[BODIES])
    tries = Tries()
    alone(tries).carry(execution.pk)
    assert ended(execution) == ("COMPLETED", {"all": ["a[0]", "a[1]", "a[2]"]})
    assert sorted(name for name, _ in tries.ran) == ["a[0]", "a[1]", "a[2]", "b[0]", "b[1]"]
    assert task(execution, "b").outputs["body"] == ["b[0]", "b[1]"]
    event_types(execution)


def test_only_what_is_under_way_is_read() -> None:
    """A step over many items reads none of those that have ended."""
    execution = started(each("a", list(range(30)), concurrency=2))
    tries = Tries()
    claims = [store.step(execution.pk, worker="wk-1") for _ in range(2)]
    for claimed in claims:
        assert claimed is not None
        store.step(execution.pk, worker="wk-1", ended=store.EndOfTry(claim=claimed, outcome=tries(claimed)))
    (loaded,) = _loaded(execution)
    assert sorted(loaded.run.tasks) == ["a", "a[2]", "a[3]"]
    assert TaskRun.objects.filter(execution=execution).count() == 5
    assert go_on(tries) == 0  # what runs is another worker's


def _loaded(execution: Execution) -> list[store.Loaded]:
    with writing():
        found = store.load(execution.pk)
    return [found] if found else []
