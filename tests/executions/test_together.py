"""Executions that quick steps take on together: one write for all, and the trouble of one is its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from threading import Event
from time import sleep
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models import F

from dataflow.lib.errors import TaskError
from executions import database, files, store
from executions.engine.outcomes import Completed, Failed, Outcome
from executions.engine.planner import Claim
from executions.models import Execution, TaskRun
from executions.store import saves, saving
from executions.worker import quickly
from executions.worker.carrier import Carrier
from executions.worker.node import Node
from executions.worker.together import Leaving, Together
from tests.carrier_driver import Tries, alone, ask, ended, go_on
from tests.executions_driver import age_due_times, age_wake, echo, event_types, failed, started, task
from tests.plugins.stack import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
TEXT = [{"name": "text", "type": "text", "value": "{{tasks.b.outputs.text}}"}]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of a busy machine takes no other way."""
    for name in ("SLOW_SECONDS", "STEP_SECONDS"):
        monkeypatch.setattr(f"executions.worker.together.{name}", 60.0)


def said(claim: Claim) -> Outcome:
    return Completed(outputs={"text": str(claim.inputs["text"])})


def several(number: int, *tasks: dict[str, Any], **fields: Any) -> list[Execution]:
    tasks = tasks or (echo("a", "hello"), echo("b", "{{tasks.a.outputs.text}}"))
    return [started(*tasks, **({"outputs": TEXT} | fields)) for _ in range(number)]


def joined(tries: Tries, executions: list[Execution]) -> Together:
    """All of them taken, and members."""
    together = Together("wk-1", run=tries)
    for loaded in store.take(len(executions)):
        assert together.join(loaded) is None
    assert len(together) == len(executions)
    return together


def step(together: Together) -> list[Leaving]:
    """A step of each, written."""
    return together.step() + together.receive()


def finish(together: Together) -> list[Leaving]:
    leaving = []
    while len(together):
        leaving += together.step()
    return leaving


def elsewhere(call: Callable[[], Any]) -> Any:
    """What ``call`` gives by a connection of its own, as another process has."""
    with ThreadPoolExecutor(1) as others:
        done = others.submit(call)
        others.submit(lambda: connection.close()).result()  # noqa: PLW0108 - the thread's own one
    return done.result()


def go_on_alone(tries: Tries, leaving: list[Leaving]) -> None:
    for one in leaving:
        alone(tries).carry(one.id, one.taken)


def assert_each_finds_out(
    tries: Tries, together: Together, executions: list[Execution], leaving: list[Leaving]
) -> None:
    """All were given back, to be read again, and go on alone: nothing is lost or doubled."""
    assert leaving == [Leaving(one.pk) for one in executions]
    assert len(together) == 0
    go_on_alone(tries, leaving)
    for execution in executions:
        assert ended(execution)[0] == "COMPLETED"
        assert event_types(execution).count("task.completed a") == 1


def writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many executions each write brought a step of, from now on."""
    found: list[int] = []

    def counted(write: Callable[..., Any], at: int) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            found.append(len(given[at]))
            return write(*given)

        return call

    monkeypatch.setattr(saving, "write", counted(saving.write, 0))
    monkeypatch.setattr(saves.Saves, "_send", counted(saves.Saves._send, 1))
    return found


def test_a_step_of_each_is_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    executions = several(3)
    together = joined(Tries(said), executions)
    found = writes(monkeypatch)
    assert finish(together) == []
    assert found == [3, 3]
    for execution in executions:
        assert ended(execution) == ("COMPLETED", {"text": "hello"})
        assert event_types(execution) == [
            "execution.created", "execution.started", "task.started a", "task.completed a", "task.started b",
            "task.completed b", "execution.completed",
        ]  # fmt: skip


def test_each_step_is_a_commit_of_its_own() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite does not tell which transaction wrote a row")
    (execution,) = several(1)
    assert finish(joined(Tries(said), [execution])) == []
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT xmin::text::int FROM executions_taskrun ORDER BY 1")
        of_runs = [row[0] for row in cursor.fetchall()]
        cursor.execute("SELECT xmin::text::int FROM executions_execution")
        assert len(of_runs) == 2
        assert cursor.fetchone()[0] == of_runs[-1]


STATUSES = "SELECT status FROM executions_taskrun WHERE name = 'a'"


def by_transaction() -> list[Any]:
    with database.writing():
        return list(TaskRun.objects.filter(name="a").values_list("status"))


@pytest.mark.parametrize(
    "ask_it",
    [
        lambda: list(TaskRun.objects.filter(name="a").values_list("status")),
        lambda: database.rows_of(STATUSES),
        by_transaction,
    ],
    ids=["Django's way", "prepared", "in a transaction"],
)
def test_who_asks_the_database_within_a_step_finds_the_last_one_written(ask_it: Callable[[], list[Any]]) -> None:
    (execution,) = several(1)
    seen: list[list[Any]] = []

    def answer(claim: Claim) -> Outcome:
        seen.append(ask_it())
        return said(claim)

    assert finish(joined(Tries(answer), [execution])) == []
    assert seen == [[], [("COMPLETED",)]]
    assert connection.execute_wrappers == []


@pytest.mark.parametrize("number", [1, 2, 3])
def test_items_are_put_together_behind_other_tasks(number: int) -> None:
    """What their lists are made of is asked for while the task before is under way, of each execution."""
    each = echo("b", "{{item}}", for_each=["x", "y"])
    outputs = [{"name": "all", "type": "list", "value": "{{tasks.b.outputs.text}}"}]
    executions = several(number, echo("a", "hello"), each, echo("c", "{{tasks.a.outputs.text}}"), outputs=outputs)
    tries = Tries(said)
    assert finish(joined(tries, executions)) == []
    assert [ended(one) for one in executions] == [("COMPLETED", {"all": ["x", "y"]})] * number
    assert tries.twice() == [] or number > 1
    assert len(tries.ran) == 4 * number


def test_those_whose_ends_concern_others_end_together() -> None:
    executions = several(3, monitoring={"webhook_url": "https://example.com/hook"})
    tries = Tries(said)
    assert finish(joined(tries, executions)) == []
    assert [ended(one)[0] for one in executions] == ["COMPLETED"] * 3
    assert len(tries.ran) == 6
    assert [one.deliveries.count() for one in executions] == [2] * 3


def test_one_that_concerns_others_and_was_changed_is_not_written_over() -> None:
    """Somebody else's change makes the very revision that its last step names."""
    quiet, watched = several(1)[0], several(1, monitoring={"webhook_url": "https://example.com/hook"})[0]
    together = joined(Tries(said), [quiet, watched])
    together._members[1].row.monitoring = {"url": "https://example.com/hook", "events": ["completed"]}
    elsewhere(lambda: Execution.objects.filter(pk=watched.pk).update(revision=F("revision") + 1))
    assert finish(together) == [Leaving(watched.pk)]
    assert event_types(watched) == ["execution.created"]
    assert ended(quiet)[0] == "COMPLETED"


def test_a_bell_that_cannot_be_rung_hides_nothing_that_is_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    executions = several(2)
    together = joined(Tries(said), executions)
    elsewhere(lambda: Execution.objects.filter(pk=executions[1].pk).update(revision=F("revision") + 1))

    def away(_steps: Any) -> None:
        raise OperationalError("the broker is away")

    with monkeypatch.context() as patched:
        patched.setattr(saves, "ring", away)
        patched.setattr(saving, "ring", away)
        leaving = finish(together)
    assert {one.id for one in leaving} == {one.pk for one in executions}
    assert event_types(executions[1]) == ["execution.created"]
    go_on_alone(Tries(said), leaving)
    assert [ended(one)[0] for one in executions] == ["COMPLETED"] * 2


