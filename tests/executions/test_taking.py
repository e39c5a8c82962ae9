"""Which executions are taken, in which order, by whom; and how many with the same key run at a time."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F

from executions import store, sweeper
from executions.database import database_now, rows_of
from executions.models import Execution
from executions.services import start_execution
from executions.store import statements
from tests.carrier_driver import Tries, alone, ask, ended, go_on, process
from tests.executions_driver import at_once, claim, settle, taken
from workflows.models import Workflow
from workflows.services import create_workflow

pytestmark = pytest.mark.django_db(transaction=True)


def workflow(**fields: Any) -> Workflow:
    return create_workflow(document={"title": "T", "tasks": [ask("a")], **fields}).workflow


def start(of: Workflow, **options: Any) -> str:
    return start_execution(workflow=of, inputs={}, **options).pk


def copy_of(execution: Execution, **fields: Any) -> Execution:
    """A row of its own with the same values but those."""
    values = {field.attname: getattr(execution, field.attname) for field in Execution._meta.concrete_fields}
    return Execution(**values | fields)


# --- the order ---
def test_a_workflow_with_many_waiting_does_not_hold_up_another() -> None:
    """Only those go first that would have begun before it came, at one of that workflow a second."""
    crowded, other = workflow(), workflow()
    for _ in range(500):
        start(crowded)
    late = Execution.objects.get(pk=start(other))
    oldest = Execution.objects.order_by("created_at")[0]
    seconds = (late.created_at - oldest.created_at).total_seconds()
    assert late.pk in taken(int(seconds) + 2)


def test_those_that_are_to_begin_later_are_in_nobodys_way() -> None:
    crowded, other = workflow(), workflow()
    for _ in range(50):
        start(crowded, delay=86_400)
    first = start(crowded)
    others = [start(other) for _ in range(20)]
    assert taken(21) == [first, *others]


def test_those_that_wait_for_a_slot_are_in_nobodys_way() -> None:
    crowded, other = workflow(concurrency={"limit": 1}), workflow()
    claim(Execution.objects.get(pk=start(crowded)))
    for _ in range(50):
        assert store.step(start(crowded), worker="wk-1") is None
    first = start(crowded)
    others = [start(other) for _ in range(20)]
    assert taken(21) == [first, *others]


def test_who_waits_is_counted_by_an_index() -> None:
    """However many are to begin later: accepting must not read them."""
    of, crowded = workflow(), workflow()
    if connection.vendor == "sqlite":
        plan = str(rows_of(f"EXPLAIN QUERY PLAN {statements.COUNT_RANK}", [of.pk]))
        assert "execution_queued (workflow_id=? AND wake_at<?)" in plan
        return
    row = Execution.objects.get(pk=start(crowded, delay=86_400))
    Execution.objects.bulk_create(copy_of(row, id=f"{row.pk}-{number}") for number in range(2000))
    count = statements._RANK.format(id="%s", now="now()")
    with transaction.atomic(), connection.cursor() as cursor:
        # Which index it is depends on what the database knows of the table; autovacuum may have seen it empty.
        cursor.execute("ANALYZE executions_execution")
        cursor.execute(f"EXPLAIN SELECT {count}", [of.pk])
        plan = str(cursor.fetchall())
    assert "using execution_queued" in plan
    assert re.search(r"Index Cond: \(.*workflow_id.* AND \(wake_at <= now\(\)\)", plan), plan


def test_one_workflow_is_taken_in_the_order_it_came() -> None:
    of = workflow()
    came = [start(of) for _ in range(5)]
    assert [taken(1)[0] for _ in range(5)] == came


def test_a_higher_priority_goes_first() -> None:
    of = workflow()
    normal, high, low = start(of), start(of, priority=5), start(of, priority=-5)
    assert [taken(1)[0] for _ in range(3)] == [high, normal, low]


def test_what_runs_goes_on_before_anything_new() -> None:
    of = workflow(tasks=[ask("a", depends_on=[]), ask("b", depends_on=[])])
    first = start(of)
    claim(Execution.objects.get(pk=first))
    urgent = start(of, priority=100)
    assert [taken(1), taken(1)] == [[first], [urgent]]


def test_the_future_is_not_taken_before_it_comes() -> None:
    of = workflow()
    later = start(of, delay=3600)
    assert taken() == []
    seconds = store.seconds_to_next()
    assert seconds is not None
    assert 3500 < seconds <= 3600
    Execution.objects.filter(pk=later).update(wake_at=F("wake_at") - timedelta(hours=1))
    assert taken() == [later]


def test_nothing_is_due_where_nothing_is() -> None:
    assert store.seconds_to_next() is None
    start(workflow())
    seconds = store.seconds_to_next()
    assert seconds is not None
    assert seconds <= 0


def test_two_workers_never_take_the_same() -> None:
    of = workflow()
    came = [start(of) for _ in range(40)]

    def take() -> list[str]:
        mine: list[str] = []
        while some := taken(3):
            mine += some
        return mine

    one, two, three = at_once(take, take, take)
    assert sorted(one + two + three) == sorted(came)


def test_what_is_taken_is_what_is_stored() -> None:
    key = start(workflow())
    (loaded,) = store.take(5)
    row = Execution.objects.get(pk=key)
    assert (loaded.row.id, loaded.row.revision, loaded.row.created_at) == (row.pk, row.revision, row.created_at)
    assert row.wake_at is not None
    assert row.wake_at > database_now()


# --- how many run at a time ---
def limited(limit: int, **fields: Any) -> Workflow:
    key = {"key": fields.pop("key")} if "key" in fields else {}
    return workflow(concurrency={"limit": limit, **key}, **fields)


def running() -> int:
    return Execution.objects.filter(status="RUNNING").count()


def test_no_more_run_than_the_limit_and_they_begin_in_order() -> None:
    of = limited(2)
    came = [start(of) for _ in range(6)]
    most: list[int] = []
    begun: list[str] = []

    def answer(given: Any) -> Any:
        most.append(running())
        begun.append(given.execution_id)
        return Tries()(given)

    tries = Tries(answer)
    go_on(tries)
    assert max(most) <= 2
    assert begun == came
    assert {ended(Execution(pk=key))[0] for key in came} == {"COMPLETED"}


def test_with_many_threads_no_more_run_than_the_limit() -> None:
    of = limited(2)
    came = [start(of) for _ in range(8)]
    most: list[int] = []

    def answer(given: Any) -> Any:
        most.append(running())
        return Tries()(given)

    tries = Tries(answer)
    with process(tries, worker="wk-1") as one, process(tries, worker="wk-2") as two:
        at_once(*(lambda key=key, by=by: by.carry(key) for key, by in zip(came, [one, two] * 4, strict=True)))
    go_on(tries)
    assert max(most) <= 2
    assert sorted(tries.ran) == [("a", 1)] * 8
    assert {ended(Execution(pk=key))[0] for key in came} == {"COMPLETED"}


def test_one_that_waits_for_a_slot_is_not_due_until_one_is_free() -> None:
    of = limited(1)
    first, second, third = (start(of) for _ in range(3))
    held = claim(Execution.objects.get(pk=first))
    for key in (second, third):
        alone(Tries()).carry(key)
    assert taken() == []
    assert Execution.objects.get(pk=second).wake_at is None
    settle(held)
    assert taken() == [second]
    alone(Tries()).carry(second)
    assert taken() == [third]


def test_a_cancel_frees_a_slot() -> None:
    of = limited(1)
    first, second = start(of), start(of)
    claim(Execution.objects.get(pk=first))
    alone(Tries()).carry(second)
    store.cancel(first, reason="", by="ann")
    assert taken() == [second]


def test_other_keys_have_slots_of_their_own() -> None:
    of = limited(1, key="{{inputs.who}}", inputs=[{"name": "who", "type": "text"}])
    first, second, other = (start_execution(workflow=of, inputs={"who": who}).pk for who in ("ann", "ann", "bob"))
    for key in (first, second, other):
        claimed = store.step(key, worker="wk-1")
        assert (claimed is None) == (key == second)
    assert running() == 2


def test_a_slot_that_nobody_was_told_of_is_found() -> None:
    of = limited(1)
    first, second = start(of), start(of)
    claim(Execution.objects.get(pk=first))
    alone(Tries()).carry(second)
    assert store.wake_parked(database_now()) == 0
    Execution.objects.filter(pk=first).update(status="CANCELLED", wake_at=None)  # as if its worker died in between
    assert taken() == []
    assert sweeper.sweep() >= 1
    assert taken() == [second]
