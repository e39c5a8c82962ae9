"""The store: one transaction for each step, fenced, with its events and its doorbells."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction

from executions import queue, store
from executions.database import writing
from executions.engine.outcomes import LEASE_SECONDS, Completed, Released
from executions.engine.state import ExecutionStatus, TaskStatus
from executions.models import Attempt, Execution
from executions.services import start_execution
from tests.executions_driver import (
    WORKER,
    age_due_times,
    age_leases,
    age_wake,
    at_once,
    claim,
    claimable,
    echo,
    event_types,
    everything,
    failed,
    is_due,
    settle,
    started,
    taken,
    task,
)
from tests.factories import make_workflow

pytestmark = pytest.mark.django_db
FAN_OUT = [echo("a"), *(echo(name, depends_on=["a"]) for name in "bcd"), echo("end", depends_on=["b", "c", "d"])]


def fresh(execution: Execution) -> Execution:
    return Execution.objects.get(pk=execution.pk)


# --- acceptance ---
@pytest.mark.django_db(transaction=True)
def test_accepting_stores_the_row_and_its_first_event_and_it_is_due() -> None:
    execution = started()
    row = fresh(execution)
    assert row.status == ExecutionStatus.PENDING
    assert event_types(execution) == ["execution.created"]
    assert row.wake_at == row.pick_at == row.created_at
    assert is_due(execution)
    assert taken() == [execution.pk]


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite always waits for the disk")
@pytest.mark.parametrize(("more", "waits"), [({}, "on"), ({"flushed": False}, "off")])
@pytest.mark.parametrize("key", [None, "one"])
def test_who_waits_for_the_end_does_not_wait_for_the_disk(more: Any, waits: str, key: str | None) -> None:
    """One with a key does: the next request with that key is answered at once. In the test's own transaction."""
    workflow = make_workflow()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = on")
        start_execution(workflow=workflow, inputs={"text": "x"}, idempotency_key=key, **more)
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone() == ("on" if key else waits,)


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_leaves_no_row() -> None:
    with transaction.atomic():
        started()
        transaction.set_rollback(True)
    assert not Execution.objects.exists()
    assert taken() == []


def test_a_step_that_is_rolled_back_leaves_nothing() -> None:
    execution = started(*FAN_OUT)
    first = claim(execution)
    before = everything(execution)
    with transaction.atomic():
        settle(first)
        assert is_due(execution)
        transaction.set_rollback(True)
    assert everything(execution) == before
    assert not is_due(execution)


# --- claims ---
def test_a_claim_is_a_lease() -> None:
    execution = started()
    claimed = claim(execution)
    row = task(execution, "first")
    assert (claimed.task, claimed.attempt, row.attempt, row.worker) == ("first", 1, 1, WORKER)
    assert row.started_at is not None
    assert row.lease_until == row.started_at + timedelta(seconds=30)
    assert fresh(execution).status == ExecutionStatus.RUNNING


def test_a_second_job_finds_nothing_to_do() -> None:
    execution = started()
    claim(execution)
    before = everything(execution)
    assert store.step(execution.pk, worker="wk-other") is None
    assert everything(execution)[1:] == before[1:]


def test_an_execution_that_is_gone_is_no_error() -> None:
    assert store.step("we-none", worker=WORKER) is None


@pytest.mark.django_db(transaction=True)
def test_of_many_workers_one_claims_a_task() -> None:
    execution = started()
    claims = at_once(*[partial(store.step, execution.pk, worker=f"wk-{at}") for at in range(6)])
    assert len([one for one in claims if one is not None]) == 1
    assert task(execution, "first").attempt == 1


@pytest.mark.django_db(transaction=True)
def test_workers_share_what_is_ready() -> None:
    execution = started(*(echo(name, depends_on=[]) for name in "abc"))
    claims = at_once(*[lambda: store.step(execution.pk, worker=WORKER)] * 5)
    assert sorted(one.task for one in claims if one is not None) == ["a", "b", "c"]


# --- fencing ---
def test_the_end_of_a_try_that_was_taken_over_changes_nothing() -> None:
    execution = started()
    first = claim(execution, "wk-1")
    age_leases(execution)
    second = claim(execution, "wk-2")
    assert (second.task, second.attempt) == ("first", 2)
    before = everything(execution)
    for outcome in (Completed(outputs={"text": "late"}), failed(), Released()):
        assert settle(first, outcome, "wk-1") is None
    assert everything(execution) == before
    assert settle(second, worker="wk-2") is not None
    assert task(execution, "first").outputs == {"text": "first done"}


def test_a_lost_try_is_kept_as_an_attempt() -> None:
    execution = started()
    claim(execution, "wk-1")
    age_leases(execution)
    claim(execution, "wk-2")
    attempt = Attempt.objects.get(task_run__execution=execution)
    assert (attempt.number, attempt.worker, attempt.error["code"]) == (1, "wk-1", "worker_lost")
    assert attempt.inputs == {"text": "abc"}


def test_a_completion_counts_once() -> None:
    execution = started()
    first = claim(execution)
    assert settle(first) is not None
    before = everything(execution)
    assert settle(first, Completed(outputs={"text": "again"})) is None
    assert everything(execution) == before