def test_time_does_not_go_backwards_by_what_was_answered_long_ago() -> None:
    (execution,) = several(1)
    together = joined(Tries(said), [execution])
    (member,) = together._members
    together.step()
    sleep(0.2)
    before = member.clock.now()
    together.receive()
    assert member.clock.now() >= before


def test_items_of_several_writes_are_put_together_from_all_of_them() -> None:
    items = [str(place) for place in range(quickly.MAX_ITEMS + 100)]
    all_of_them = {"name": "all", "type": "list", "value": "{{tasks.a.outputs.text}}"}
    each = echo("a", "{{item}}", for_each="{{inputs.items}}")
    given = {"inputs": [{"name": "items", "type": "list"}], "values": {"items": items}}
    (execution,) = several(1, each, echo("b", "x"), outputs=[all_of_them], **given)
    together = joined(Tries(said), [execution])
    assert finish(together) == []
    assert ended(execution) == ("COMPLETED", {"all": items})


def test_who_asks_the_database_and_hears_of_its_end_tells_the_others() -> None:
    """The answers that were waited for are lost: nobody may go on as if they were good ones."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no connection to lose")
    executions = several(2)

    def answer(claim: Claim) -> Outcome:
        if claim.task == "b" and claim.execution_id == executions[0].pk:
            elsewhere(lambda: connection.cursor().execute("SELECT pg_terminate_backend(%s, 5000)", [server]))
            Execution.objects.get(pk=execution_id)
        return said(claim)

    together = joined(Tries(answer), executions)
    server, execution_id = connection.connection.info.backend_pid, executions[0].pk
    with locked(executions[0]):
        assert together.step() == []
        assert sorted(one.id for one in together.step()) == sorted(one.pk for one in executions)
    assert len(together) == 0
    assert connection.execute_wrappers == []
    go_on_alone(Tries(said), [Leaving(one.pk) for one in executions])
    assert [ended(one)[0] for one in executions] == ["COMPLETED"] * 2


@contextmanager
def locked(execution: Execution) -> Iterator[None]:
    """Another process has the execution's row: who writes to it waits."""
    taken, free = Event(), Event()

    def hold() -> None:
        with database.writing():
            assert store.load(execution.pk) is not None
            taken.set()
            assert free.wait(30)
        connection.close()

    with ThreadPoolExecutor(1) as others:
        held = others.submit(hold)
        assert taken.wait(30)
        try:
            yield
        finally:
            free.set()
            held.result()


def test_nobody_waits_for_a_write_to_run_the_next_task() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite writes within the call")
    (execution,) = several(1)
    tries = Tries(said)
    together = joined(tries, [execution])
    with locked(execution):
        assert together.step() == []
        assert len(together) == 1
        assert tries.ran == [("a", 1)]
        with pytest.MonkeyPatch.context() as patched:  # what follows the last one waits
            patched.setattr(together, "_received", lambda leaving: leaving)
            assert together.step() == []
        assert tries.ran == [("a", 1), ("b", 1)]
        assert elsewhere(partial(event_types, execution)) == ["execution.created"]
        assert len(together) == 1
    assert together.receive() == []
    assert len(together) == 0
    assert ended(execution) == ("COMPLETED", {"text": "hello"})


def test_a_long_sequence_waits_now_and_then() -> None:
    """What is under way is bounded: it is what a crash cuts off."""
    names = [f"t{number}" for number in range(3 * saves.UNDER_WAY)]
    tasks = [echo(name, f"{{{{tasks.{before}.outputs.text}}}}") for before, name in pairwise(names)]
    (execution,) = several(1, echo(names[0], "x"), *tasks, outputs=[])
    together = joined(Tries(said), [execution])
    most = 0
    while len(together):
        assert together.step() == []
        most = max(most, len(together._saves._sent))
    assert most == (0 if connection.vendor == "sqlite" else saves.UNDER_WAY - 1)
    assert ended(execution)[0] == "COMPLETED"
    assert elsewhere(lambda: [event.sequence for event in execution.events.order_by("sequence")]) == [
        *range(1, 2 * len(names) + 4)
    ]


