"""Slots of workflows with a limit: ends and beginnings that meet lose none, and nobody waits for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db.models import F

from dataflow.lib.errors import ApiProblem
from dataflow.lib.fields import StatementNow
from executions import store, sweeper
from executions.database import writing
from executions.engine.outcomes import Completed, Outcome, Suspended
from executions.engine.planner import Claim
from executions.models import Event, Execution
from executions.services import new_execution, start_execution
from executions.store import slots, verbs
from tasks_lib.base import Wait
from tests.carrier_driver import Tries, alone, ask, ended, go_on
from tests.executions_driver import WORKER, age_due_times, age_wake, at_once, claim, settle, started, taken, task
from workflows.models import Workflow
from workflows.services import create_workflow, update_workflow

pytestmark = pytest.mark.django_db(transaction=True)
#: A race is tried so often; what is asserted holds whoever wins.
TIMES = 6


def limited(limit: int, on_limit: str = "queue") -> Workflow:
    bounds = {"limit": limit, "on_limit": on_limit}
    return create_workflow(document={"title": "L", "tasks": [ask("a")], "concurrency": bounds}).workflow


def accepted(of: Workflow, number: int) -> list[Execution]:
    return [start_execution(workflow=of, inputs={}) for _ in range(number)]


def forgotten(of: Workflow, number: int) -> list[Execution]:
    """Accepted, and who accepted them was killed before it did anything more."""
    rows = [new_execution(version=of.current(), inputs={}) for _ in range(number)]
    for row in rows:
        store.create(row)
    return rows


def statuses(executions: Sequence[Execution]) -> list[str]:
    return [ended(execution)[0] for execution in executions]


def come_due(execution: Execution) -> None:
    """As if the time that a start was asked for had come just now."""
    Execution.objects.filter(pk=execution.pk).update(start_at=StatementNow(), wake_at=StatementNow())


def parked(of: Workflow) -> int:
    return Execution.objects.filter(workflow=of, status="PENDING", wake_at__isnull=True).count()


def hold(*executions: Execution) -> list[Claim]:
    return [claim(execution) for execution in executions]


def park(*executions: Execution) -> None:
    for execution in executions:
        assert store.step(execution.pk, worker=WORKER) is None


def test_two_that_end_together_wake_two() -> None:
    for _ in range(TIMES):
        of = limited(2)
        first, second, *waiting = accepted(of, 5)
        claims = hold(first, second)
        park(*waiting)
        assert parked(of) == 3
        at_once(*(partial(settle, one) for one in claims))
        assert taken() == [execution.pk for execution in waiting[:2]]
        assert parked(of) == 1
        Execution.objects.filter(workflow=of).exclude(status="COMPLETED").update(status="CANCELLED", wake_at=None)


def test_one_that_finds_no_slot_while_one_is_given_up_is_woken() -> None:
    """Whoever is first: it begins, or it waits and is told. It never waits where a slot is free."""
    for _ in range(TIMES):
        of = limited(1)
        first, second = accepted(of, 2)
        (held,) = hold(first)
        at_once(partial(settle, held), partial(store.step, second.pk, worker=WORKER))
        assert ended(first)[0] == "COMPLETED"
        second.refresh_from_db()
        begun = second.status == "RUNNING"
        assert begun or taken() == [second.pk]
        Execution.objects.filter(workflow=of).exclude(status="COMPLETED").update(status="CANCELLED", wake_at=None)


def test_a_cancel_of_one_that_waits_and_an_end_together() -> None:
    """Locks go one way: neither of the two waits for the other."""
    for _ in range(TIMES):
        of = limited(1)
        first, second, third = accepted(of, 3)
        (held,) = hold(first)
        park(second, third)
        at_once(partial(settle, held), partial(store.cancel, second.pk, reason="", by="ann"))
        assert (ended(first)[0], ended(second)[0]) == ("COMPLETED", "CANCELLED")
        sweeper.sweep()
        assert taken() == [third.pk]
        Execution.objects.filter(workflow=of).exclude(status="COMPLETED").update(status="CANCELLED", wake_at=None)


def test_the_first_of_those_that_wait_is_the_one_with_priority() -> None:
    of = limited(1)
    (first,) = accepted(of, 1)
    (held,) = hold(first)
    low, high = (start_execution(workflow=of, inputs={}, priority=priority) for priority in (0, 5))
    park(low, high)
    settle(held)
    assert taken() == [high.pk]


def test_the_timeout_does_not_run_while_one_that_is_resumed_waits() -> None:
    document = {"title": "L", "tasks": [ask("a"), ask("b")], "concurrency": {"limit": 1}, "timeout": 100}
    first, second = accepted(create_workflow(document=document).workflow, 2)
    hold(first)
    store.cancel(first.pk, reason="", by="ann")
    (held,) = hold(second)
    verbs.resume(first.pk, by="ann", secrets="")
    park(first)
    age(first, seconds=1800)
    last = settle(held)
    assert last is not None
    settle(last)
    assert taken() == [first.pk]
    (again,) = hold(first)
    first.refresh_from_db()
    assert (first.status, again.task, ended(second)[0]) == ("RUNNING", "a", "COMPLETED")
    # From now on it does run: somebody looks when it is over, also who reads it anew.
    begun = Event.objects.filter(execution=first, type="execution.started").last()
    assert begun is not None
    assert first.resumed_at is not None
    assert begun.at > first.resumed_at + timedelta(seconds=1700)
    settle(again)
    with writing():
        loaded = store.load(first.pk)
    assert loaded is not None
    assert loaded.run.deadline == begun.at + timedelta(seconds=100)
    age(first, seconds=101)
    go_on(Tries())
    assert (ended(first)[0], ended(first)[1]["code"]) == ("FAILED", "timeout")


def age(execution: Execution, *, seconds: float) -> None:
    """As if all of it had been so much earlier."""
    past = timedelta(seconds=seconds)
    names = ("created_at", "started_at", "resumed_at", "wake_at")
    Execution.objects.filter(pk=execution.pk).update(**{name: F(name) - past for name in names})
    execution.events.update(at=F("at") - past)


def test_a_sweep_wakes_as_many_as_there_are_slots() -> None:
    of = limited(3)
    running = accepted(of, 3)
    hold(*running)
    waiting = accepted(of, 5)
    park(*waiting)
    gone = [execution.pk for execution in running[:2]]
    Execution.objects.filter(pk__in=gone).update(status="FAILED", wake_at=None)  # as if nobody had been told
    assert sweeper.sweep() == 2
    assert taken() == [execution.pk for execution in waiting[:2]]


def test_a_resumed_one_waits_for_a_slot_like_any_other() -> None:
    of = limited(1)
    first, second = accepted(of, 2)
    hold(first)
    store.cancel(first.pk, reason="", by="ann")
    (held,) = hold(second)
    verbs.resume(first.pk, by="ann", secrets="")
    tries = Tries()
    alone(tries).carry(first.pk)
    assert tries.ran == []
    settle(held)
    go_on(tries)
    assert ended(first)[0] == "COMPLETED"


# --- cancel_running ---
def test_the_newest_replaces_as_many_as_exceed_the_limit() -> None:
    of = limited(3, "cancel_running")
    first, second, *others = accepted(of, 3)
    hold(first, second)
    assert statuses([first, second, *others]) == ["RUNNING", "RUNNING", "PENDING"]
    others += accepted(of, 1)
    assert statuses([first, second, *others]) == ["CANCELLED", "RUNNING", "PENDING", "PENDING"]
    assert others[-1].pk in ended(first)[1]["message"]
    hold(*others)
    accepted(of, 2)
    assert statuses([first, second, *others]) == ["CANCELLED", "CANCELLED", "CANCELLED", "RUNNING"]


def test_what_a_crash_left_is_made_good_when_the_newest_wants_its_slot() -> None:
    of = limited(1, "cancel_running")
    (first,) = accepted(of, 1)
    hold(first)
    (second,) = forgotten(of, 1)
    assert statuses([first, second]) == ["RUNNING", "PENDING"]
    park(second)
    assert statuses([first, second]) == ["CANCELLED", "PENDING"]
    assert taken() == [second.pk]
    hold(second)


def test_of_those_that_wait_only_the_newest_run() -> None:
    of = limited(2, "cancel_running")
    running = accepted(of, 2)
    hold(*running)
    waiting = forgotten(of, 4)
    park(waiting[0])
    assert statuses(running) == ["CANCELLED", "CANCELLED"]
    assert statuses(waiting) == ["CANCELLED", "CANCELLED", "PENDING", "PENDING"]
    hold(*waiting[2:])


def test_one_that_came_due_counts_from_then() -> None:
    of = limited(1, "cancel_running")
    later = start_execution(workflow=of, inputs={}, delay=3600)
    (running,) = accepted(of, 1)
    hold(running)
    assert statuses([later, running]) == ["PENDING", "RUNNING"]
    come_due(later)
    park(later)
    assert statuses([later, running]) == ["PENDING", "CANCELLED"]
    hold(later)


def test_a_resumed_one_counts_from_then() -> None:
    of = limited(1, "cancel_running")
    first, second = accepted(of, 2)
    hold(second)
    verbs.resume(first.pk, by="ann", secrets="")
    park(first)
    assert statuses([first, second]) == ["PENDING", "CANCELLED"]
    hold(first)


def test_a_sweep_makes_room() -> None:
    """Who found no slot was killed before it made room."""
    of = limited(1, "cancel_running")
    (first,) = accepted(of, 1)
    hold(first)
    (second,) = forgotten(of, 1)
    Execution.objects.filter(pk=second.pk).update(wake_at=None)
    sweeper.sweep()
    assert statuses([first, second]) == ["CANCELLED", "PENDING"]
    assert taken() == [second.pk]


def test_a_version_that_queues_replaces_nobody() -> None:
    of = limited(1, "cancel_running")
    (running,) = accepted(of, 1)
    hold(running)
    document = {"title": "L", "tasks": [ask("a")], "concurrency": {"limit": 1}}
    update_workflow(workflow=of, document=document)
    of.refresh_from_db()
    (newest,) = accepted(of, 1)
    park(newest)
    slots.make_room(newest.concurrency_key)
    assert statuses([running, newest]) == ["RUNNING", "PENDING"]


# --- reject ---
def test_one_that_came_due_is_a_reason_to_refuse() -> None:
    of = limited(1, "reject")
    later = start_execution(workflow=of, inputs={}, delay=3600)
    come_due(later)
    with pytest.raises(ApiProblem) as refused:
        accepted(of, 1)
    assert refused.value.status == 429


def test_one_that_came_due_waits_where_it_is_full() -> None:
    of = limited(1, "reject")
    (running,) = accepted(of, 1)
    later = start_execution(workflow=of, inputs={}, delay=3600)
    (held,) = hold(running)
    come_due(later)
    park(later)
    settle(held)
    assert taken() == [later.pk]


# --- children ---
def calling(of: Workflow, **more: Any) -> Execution:
    """An execution whose task runs another workflow."""
    return started({"name": "call", "type": "workflow.run", "inputs": {"workflow_id": of.pk}, **more})


def children() -> Tries:
    """``workflow.run`` as it is, and what others do goes well."""

    def answer(claimed: Claim) -> Outcome:
        if claimed.type == "workflow.run":
            return Suspended(wait=Wait(kind="child", data={"workflow_id": claimed.inputs["workflow_id"]}))
        return Completed(outputs={"body": claimed.task})

    return Tries(answer)


def test_a_child_is_refused_where_it_is_full() -> None:
    of = limited(1, "reject")
    (running,) = accepted(of, 1)
    (held,) = hold(running)
    plain, patient = calling(of), calling(of, retry={"attempts": 1, "delay": 60})
    go_on(children())
    assert (ended(plain)[0], ended(plain)[1]["code"]) == ("FAILED", "rate_limited")
    assert task(patient, "call").waiting["for"] == "retry"
    assert Execution.objects.filter(workflow=of).count() == 1
    settle(held)
    age_due_times(patient)
    age_wake(patient, seconds=3600)
    go_on(children())
    assert ended(patient)[0] == "COMPLETED"


def test_children_that_begin_together_count_each_other() -> None:
    of = limited(2, "reject")
    parent = calling(of, for_each=[1, 2, 3, 4], concurrency=4, on_item_failure="null")
    with writing():
        loaded = store.load(parent.pk)
        assert loaded is not None
        claims = store.advance(loaded, worker=WORKER, wanted=4)
        store.save(loaded)
        wait = Wait(kind="child", data={"workflow_id": of.pk})
        for one in claims:
            assert store.settle(loaded, store.EndOfTry(claim=one, outcome=Suspended(wait=wait)), WORKER)
        store.save(loaded)
    assert Execution.objects.filter(parent=parent).count() == 2
    refused = parent.task_runs.filter(item__isnull=False, status="FAILED")
    assert {one.error["code"] for one in refused} == {"rate_limited"}
    assert len(refused) == 2


def test_a_child_replaces_what_runs() -> None:
    of = limited(1, "cancel_running")
    (running,) = accepted(of, 1)
    hold(running)
    parent = calling(of)
    go_on(children())
    assert (ended(running)[0], ended(parent)[0]) == ("CANCELLED", "COMPLETED")


def test_those_that_waited_for_their_time_before_there_was_a_column() -> None:
    of = limited(1)
    later, resumed = (start_execution(workflow=of, inputs={}, delay=3600) for _ in range(2))
    (first,) = accepted(of, 1)
    hold(first)
    Execution.objects.update(start_at=None)
    store.cancel(resumed.pk, reason="", by="ann")
    verbs.resume(resumed.pk, by="ann", secrets="")
    import_module("executions.migrations.0010_start_at").note_delayed(apps, None)
    noted = Execution.objects.filter(start_at__isnull=False)
    assert list(noted.values_list("pk", "start_at")) == [(later.pk, later.wake_at)]