@pytest.mark.django_db(transaction=True)
def test_two_completions_at_once_count_once() -> None:
    execution = started()
    first = claim(execution)
    claims = at_once(*[lambda: settle(first)] * 4)
    assert [one.task for one in claims if one is not None] == ["second"]
    assert event_types(execution).count("task.completed first") == 1


@pytest.mark.django_db(transaction=True)
def test_the_last_two_branches_leave_nothing_behind() -> None:
    """Two branches that end at the same moment: exactly one of them takes the join."""
    execution = started(echo("a", depends_on=[]), echo("b", depends_on=[]), echo("join", depends_on=["a", "b"]))
    a, b = claim(execution, "wk-1"), claim(execution, "wk-2")
    claims = at_once(lambda: settle(a, worker="wk-1"), lambda: settle(b, worker="wk-2"))
    assert [one.task for one in claims if one is not None] == ["join"]


def test_leases_are_renewed_for_their_owner_only() -> None:
    execution = started()
    claim(execution, "wk-1")
    row = task(execution, "first")
    store.renew_leases("wk-2", [row.pk], seconds=300)
    assert task(execution, "first").lease_until == row.lease_until
    store.renew_leases("wk-1", [row.pk], seconds=300)
    assert (task(execution, "first").lease_until or row.lease_until) > row.lease_until + timedelta(seconds=200)


def test_a_lease_is_counted_from_when_its_claim_is_written() -> None:
    """Where all write, a save waits for its turn; a lease that is used up by then is taken from a living worker."""
    execution = started()
    with writing():
        loaded = store.load(execution.pk)
        assert loaded is not None
        assert store.advance(loaded, worker="wk-1", wanted=1)
        decided = loaded.run.now
        time.sleep(0.3)
        store.save(loaded)
    row = task(execution, "first")
    assert row.lease_until is not None
    assert row.attempt_started_at is not None
    assert row.lease_until - row.attempt_started_at == timedelta(seconds=LEASE_SECONDS)
    assert row.attempt_started_at >= decided + timedelta(seconds=0.3)
    assert row.started_at == decided, "what is logged is when it was decided"


def test_progress_of_a_try_that_is_over_is_not_shown() -> None:
    execution = started()
    first = claim(execution)
    store.note_progress(first, fraction=0.5, message="half")
    assert task(execution, "first").progress == 0.5
    settle(first)
    store.note_progress(first, fraction=0.9, message="late")
    assert task(execution, "first").progress == 0.5


# --- what is due ---
def test_it_is_due_while_there_is_more_to_claim() -> None:
    execution = started(*FAN_OUT)
    a = claim(execution)
    assert (claimable(execution), is_due(execution)) == ([], False)
    b = settle(a)
    assert b is not None
    assert (claimable(execution), is_due(execution)) == (["c", "d"], True)
    c = claim(execution)
    assert (claimable(execution), is_due(execution)) == (["d"], True)
    d = claim(execution)
    assert [b.task, c.task, d.task] == ["b", "c", "d"]
    assert (claimable(execution), is_due(execution)) == ([], False)
    for one in (b, c):
        assert settle(one) is None
    end = settle(d)
    assert end is not None
    assert end.task == "end"
    assert settle(end) is None
    assert not is_due(execution)
    assert fresh(execution).status == ExecutionStatus.COMPLETED


def test_roots_are_claimable_from_the_first_step() -> None:
    execution = started(*(echo(name, depends_on=[]) for name in "abc"))
    for left in (["b", "c"], ["c"], []):
        claim(execution)
        assert (claimable(execution), is_due(execution)) == (left, bool(left))


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_stops_leaves_what_is_ready_to_others() -> None:
    execution = started()
    first = claim(execution)
    ended = store.EndOfTry(claim=first, outcome=Completed(outputs={"text": "x"}))
    assert store.step(execution.pk, worker=WORKER, ended=ended, claiming=False) is None
    assert is_due(execution)
    assert taken() == [execution.pk]
    assert claim(execution).task == "second"


@pytest.mark.django_db(transaction=True)
def test_a_released_try_is_due() -> None:
    execution = started()
    first = claim(execution)
    ended = store.EndOfTry(claim=first, outcome=Released())
    assert store.step(execution.pk, worker=WORKER, ended=ended, claiming=False) is None
    assert taken() == [execution.pk]
    again = claim(execution)
    assert (again.task, again.attempt) == ("first", 2)
    assert task(execution, "first").lost == 0


# --- wake_at ---
def test_nobody_needs_to_wake_what_runs() -> None:
    execution = started()
    claim(execution)
    assert fresh(execution).wake_at is None


@pytest.mark.django_db(transaction=True)
def test_who_takes_it_and_dies_is_followed_by_another() -> None:
    execution = started(echo("a", depends_on=[]), echo("b", depends_on=[]))
    claim(execution)
    assert taken() == [execution.pk]
    assert taken() == []
    age_wake(execution, seconds=queue.RING_AGAIN.total_seconds())
    assert taken() == [execution.pk]
    claim(execution)
    assert fresh(execution).wake_at is None