def test_they_join_and_end_at_different_times(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = Tries(said)
    together = joined(tries, several(2))
    step(together)
    (late,) = several(1)
    (taken,) = store.take(1)
    assert together.join(taken) is None
    found = writes(monkeypatch)
    assert finish(together) == []
    assert found == [3, 1]
    assert ended(late)[0] == "COMPLETED"


def test_one_that_was_cancelled_meanwhile_is_left_and_the_others_go_on() -> None:
    executions = several(3)
    tries = Tries(said)
    together = joined(tries, executions)
    together.step()
    elsewhere(partial(wait_until, executions[1].task_runs.exists, timeout=30, what="the first step"))
    elsewhere(lambda: store.cancel(executions[1].pk, reason="enough", by="ann"))
    leaving = finish(together)
    assert leaving == [Leaving(executions[1].pk)]
    go_on_alone(tries, leaving)
    assert [ended(one)[0] for one in executions] == ["COMPLETED", "CANCELLED", "COMPLETED"]
    assert event_types(executions[1])[-2:] == ["task.cancelled b", "execution.cancelled"]


def test_several_steps_of_one_that_was_changed_are_all_for_nothing() -> None:
    (execution,) = several(1)
    tries = Tries(said)
    together = joined(tries, [execution])
    elsewhere(lambda: store.cancel(execution.pk, reason="enough", by="ann"))
    assert finish(together) == [Leaving(execution.pk)]
    assert event_types(execution)[1:] == ["task.cancelled a", "task.cancelled b", "execution.cancelled"]


def test_what_follows_a_step_that_did_not_hold_does_not_either() -> None:
    """Somebody else's change makes the very revision that the second step names."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite knows of each step at once whether it held")
    (execution,) = several(1, echo("a", "x"), echo("b", "y"), echo("c", "z"), outputs=[])
    tries = Tries(said)
    together = joined(tries, [execution])
    elsewhere(lambda: Execution.objects.filter(pk=execution.pk).update(revision=F("revision") + 1))
    assert together.step() == []
    assert together.step() == []
    assert together.receive() == [Leaving(execution.pk)]
    assert event_types(execution) == ["execution.created"]
    go_on_alone(tries, [Leaving(execution.pk)])
    assert ended(execution)[0] == "COMPLETED"
    assert tries.ran == [("a", 1), ("b", 1), ("a", 1), ("b", 1), ("c", 1)]


def test_a_connection_lost_with_writes_under_way_loses_and_doubles_nothing() -> None:
    """Of what was sent the first part is committed, or all, or nothing: whatever it is, they go on from there."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no connection to lose")
    executions = several(3)
    tries = Tries(said)
    together = joined(tries, executions)
    with locked(executions[1]):
        assert together.step() == []
        server = connection.connection.info.backend_pid
        elsewhere(lambda: connection.cursor().execute("SELECT pg_terminate_backend(%s)", [server]))
        leaving = finish(together)
    assert_each_finds_out(tries, together, executions, leaving)
    assert len(tries.ran) == 3 * (1 + 1 + 2)  # `a`, and `b` for nothing; then both again


def test_a_write_that_cannot_be_is_the_trouble_of_each() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite's numbers have room for it")
    executions = several(2)
    tries = Tries(said)
    together = joined(tries, executions)
    together._members[0].row.sequence = 2**40  # PostgreSQL's number is too small for it
    leaving = finish(together)
    assert_each_finds_out(tries, together, executions, leaving)


