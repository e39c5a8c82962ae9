"""Slots of workflows with a limit: ends and beginnings that meet lose none, and nobody waits for nothing."""

from __future__ import annotations

from functools import partial

import pytest

from executions import store, sweeper
from executions.engine.planner import Claim
from executions.models import Execution
from executions.services import start_execution
from executions.store import verbs
from tests.carrier_driver import Tries, alone, ask, ended, go_on
from tests.executions_driver import WORKER, at_once, claim, settle, taken
from workflows.models import Workflow
from workflows.services import create_workflow

pytestmark = pytest.mark.django_db(transaction=True)
#: A race is tried so often; what is asserted holds whoever wins.
TIMES = 6


def limited(limit: int) -> Workflow:
    document = {"title": "L", "tasks": [ask("a")], "concurrency": {"limit": limit}}
    return create_workflow(document=document).workflow


def accepted(of: Workflow, number: int) -> list[Execution]:
    return [start_execution(workflow=of, inputs={}) for _ in range(number)]


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
