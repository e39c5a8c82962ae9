"""Quick tasks: their start and end are one write, and all the same nothing of them is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from dataflow.lib.errors import TaskError
from executions import queue, store, sweeper
from executions.engine.outcomes import Completed, Failed, Notes, Outcome
from executions.engine.planner import Claim
from executions.models import Attempt, Execution
from tests.carrier_driver import Tries, alone, ask, ended, go_on
from tests.executions_driver import age_due_times, age_leases, age_wake, echo, event_types, failed, started, task

pytestmark = pytest.mark.django_db(transaction=True)
RETRY = {"retry": {"attempts": 2, "delay": 60, "jitter": 0}}


def said(claim: Claim) -> Outcome:
    return Completed(outputs={"text": str(claim.inputs["text"])})


def test_a_quick_fallback_leaves_the_record_of_what_it_stands_in_for() -> None:
    """A write tells of one try of each task: the fallback waits for the next one."""
    for stand_in in ("text.echo", "text.static"):
        spare = {"task": stand_in, "inputs": {"text": "spare"}}
        execution = started(ask("a", fallback=spare))
        notes = Notes(usage={"tokens": 7}, log=({"at": "now", "level": "info", "message": "slow"},))

        def run(claim: Claim, notes: Notes = notes) -> Outcome:
            if claim.stands_in_for:
                return failed() if claim.type == "text.echo" else Completed(outputs={"text": "x"})
            return Failed(error=TaskError("runtime", "as told"), notes=notes)

        alone(run).carry(execution.pk)
        told = [(one.number, one.type, one.usage) for one in Attempt.objects.filter(task_run__execution=execution)]
        assert told[0] == (1, "http.request", {"tokens": 7})
        assert [kind for _, kind, _ in told[1:]] == ["text.echo"] * (stand_in == "text.echo")
        assert ended(execution)[0] == ("FAILED" if stand_in == "text.echo" else "COMPLETED")


def failing(*tries: tuple[str, int]) -> Tries:
    """Quick tries of which these fail."""
    return Tries(lambda claim: failed() if (claim.task, claim.attempt) in tries else said(claim))


def attempts(execution: Execution) -> list[tuple[Any, ...]]:
    found = Attempt.objects.filter(task_run__execution=execution).order_by("task_run__position", "number")
    return [(one.task_run.name, one.number, one.type, one.worker, one.inputs, one.error["code"]) for one in found]


def test_a_failed_try_is_kept_as_an_attempt() -> None:
    execution = started(echo("a", "hello"))
    alone(failing(("a", 1))).carry(execution.pk)
    assert ended(execution)[0] == "FAILED"
    assert attempts(execution) == [("a", 1, "text.echo", "wk-1", {"text": "hello"}, "communication")]
    (attempt,) = Attempt.objects.all()
    row = task(execution, "a")
    assert attempt.started_at == row.attempt_started_at
    assert row.completed_at is not None
    assert attempt.ended_at >= row.completed_at


def test_each_of_several_tries_is_kept() -> None:
    execution = started(echo("a", "hello", **RETRY))
    tries = failing(("a", 1), ("a", 2))
    for _ in range(3):
        alone(tries).carry(execution.pk)
        age_due_times(execution)
        age_wake(execution, seconds=3600)
    assert ended(execution)[0] == "COMPLETED"
    assert tries.ran == [("a", 1), ("a", 2), ("a", 3)]
    assert attempts(execution) == [
        ("a", number, "text.echo", "wk-1", {"text": "hello"}, "communication") for number in (1, 2)
    ]
    first, second = Attempt.objects.order_by("number")
    assert first.started_at is not None
    assert second.started_at is not None
    assert first.started_at <= first.ended_at <= second.started_at <= second.ended_at


def test_a_fallback_has_an_attempt_before_it() -> None:
    spare = {"fallback": {"task": "text.static", "inputs": {"text": "spare"}}}
    execution = started(echo("a", "hello", **spare), outputs=[{"name": "t", "type": "text", "value": "{{tasks.a.outputs.text}}"}])  # fmt: skip
    alone(failing(("a", 1))).carry(execution.pk)
    assert ended(execution) == ("COMPLETED", {"t": "spare"})
    assert attempts(execution) == [("a", 1, "text.echo", "wk-1", {"text": "hello"}, "communication")]
    row = task(execution, "a")
    assert (row.type, row.attempt, row.inputs) == ("text.static", 2, {"text": "spare"})


def test_failed_items_have_attempts() -> None:
    each = {"name": "a", "type": "text.echo", "inputs": {"text": "{{item}}"}, "for_each": "{{inputs.items}}"}
    given = [{"name": "items", "type": "list"}]
    execution = started(each | {"on_item_failure": "null"}, inputs=given, values={"items": ["x", "y", "z"]})
    alone(failing(("a[1]", 1))).carry(execution.pk)
    assert ended(execution)[0] == "COMPLETED"
    assert attempts(execution) == [("a[1]", 1, "text.echo", "wk-1", {"text": "y"}, "communication")]


def test_what_a_try_notes_is_kept() -> None:
    execution = started(echo("a", "hello"))
    notes = Notes(usage={"seconds": 1}, log=({"at": "now", "level": "info", "message": "here"},))
    alone(Tries(lambda claim: Completed(outputs={"text": "x"}, notes=notes))).carry(execution.pk)
    row = task(execution, "a")
    assert (row.usage, row.log) == ({"seconds": 1}, [{"at": "now", "level": "info", "message": "here"}])
    assert (row.inputs, row.outputs, row.worker, row.attempt) == ({"text": "hello"}, {"text": "x"}, "wk-1", 1)


def test_the_log_is_that_of_any_task() -> None:
    execution = started(echo("a"), echo("b"))
    alone(Tries(said)).carry(execution.pk)
    assert event_types(execution) == [
        "execution.created", "execution.started", "task.started a", "task.completed a", "task.started b",
        "task.completed b", "execution.completed",
    ]  # fmt: skip


def test_after_a_death_each_try_is_claimed_before_it_runs() -> None:
    """A text that kills its worker cannot do so for ever: its tries are counted."""
    execution = started(echo("a"), echo("b"))

    class Death(BaseException):
        pass

    def die(claim: Claim) -> Outcome:
        if claim.task == "a":
            raise Death
        return said(claim)

    deaths = Tries(die)
    takes = []
    for number in range(1, 4):
        (taken,) = store.take(1)
        takes.append(taken.row.takes)
        with pytest.raises(Death):
            alone(deaths, f"wk-{number}").carry(execution.pk, taken)
        age_leases(execution)
        sweeper.sweep()
        age_wake(execution, seconds=queue.RING_AGAIN.total_seconds())
    assert takes == [1, 2, 1]
    status, error = ended(execution)
    assert (status, error["code"], error["task"]) == ("FAILED", "worker_lost", "a")
    assert task(execution, "a").lost == 3
    assert [attempt for _, attempt in deaths.ran] == [1, 1, 2]
    assert go_on(deaths) == 0


class Killed(BaseException):
    """A worker process is gone: what it had in hand with it."""


def after_a_death(executions: Sequence[Execution]) -> dict[str, store.Loaded]:
    """What is found once leases and looks have passed, and what a worker takes of it."""
    for execution in executions:
        age_leases(execution)
        age_wake(execution, seconds=queue.RING_AGAIN.total_seconds())
    sweeper.sweep()
    return {one.row.id: one for one in store.take(8)}


@pytest.mark.parametrize("before", [0, 1, 3])
def test_three_deaths_are_enough_wherever_in_the_sequence_it_stands(before: int) -> None:
    names = [f"t{number}" for number in range(before)]
    execution = started(*(echo(name) for name in names), echo("bad"))

    def run(claim: Claim) -> Outcome:
        if claim.task == "bad":
            raise Killed
        return said(claim)

    deaths = 0
    while taken := after_a_death([execution]):
        with pytest.raises(Killed):
            alone(run, f"wk-{deaths}").carry(execution.pk, taken[execution.pk])
        deaths += 1
    assert (deaths, ended(execution)[0], ended(execution)[1]["code"]) == (3, "FAILED", "worker_lost")
    assert [task(execution, name).attempt for name in names] == [1] * before


@pytest.mark.parametrize("killer", [(echo("bad"),), (echo("a"), echo("bad")), (ask("bad"),)])
def test_the_neighbours_of_what_kills_its_worker_go_on(killer: tuple[dict[str, Any], ...]) -> None:
    good, bad = started(ask("good")), started(*killer)
    taken: dict[str, store.Loaded] = {}
    deaths = 0

    def run(claim: Claim) -> Outcome:
        if claim.task == "bad":
            raise Killed
        if claim.task == "good" and bad.pk in taken:  # meanwhile another thread of the process is at it
            carrier.carry(bad.pk, taken.pop(bad.pk))
        return Completed(outputs={"body": "", "text": ""})

    while taken := after_a_death([good, bad]):
        carrier = alone(run, f"wk-{deaths}")
        try:
            for execution in (good, bad):
                if execution.pk in taken:
                    carrier.carry(execution.pk, taken.pop(execution.pk))
        except Killed:
            deaths += 1
        assert deaths < 10
    assert (ended(good)[0], ended(bad)[0], deaths) == ("COMPLETED", "FAILED", 3)