def test_a_lost_answer_loses_and_doubles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The write is committed, but its answer is lost with the connection."""
    executions = several(3)
    tries = Tries(said)
    together = joined(tries, executions)
    receive = store.Saves.receive

    def receive_and_lose(saving: store.Saves) -> None:
        receive(saving)
        raise OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patched:
        patched.setattr(store.Saves, "receive", receive_and_lose)
        leaving = step(together)
    assert_each_finds_out(tries, together, executions, leaving)
    assert sorted(tries.ran) == [("a", 1)] * 3 + [("b", 1)] * 3


def test_a_failure_writes_its_attempt_and_the_others_are_written_together(monkeypatch: pytest.MonkeyPatch) -> None:
    executions = several(3)
    failing = executions[2].pk

    def answer(claim: Claim) -> Outcome:
        if claim.execution_id == failing:
            return Failed(error=TaskError("communication", "no", retryable=False))
        return said(claim)

    together = joined(Tries(answer), executions)
    found = writes(monkeypatch)
    assert finish(together) == []
    assert found == [2, 1, 2]
    assert [ended(one)[0] for one in executions] == ["COMPLETED", "COMPLETED", "FAILED"]
    assert task(executions[2], "a").attempts.count() == 1


def test_a_defect_in_one_is_its_own() -> None:
    executions = several(2)
    broken = executions[0].pk

    def answer(claim: Claim) -> Outcome:
        if claim.execution_id == broken:
            raise RuntimeError("a defect of the platform")
        return said(claim)

    together = joined(Tries(answer), executions)
    assert finish(together) == [Leaving(broken)]
    assert ended(executions[1])[0] == "COMPLETED"
    assert Execution.objects.get(pk=broken).status == "PENDING"


def test_what_follows_is_not_quick_goes_on_in_a_thread_with_one_write_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the quick task and the start of the other one are one write, as always."""
    (execution,) = several(1, echo("a", "hello"), ask("b"), outputs=[])
    tries = Tries(lambda claim: Completed(outputs={"text": "x"} if claim.task == "a" else {"body": "y"}))
    together = joined(tries, [execution])
    found = writes(monkeypatch)
    leaving = finish(together)
    assert [one.id for one in leaving] == [execution.pk]
    assert leaving[0].taken is not None
    go_on_alone(tries, leaving)
    assert tries.ran == [("a", 1), ("b", 1)]
    assert found[-2:] == [1, 1]
    assert len([number for number in found if number]) == 2
    assert ended(execution)[0] == "COMPLETED"


@pytest.mark.parametrize("kind", ["skipped", "failed"])
@pytest.mark.parametrize("where", ["together", "in a thread"])
def test_a_quick_task_that_does_not_run_makes_no_other_one_run_as_quick(where: str, kind: str) -> None:
    """What becomes ready as a quick task is skipped, or cannot even begin, is claimed first, and runs once."""
    middle = [
        echo("x", "no", condition="1 == 2"),
        echo("b", "{{tasks.x.outputs.text}}"),
    ]
    if kind == "failed":
        middle = [echo("b", "{{inputs.items[7]}}", continue_on_failure=True)]
    given = {"inputs": [{"name": "items", "type": "list"}], "values": {"items": ["only one"]}}
    (execution,) = several(1, echo("a", "hello"), *middle, ask("c", depends_on=["b"]), outputs=[], **given)
    seen: list[str] = []

    def answer(claim: Claim) -> Outcome:
        if claim.task == "c":
            seen.extend(elsewhere(lambda: list(TaskRun.objects.filter(name="c").values_list("status", flat=True))))
            return Completed(outputs={"body": "y"})
        return said(claim)

    tries = Tries(answer)
    if where == "together":
        go_on_alone(tries, finish(joined(tries, [execution])))
    else:
        alone(tries).carry(execution.pk)
    assert tries.ran == [("a", 1), ("c", 1)]
    assert seen == ["RUNNING"]
    assert ended(execution)[0] == "COMPLETED"
    assert task(execution, "b").status == kind.upper()


