"""The sweeper: what was lost is found again, by itself and in time."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta

import pytest

from executions import database, deliveries, queue, store, sweeper
from executions.engine.outcomes import LEASE_SECONDS
from executions.models import Delivery, Execution, IdempotencyKey, TaskRun, Worker
from executions.worker import node
from executions.worker.context import context_for
from tests.executions_driver import (
    age_due_times,
    age_leases,
    age_wake,
    claim,
    claimable,
    echo,
    failed,
    is_due,
    settle,
    started,
    taken,
    task,
)
from tests.factories import make_execution, make_worker
from tests.plugins.stack import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
LONG = timedelta(minutes=1)


def test_whom_its_taker_dropped_comes_again_once() -> None:
    execution = started()
    assert taken() == [execution.pk]
    assert taken() == []
    age_wake(execution, seconds=queue.RING_AGAIN.total_seconds())
    assert taken() == [execution.pk]
    assert taken() == []


def test_a_retry_that_is_due_is_taken() -> None:
    execution = started(echo("a", retry={"attempts": 1, "delay": 1000}))
    settle(claim(execution), failed())
    assert taken() == []
    age_due_times(execution)
    age_wake(execution, seconds=3600)
    assert taken() == [execution.pk]
    assert claim(execution).attempt == 2


def test_a_lost_worker_is_found_and_its_task_taken_over() -> None:
    execution = started()
    claim(execution, "wk-dead")
    assert sweeper.sweep() == 0
    age_leases(execution, seconds=LEASE_SECONDS + 1)
    assert taken() == []  # nobody looks for leases but the sweeper
    assert sweeper.sweep() == 1
    assert taken() == [execution.pk]
    again = claim(execution, "wk-2")
    assert (again.task, again.attempt, task(execution, "first").lost) == ("first", 2, 1)


def test_one_branch_that_is_lost_is_found_while_another_runs() -> None:
    execution = started(echo("a", depends_on=[]), echo("b", depends_on=[]))
    claim(execution, "wk-dead")
    age_leases(execution)
    claim(execution, "wk-2")  # finds it too, on its way
    assert {run.name: run.lost for run in execution.task_runs.all()} == {"a": 1}


def test_a_live_lease_and_an_ended_execution_are_left_alone() -> None:
    running, ended = started(), started()
    claim(running)
    store.cancel(ended.pk, reason="", by="test")
    Execution.objects.filter(pk=ended.pk).update(wake_at=database.database_now() - LONG)
    assert sweeper.sweep() == 0
    assert taken() == []


def test_a_dead_worker_is_found_within_45_s() -> None:
    """The lease it last renewed, and the time between sweeps: 4-execution.md, promise 3."""
    assert (LEASE_SECONDS, node.BEAT_SECONDS, sweeper.SWEEP_SECONDS) == (30, 10, 10)
    assert LEASE_SECONDS + sweeper.SWEEP_SECONDS < 45


def test_deliveries_are_taken_by_their_first_that_is_due() -> None:
    execution = make_execution()
    for sequence in (1, 2):
        Delivery.objects.create(
            execution=execution,
            sequence=sequence,
            type="execution.started",
            url="http://example.com",
            body="{}",
            next_attempt_at=execution.created_at,
            wake_at=execution.created_at,
        )
    assert deliveries.take_due() == [execution.pk]
    assert deliveries.take_due() == []
    first = Delivery.objects.filter(sequence=1)
    first.update(wake_at=database.database_now() + LONG)
    assert deliveries.take_due() == []  # the second waits for the first, however due it is
    first.update(status="DELIVERED")
    assert deliveries.take_due() == [execution.pk]


def test_old_rows_go() -> None:
    make_worker(silent_for=timedelta(hours=2))
    young = make_worker(silent_for=timedelta(minutes=2))
    execution = make_execution()
    for key, days in (("old", 2), ("young", 0)):
        IdempotencyKey.objects.create(
            key=key, request_hash="", execution=execution, created_at=database.database_now() - timedelta(days=days)
        )
    sweeper.forget()
    assert [row.pk for row in Worker.objects.all()] == [young.pk]
    assert [row.key for row in IdempotencyKey.objects.all()] == ["young"]


def test_a_timeout_passes_while_every_thread_is_busy() -> None:
    """Its time has come some seconds ago and nobody took it: the sweeper plans by itself."""
    execution = started(echo("a"), timeout=5)
    claim(execution)
    now = database.database_now()
    Execution.objects.update(started_at=now - timedelta(seconds=10), wake_at=now - timedelta(seconds=5))
    assert sweeper.sweep() == 1
    execution.refresh_from_db()
    assert (execution.status, (execution.error or {})["code"]) == ("FAILED", "timeout")
    assert not is_due(execution)


def test_a_step_that_claims_nothing_starts_nothing() -> None:
    execution = started(*(echo(f"t{number}", depends_on=[]) for number in range(5)))
    claim(execution)
    assert store.look_after(execution.pk)
    assert claimable(execution) == ["t1", "t2", "t3", "t4"]
    assert is_due(execution)
    assert execution.task_runs.count() == 1


def test_what_has_ended_or_is_gone_needs_nobody_to_look_after_it() -> None:
    execution = started()
    store.cancel(execution.pk, reason="", by="test")
    assert not store.look_after(execution.pk)
    assert not store.look_after("we-none")


def test_a_worker_tells_how_many_tries_it_has_and_names_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "MAX_SHOWN", 2)
    worker, claims = node.Node(threads=5), [claim(started(echo("a"))) for _ in range(3)]
    with ExitStack() as running:
        for one in claims:
            running.enter_context(worker._registered(node.Running(one, context_for(one))))
        worker.start()
        shown = Worker.objects.get(pk=worker.id)
        assert (shown.busy, shown.threads) == (3, 5)
        assert shown.doing == [{"execution": one.execution_id, "task": "a", "attempt": 1} for one in claims[:2]]
    worker._show()
    shown.refresh_from_db()
    assert (shown.busy, shown.doing) == (0, [])
    worker.stop()


@pytest.mark.parametrize(("timeout", "kept"), [(60, True), (0, False)], ids=["in time", "past its deadline"])
def test_a_try_that_has_ended_is_held_until_it_is_written(timeout: int, *, kept: bool) -> None:
    """It may wait for its turn for longer than its lease; past its deadline a renewal would tell of an overrun."""
    execution = started(echo("a"))
    worker = node.Node(threads=1)
    ended = replace(claim(execution, worker.id), timeout=timeout)
    run = execution.task_runs.get()
    with worker.holding(ended):
        worker._look(renew=False)  # it has only just begun
        age_leases(execution)
        time.sleep(node.LOOK_SECONDS / 2)
        worker._look(renew=False)
        lease = run.lease_until
        run.refresh_from_db()
        assert lease is not None
        assert run.lease_until is not None
        assert (run.lease_until >= lease) is kept
        age_leases(execution)
        worker._look(renew=False)  # once at first, then with every beat
        assert not kept or run.lease_until > TaskRun.objects.get().lease_until
        worker._look(renew=True)
        assert not kept or run.lease_until <= TaskRun.objects.get().lease_until
    age_leases(execution)
    worker._look(renew=True)
    assert sweeper.sweep() == 1


def test_a_late_heartbeat_is_told_of(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever finds a lost lease in an overloaded installation sees why."""
    monkeypatch.setattr(node, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(node, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(node, "LATE_SECONDS", 0.2)
    worker = node.Node(threads=1)
    monkeypatch.setattr(worker.fetches, "look", lambda *, renew: time.sleep(0.3))
    worker.start()
    wait_until(lambda: caplog.messages, timeout=10, what="it is told")
    worker.stop()
    assert f"leases are lost after {LEASE_SECONDS:g} s" in caplog.text


def test_the_heartbeat_outlives_a_progress_that_no_database_takes() -> None:
    execution = started(echo("a"))
    context = context_for(claim(execution))
    context.progress(0.5, "half \ud83d\0 way")
    context.progress(float("nan"), "nowhere")
    assert (context.fraction, context.message) == (0.5, "half \ufffd\ufffd way")