def test_a_retry_wakes_when_it_is_due() -> None:
    execution = started(echo("a", retry={"attempts": 1, "delay": 100}))
    assert settle(claim(execution), failed()) is None
    assert fresh(execution).wake_at == task(execution, "a").due_at


def test_the_first_of_several_times_counts() -> None:
    execution = started(
        echo("a", depends_on=[], retry={"attempts": 1, "delay": 100}),
        echo("b", depends_on=[], retry={"attempts": 1, "delay": 10}),
        timeout=50,
    )
    a, b = claim(execution), claim(execution)
    row = fresh(execution)
    assert row.wake_at == (row.started_at or row.created_at) + timedelta(seconds=50)
    settle(a, failed())
    assert fresh(execution).wake_at == row.wake_at
    settle(b, failed())
    assert fresh(execution).wake_at == task(execution, "b").due_at


def test_an_ended_execution_does_not_wake() -> None:
    execution = started(echo("a", retry={"attempts": 1, "delay": 100}))
    settle(claim(execution), failed())
    store.cancel(execution.pk, reason="", by="test")
    assert fresh(execution).wake_at is None


def test_retries_that_are_due_together_are_shared_out() -> None:
    retry = {"retry": {"attempts": 1, "delay": 100}}
    execution = started(echo("a", depends_on=[], **retry), echo("b", depends_on=[], **retry))
    a, b = claim(execution), claim(execution)
    settle(a, failed())
    settle(b, failed())
    assert store.step(execution.pk, worker=WORKER) is None
    age_due_times(execution)
    assert (claim(execution).task, task(execution, "b").status) == ("a", TaskStatus.WAITING)
    assert (claimable(execution), is_due(execution)) == (["b"], True)
    assert claim(execution).task == "b"
    assert not is_due(execution)


def test_the_deadline_of_the_workflow_ends_it() -> None:
    execution = started(echo("a"), timeout=50)
    first = claim(execution)
    Execution.objects.filter(pk=execution.pk).update(started_at=execution.created_at - timedelta(seconds=60))
    assert store.step(execution.pk, worker=WORKER) is None
    row = fresh(execution)
    assert (row.status, row.error["code"]) == (ExecutionStatus.FAILED, "timeout")
    assert settle(first) is None
    assert task(execution, "a").status == TaskStatus.CANCELLED


# --- cancel ---
def test_a_cancelled_execution_takes_no_completion() -> None:
    execution = started()
    first = claim(execution)
    assert store.cancel(execution.pk, reason="enough", by="ann") is ExecutionStatus.CANCELLED
    before = everything(execution)
    assert settle(first) is None
    assert everything(execution) == before
    row = fresh(execution)
    assert row.error == {"code": "cancelled", "message": "enough", "by": "ann", "task": None}
    assert [run.status for run in row.task_runs.all()] == [TaskStatus.CANCELLED] * 3


def test_a_pending_execution_is_cancelled_and_never_starts() -> None:
    execution = started()
    store.cancel(execution.pk, reason="", by="ann")
    assert store.step(execution.pk, worker=WORKER) is None
    assert fresh(execution).started_at is None


def test_an_ended_execution_keeps_its_end() -> None:
    execution = started(echo("a"))
    settle(claim(execution))
    before = everything(execution)
    assert store.cancel(execution.pk, reason="", by="ann") is ExecutionStatus.COMPLETED
    assert everything(execution) == before


@pytest.mark.django_db(transaction=True)
def test_cancel_and_the_last_completion_at_once_give_one_end() -> None:
    seen = set()
    for _ in range(12):
        execution = started(echo("a"))
        last = claim(execution)
        at_once(partial[Any](settle, last), partial(store.cancel, execution.pk, reason="", by="ann"))
        status = fresh(execution).status
        seen.add(status)
        ends = [name for name in event_types(execution) if name.startswith("execution.")][2:]
        assert ends == [f"execution.{status.lower()}"]
        assert task(execution, "a").status == status
    assert seen <= {"COMPLETED", "CANCELLED"}


# --- the end ---
def test_keys_are_erased_at_the_end() -> None:
    execution = started(echo("a"))
    Execution.objects.filter(pk=execution.pk).update(secrets="sealed")
    last = claim(execution)
    assert fresh(execution).secrets == "sealed"
    settle(last)
    assert fresh(execution).secrets == ""


def test_the_log_of_a_whole_run() -> None:
    retry = {"retry": {"attempts": 1, "delay": 1}}
    execution = started(
        echo("a", **retry), echo("b", condition="{{false}}"), echo("c"), echo("d", continue_on_failure=True)
    )
    settle(claim(execution), failed())
    age_due_times(execution)
    c = settle(claim(execution))
    assert c is not None
    d = settle(c)
    assert d is not None
    settle(d, failed(retryable=False))
    assert event_types(execution) == [
        "execution.created", "execution.started", "task.started a", "task.waiting a", "task.started a",
        "task.completed a", "task.skipped b", "task.started c", "task.completed c", "task.started d", "task.failed d",
        "execution.completed",
    ]  # fmt: skip