def test_a_slow_one_goes_on_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executions.worker.together.SLOW_SECONDS", -1.0)
    (execution,) = several(1)
    tries = Tries(said)
    leaving = joined(tries, [execution]).step()
    assert [one.id for one in leaving] == [execution.pk]
    go_on_alone(tries, leaving)
    assert tries.ran == [("a", 1), ("b", 1)]
    assert ended(execution)[0] == "COMPLETED"


def test_who_has_no_turn_in_time_goes_on_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others take so long for their step that nothing of this one was run: nothing is lost or done twice."""
    executions = several(3)
    tries = Tries(said)
    together = joined(tries, executions)
    monkeypatch.setattr("executions.worker.together.STEP_SECONDS", -1.0)
    leaving = together.step()
    assert tries.ran == []
    assert {one.id for one in leaving} == {one.pk for one in executions}
    go_on_alone(tries, leaving)
    assert [ended(one)[0] for one in executions] == ["COMPLETED"] * 3
    assert sorted(tries.ran) == [("a", 1)] * 3 + [("b", 1)] * 3


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("kind", ["a quick fallback", "another fallback", "a retry at once"])
@pytest.mark.parametrize("where", ["together", "in a thread"])
def test_no_failed_try_is_forgotten(kind: str, slow: bool, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each task one try is told by one write: what follows a failed one is for the next write."""
    if slow:
        monkeypatch.setattr("executions.worker.together.SLOW_SECONDS", -1.0)
    choices: dict[str, dict[str, Any]] = {
        "a quick fallback": {"fallback": {"task": "text.static", "inputs": {"text": "spare"}}},
        "another fallback": {"fallback": {"task": "http.request", "inputs": {"url": "https://example.com/"}}},
        "a retry at once": {"retry": {"attempts": 2, "delay": 0, "jitter": 0}},
    }
    (execution,) = several(1, echo("a", "x", **choices[kind]), echo("b", "y"), outputs=[])
    failing = 2 if kind == "a retry at once" else 1

    def answer(claim: Claim) -> Outcome:
        if claim.task == "a" and claim.attempt <= failing:
            return failed()
        return Completed(outputs={"body": "z"} if claim.type == "http.request" else {"text": "z"})

    tries = Tries(answer)
    if where == "together":
        go_on_alone(tries, finish(joined(tries, [execution])))
    else:
        alone(tries).carry(execution.pk)
    go_on(tries)
    assert ended(execution)[0] == "COMPLETED"
    assert [one.number for one in task(execution, "a").attempts.order_by("number")] == [*range(1, failing + 1)]
    assert tries.ran == [*(("a", number) for number in range(1, failing + 2)), ("b", 1)]


def test_those_that_leave_are_carried_on_from_where_they_are() -> None:
    executions = several(2)
    tries = Tries(said)
    together = joined(tries, executions)
    together.step()
    leaving = together.leave()
    assert len(together) == 0
    go_on_alone(tries, leaving)
    assert sorted(tries.ran) == [("a", 1), ("a", 1), ("b", 1), ("b", 1)]
    assert [ended(one)[0] for one in executions] == ["COMPLETED"] * 2


@pytest.mark.parametrize(
    ("tasks", "fields"),
    [
        ([ask("a")], {}),
        ([echo("a", "x"), ask("b", depends_on=[])], {}),
        ([echo("a", "x")], {"concurrency": {"limit": 1}}),
    ],
    ids=["not quick", "one of two is not", "its slot must be locked"],
)
def test_who_may_not_join(tasks: list[dict[str, Any]], fields: dict[str, Any]) -> None:
    started(*tasks, **fields)
    (taken,) = store.take(1)
    assert Together("wk-1", run=Tries()).join(taken) == Leaving(taken.row.id, taken)


