"""The sweeper and the queue: lost doorbells, expired leases, and what is in a job."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db.models import F
from django_q.models import OrmQ
from django_q.signing import SignedPackage
from django_q.tasks import async_task

from executions import database, queue, store, sweeper
from executions.engine.outcomes import LEASE_SECONDS
from executions.engine.state import ExecutionStatus, TaskStatus
from executions.models import Delivery, Execution, IdempotencyKey, Worker
from executions.worker import node
from executions.worker.context import context_for
from tests.executions_driver import (
    WORKER,
    age_due_times,
    age_leases,
    claim,
    deliver_jobs,
    echo,
    failed,
    forget_jobs,
    jobs,
    settle,
    started,
    task,
)
from tests.factories import make_execution, make_worker

pytestmark = pytest.mark.django_db
LONG = timedelta(minutes=1)


def age(execution: Execution) -> None:
    """As if the time to look again had come."""
    Execution.objects.filter(pk=execution.pk).update(wake_at=F("created_at") - LONG)


def test_a_lost_doorbell_is_rung_again_once() -> None:
    execution = started()
    forget_jobs()
    assert sweeper.ring_due() == 0
    age(execution)
    assert sweeper.ring_due() == 1
    assert jobs() == [execution.pk]
    assert sweeper.ring_due() == 0
    assert jobs() == [execution.pk]


def test_a_due_retry_is_rung_for() -> None:
    execution = started(echo("a", retry={"attempts": 1, "delay": 1000}))
    settle(claim(execution), failed())
    forget_jobs()
    assert sweeper.ring_due() == 0
    age_due_times(execution)
    age(execution)
    assert sweeper.ring_due() == 1
    assert claim(execution).attempt == 2


def test_a_lost_worker_is_found_and_its_task_taken_over() -> None:
    execution = started()
    claim(execution, "wk-dead")
    forget_jobs()
    assert sweeper.sweep() == 0
    age_leases(execution, seconds=LEASE_SECONDS + 1)
    assert sweeper.ring_due() == 0  # the quick look does not search for leases
    assert sweeper.sweep() > 0
    assert jobs() == [execution.pk]
    taken = claim(execution, "wk-2")
    assert (taken.task, taken.attempt, task(execution, "first").lost) == ("first", 2, 1)


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
    forget_jobs()
    Execution.objects.filter(pk=ended.pk).update(wake_at=F("created_at") - LONG)
    assert sweeper.sweep() == 0
    assert jobs() == []


def test_a_dead_worker_is_found_within_45_s() -> None:
    """The lease it last renewed, the look-round, and a tick: 4-execution.md, promise 3."""
    assert (LEASE_SECONDS, node.BEAT_SECONDS, sweeper.SWEEP_SECONDS) == (30, 10, 10)
    assert LEASE_SECONDS + sweeper.SWEEP_SECONDS + 2 * sweeper.TICK_SECONDS < 45


def test_deliveries_are_rung_for_by_their_first_that_is_due() -> None:
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
    assert sweeper.ring_due() == 1
    assert deliver_jobs() == [execution.pk]
    assert sweeper.ring_due() == 0
    first = Delivery.objects.filter(sequence=1)
    first.update(wake_at=database.database_now() + LONG)
    assert sweeper.ring_due() == 0  # the second waits for the first, however due it is
    first.update(status="DELIVERED")
    assert sweeper.ring_due() == 1


def test_old_rows_go() -> None:
    make_worker(silent_for=timedelta(hours=2))
    young = make_worker(silent_for=timedelta(minutes=2))
    execution = make_execution()
    for key, days in (("old", 2), ("young", 0)):
        IdempotencyKey.objects.create(
            key=key, request_hash="", execution=execution, created_at=database.database_now() - timedelta(days=days)
        )
    sweeper.sweep()
    assert [row.pk for row in Worker.objects.all()] == [young.pk]
    assert [row.key for row in IdempotencyKey.objects.all()] == ["young"]


# --- the queue ---
@pytest.fixture
def receiver() -> Iterator[queue.Receiver]:
    """What takes jobs; its connection for notifications (on PostgreSQL) ends with the test, not with the process."""
    made = queue.Receiver()
    yield made
    if (listening := getattr(made._broker, "_listening", None)) is not None:
        listening.close()


def test_a_job_holds_an_id_and_nothing_else() -> None:
    execution = started()
    message = SignedPackage.loads(OrmQ.objects.get().payload)
    assert (message["func"], message["args"], message["kwargs"]) == (queue.ADVANCE, (execution.pk,), {})


def test_a_job_is_taken_once_and_gone(receiver: queue.Receiver) -> None:
    execution = started()
    assert list(receiver.take()) == [execution.pk]
    assert list(receiver.take()) == []
    assert not OrmQ.objects.exists()


@pytest.mark.parametrize(
    ("function", "arguments"), [("os.system", ("true",)), (queue.ADVANCE, (1,)), (queue.ADVANCE, ())]
)
def test_what_is_no_job_of_ours_is_dropped_and_never_called(
    receiver: queue.Receiver, function: str, arguments: tuple[object, ...]
) -> None:
    async_task(function, *arguments)
    assert list(receiver.take()) == []
    assert not OrmQ.objects.exists()


def test_a_job_signed_with_another_key_is_dropped(receiver: queue.Receiver) -> None:
    started()
    OrmQ.objects.update(payload="forged")
    assert list(receiver.take()) == []
    assert not OrmQ.objects.exists()


def test_doubled_jobs_run_nothing_twice(receiver: queue.Receiver) -> None:
    execution = started()
    queue.ring(execution.pk, times=3)
    worker = node.Node(threads=1)
    for execution_id in iter(lambda: next(receiver.take(), None), None):
        worker.carry(execution_id)
    row = Execution.objects.get(pk=execution.pk)
    assert row.status == ExecutionStatus.COMPLETED
    assert [(run.status, run.attempt) for run in row.task_runs.all()] == [(TaskStatus.COMPLETED, 1)] * 3
    assert store.step(execution.pk, worker=WORKER) is None


def test_a_timeout_passes_while_every_thread_is_busy() -> None:
    """The sweeper plans by itself: nobody has to take a job."""
    execution = started(echo("a"), timeout=5)
    claim(execution)
    Execution.objects.update(started_at=database.database_now() - timedelta(seconds=6), wake_at=database.database_now())
    forget_jobs()
    sweeper.ring_due()
    execution.refresh_from_db()
    assert (execution.status, (execution.error or {})["code"]) == ("FAILED", "timeout")
    assert jobs() == []


def test_behind_a_long_queue_nothing_more_is_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "_BATCH", 3)
    executions = [started(echo("a")) for _ in range(3)]
    for _ in range(4):
        Execution.objects.update(wake_at=database.database_now())
        sweeper.ring_due()
    assert sorted(jobs()) == sorted(execution.pk for execution in executions)


def test_lost_rings_of_a_wide_execution_all_come_back() -> None:
    execution = started(*(echo(f"t{number}", depends_on=[]) for number in range(5)))
    claim(execution)
    forget_jobs()
    Execution.objects.update(wake_at=database.database_now())
    sweeper.ring_due()
    assert len(jobs()) == 4


def test_deliveries_have_a_queue_of_their_own() -> None:
    execution = started(echo("a"), monitoring={"webhook_url": "https://example.com/hook"})
    claim(execution)
    assert set(OrmQ.objects.values_list("key", flat=True)) == {"dataflow", queue.DELIVERIES}


def test_the_heartbeat_outlives_a_progress_that_no_database_takes() -> None:
    execution = started(echo("a"))
    context = context_for(claim(execution))
    context.progress(0.5, "half \ud83d\0 way")
    context.progress(float("nan"), "nowhere")
    assert (context.fraction, context.message) == (0.5, "half \ufffd\ufffd way")
