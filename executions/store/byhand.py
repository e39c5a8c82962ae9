"""What ends or changes an execution from outside of its tasks, and what its worker notes between steps."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from django.db import InterfaceError, OperationalError, connection

from dataflow.lib.errors import TaskError
from dataflow.lib.failpoints import failpoint
from dataflow.lib.fields import dump_json
from executions import files, queue
from executions.database import database_now, rows_of, turn, writing
from executions.engine.outcomes import error_as_json
from executions.engine.planner import Claim
from executions.engine.state import ExecutionStatus, TaskStatus
from executions.models import Execution, TaskRun
from executions.store import neighbours
from executions.store.reading import load
from executions.store.saving import save
from executions.store.statements import RENEW_POSTGRESQL, RENEW_SQLITE

logger = logging.getLogger(__name__)

#: So many executions in a row that the database did not take: it is away.
_AWAY = 3
#: So often an execution is taken before it is given up; that is every 15 s (``queue.RING_AGAIN``).
TAKEN_IN_VAIN = 30


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
            with turn(ahead=True):
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


def give_up(execution_id: str) -> bool:
    """Fail an execution that was taken ``TAKEN_IN_VAIN`` times and more, and nobody could write a step of it.

    Whatever it does to its workers, it ends. ``False``: it may still go on.
    """
    with writing():
        loaded = load(execution_id)
        if loaded is None or loaded.run.status.ended or loaded.row.takes < TAKEN_IN_VAIN:
            return False
        message = f"Workers took it {loaded.row.takes} times and could not go on with it. Their log says why."
        error = error_as_json(TaskError("runtime", message)) | {"task": None}
        loaded.run.end(ExecutionStatus.FAILED, error=error, because="no worker could go on with the execution")
        save(loaded)
    return True


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
    failpoint("cancel.after_commit")
    cancel_orphans(execution_id)
    return loaded.run.status


def cancel_orphans(parent_id: str | None = None) -> int:
    """Cancel executions that nobody waits for any more: those of ``parent_id``, or all. Returns how many.

    Not in the transaction of their parent's end, so that locks go one way; the sweeper makes good what a crash left.
    """
    return each(neighbours.orphans(parent_id), _cancel_orphan)


def _cancel_orphan(child: str) -> bool:
    return bool(cancel(child, reason="Its parent does not wait for it any more.", by="parent"))


def each(execution_ids: Iterable[str], act: Callable[[str], object]) -> int:
    """Do ``act`` to each; for how many it was true. One that raises keeps nobody from the others: it is logged.

    Raises only what says that the database is away, once three in a row said so.
    """
    done, in_a_row = 0, 0
    for execution_id in execution_ids:
        try:
            done += bool(act(execution_id))
            in_a_row = 0
        except Exception as error:  # whatever is wrong with it, others are not to be lost by it
            in_a_row = in_a_row + 1 if isinstance(error, (OperationalError, InterfaceError)) else 0
            if in_a_row == _AWAY:
                raise
            logger.exception("%s is left out.", execution_id)
            connection.close_if_unusable_or_obsolete()
    return done


def renew_leases(worker: str, task_runs: Collection[int], *, seconds: float) -> None:
    """Extend the leases of the tries that ``worker`` still owns: one statement, as it must not come late."""
    failpoint("renewal.before_commit")
    if connection.vendor == "sqlite":
        values = {"runs": dump_json(list(task_runs)), "worker": worker, "seconds": seconds}
        with turn(ahead=True):
            rows_of(RENEW_SQLITE, values)
    else:
        rows_of(RENEW_POSTGRESQL, {"runs": list(task_runs), "worker": worker, "seconds": seconds})
    failpoint("renewal.after_commit")


def note_progress(claim: Claim, *, fraction: float, message: str) -> None:
    """Show how far a running try is."""
    running = TaskRun.objects.filter(
        execution_id=claim.execution_id, name=claim.task, attempt=claim.attempt, status=TaskStatus.RUNNING
    )
    with turn(ahead=True):
        running.update(progress=fraction, progress_message=message[:200])