def test_nothing_is_planned_before_files_by_url_are_there() -> None:
    """A condition on a file would be decided on its URL."""
    inputs = [{"name": "file", "type": "file"}]
    started(
        echo("a", "x", condition="inputs.file.size > 0"),
        inputs=inputs,
        values={"file": {"url": "https://example.com/a.txt"}},
    )
    (taken,) = store.take(1)
    assert Together("wk-1", run=Tries()).join(taken) == Leaving(taken.row.id, taken)
    assert taken.run.tasks == {}
    assert taken.run.events == []


def test_one_that_cannot_even_be_planned_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What planned half of it is not used: it is read again."""
    (execution,) = several(1, echo("a", "x", condition="1 == 1"), outputs=[])

    def away(*_: Any) -> bool:
        raise OperationalError("the database is away")

    monkeypatch.setattr("executions.engine.planner.check_condition", away)
    (taken,) = store.take(1)
    assert Together("wk-1", run=Tries()).join(taken) == Leaving(execution.pk)


def test_who_began_already_does_not_join() -> None:
    """What its tasks gave is to be read first, and may be large."""
    (execution,) = several(
        1, echo("a", "x"), echo("b", "y", retry={"attempts": 1, "delay": 60, "jitter": 0}), outputs=[]
    )
    tries = Tries(lambda claim: failed() if claim.task == "b" and claim.attempt == 1 else said(claim))
    alone(tries).carry(execution.pk)
    age_due_times(execution)
    age_wake(execution, seconds=3600)
    (taken,) = store.take(1)
    assert Together("wk-1", run=tries).join(taken) == Leaving(taken.row.id, taken)


@pytest.mark.parametrize("where", ["a task's", "the workflow's"])
def test_large_outputs_are_stored_by_a_thread(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A storage may take as long as it likes: the others do not wait for it."""
    stored: list[str] = []
    keep = files._keep

    def kept(name: str, text: bytes, **given: Any) -> dict[str, Any]:
        stored.append(name)
        return keep(name, text, **given)

    monkeypatch.setattr(files, "_keep", kept)
    half = "x" * (files.INLINE_BYTES // (1 if where == "a task's" else 2))
    inputs = [{"name": "text", "type": "text"}]
    outputs = [{"name": "both", "type": "text", "value": "{{tasks.a.outputs.text}}{{tasks.a.outputs.text}}"}]
    execution = started(echo("a", "{{inputs.text}}"), inputs=inputs, outputs=outputs, values={"text": half})
    node = Node(threads=1)
    together = Together(node.id, run=partial(node.run, may_store=False))
    (taken,) = store.take(1)
    assert together.join(taken) is None
    (leaving,) = finish(together)
    assert stored == []
    Carrier(node.id, run=node.run, holding=node.holding).carry(leaving.id, leaving.taken)
    assert stored == (["text", "both"] if where == "a task's" else ["both"])
    assert ended(execution)[0] == "COMPLETED"
    assert event_types(execution).count("task.completed a") == 1


def test_after_a_death_nobody_joins() -> None:
    """Its tries are counted one by one then: a text that kills its worker takes nobody with it twice."""
    (execution,) = several(1)
    store.take(1)
    age_wake(execution, seconds=3600)
    (again,) = store.take(1)
    assert again.row.takes == 2
    assert Together("wk-1", run=Tries(said)).join(again) == Leaving(again.row.id, again)


def test_who_waits_after_a_step_is_done_with() -> None:
    """A retry that is due later: written with when to look again, and no member any more."""
    (execution,) = several(1, echo("a", "x", retry={"attempts": 2, "delay": 60, "jitter": 0}), outputs=[])
    tries = Tries(lambda _claim: Failed(error=TaskError("communication", "no", retryable=True)))
    together = joined(tries, [execution])
    assert step(together) == []
    assert len(together) == 0
    row = Execution.objects.get(pk=execution.pk)
    assert row.wake_at is not None
    assert task(execution, "a").status == "WAITING"
    assert row.wake_at == task(execution, "a").due_at
