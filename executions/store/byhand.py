"""What ends or changes an execution from outside of its tasks, and what its worker notes between steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

from dataflow.lib.errors import TaskError
from dataflow.lib.failpoints import failpoint
from executions import files, queue
from executions.database import database_now, writing
from executions.engine.outcomes import error_as_json
from executions.engine.planner import Claim
from executions.engine.state import ExecutionStatus, TaskStatus
from executions.models import Execution, TaskRun
from executions.store import neighbours
from executions.store.reading import load
from executions.store.saving import save


def give_files(execution_id: str, values: Mapping[str, Any]) -> None:
    """Put fetched files in place of their URLs, unless somebody did so already or the execution has ended."""
    with writing():
        loaded = load(execution_id)
        if loaded is not None and files.urls_in(loaded.run.definition, loaded.run.inputs):
            inputs = {**loaded.row.inputs, **values}
            revision = loaded.row.revision + 1
            Execution.objects.filter(pk=execution_id).update(inputs=inputs, revision=revision)


def waiting_to_begin(execution_ids: Collection[str], *, hold: bool) -> set[str]:
    """Which of these executions still wait to begin; with ``hold``, nobody takes them for a while."""
    pending = Execution.objects.filter(pk__in=execution_ids, status=ExecutionStatus.PENDING)
    found = set(pending.values_list("pk", flat=True))
    if hold:
        until = database_now() + queue.RING_AGAIN
        for execution_id in found:  # each by itself: no lock is waited for with another in hand
            pending.filter(pk=execution_id).update(wake_at=until)
    return found


def make_due(execution_id: str) -> None:
    """Let another worker begin an execution that this one took and does not begin."""
    pending = Execution.objects.filter(pk=execution_id, status=ExecutionStatus.PENDING)
    with writing():
        if pending.update(wake_at=database_now() - queue.AT_ONCE):
            queue.ring(execution_id)


def fail(execution_id: str, error: TaskError) -> None:
    """End an execution that cannot begin, unless it has ended."""
    with writing():
        loaded = load(execution_id)
        if loaded is not None and not loaded.run.status.ended:
            shown = error_as_json(error) | {"task": None}
            loaded.run.end(ExecutionStatus.FAILED, error=shown, because="a file of the inputs could not be fetched")
            save(loaded)


def cancel(execution_id: str, *, reason: str, by: str) -> ExecutionStatus:
    """Cancel an execution that has not ended, and those it started.

    Returns the status it has then (an ended one keeps its own). Raises ``Execution.DoesNotExist``.
    """
    with writing():
        loaded = load(execution_id)
        if loaded is None:
            raise Execution.DoesNotExist(execution_id)
        if not loaded.run.status.ended:
            error = {"code": "cancelled", "message": reason or "Cancelled by hand.", "by": by, "task": None}
            loaded.run.end(ExecutionStatus.CANCELLED, error=error, because="the execution was cancelled")
            save(loaded)
            failpoint("cancel.before_commit")
    cancel_orphans(execution_id)
    return loaded.run.status


def cancel_orphans(parent_id: str | None = None) -> int:
    """Cancel executions that nobody waits for any more: those of ``parent_id``, or all. Returns how many.

    Not in the transaction of their parent's end, so that locks go one way; the sweeper makes good what a crash left.
    """
    found = neighbours.orphans(parent_id)
    for child in found:
        cancel(child, reason="Its parent does not wait for it any more.", by="parent")
    return len(found)


def renew_leases(worker: str, task_runs: Collection[int], *, seconds: float) -> None:
    """Extend the leases of the tries that ``worker`` still owns."""
    until = database_now() + timedelta(seconds=seconds)
    owned = TaskRun.objects.filter(pk__in=task_runs, worker=worker, status=TaskStatus.RUNNING)
    with writing():
        # In one order, and past what a step has locked: two that wait for each other would both lose time.
        mine = list(owned.select_for_update(skip_locked=True).order_by("pk").values_list("pk", flat=True))
        TaskRun.objects.filter(pk__in=mine).update(lease_until=until)


def note_progress(claim: Claim, *, fraction: float, message: str) -> None:
    """Show how far a running try is."""
    running = TaskRun.objects.filter(
        execution_id=claim.execution_id, name=claim.task, attempt=claim.attempt, status=TaskStatus.RUNNING
    )
    with writing():
        running.update(progress=fraction, progress_message=message[:200])
