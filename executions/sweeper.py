"""Makes good what was lost: leases that ran out, slots nobody took, children nobody waits for. One loop a cluster.

What is due by its time needs no sweeper: every worker takes it by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import InterfaceError, OperationalError

from dataflow.lib.failpoints import failpoint
from executions import database, forgetting, store
from executions.database import database_now
from executions.engine.outcomes import LEASE_SECONDS
from executions.engine.state import ExecutionStatus, TaskStatus
from executions.models import ALIVE, Execution, IdempotencyKey, TaskRun, Worker
from executions.triggers import schedules

logger = logging.getLogger(__name__)

#: Seconds between sweeps, and at most between looks at schedules.
SWEEP_SECONDS = LEASE_SECONDS / 3
LOOK_SECONDS = 10.0
_BATCH = 500
#: Due at once is due a second ago; this is longer than a worker with a free thread leaves it.
_OVERDUE = timedelta(seconds=3)
_FORGET_WORKERS = timedelta(hours=1)
_FORGET_KEYS = timedelta(hours=24)
#: Every so many sweeps what is old is forgotten.
_FORGET_EVERY = 60
#: Executions that one sweep deletes at most: lost work must not wait for that.
_FORGET_EXECUTIONS = 100
_sweeps = 0


def sweep() -> int:
    """Find executions whose worker let its lease run out, and whatever a crash left undone. Returns how many."""
    failpoint("sweep.before")
    now = database_now()
    found = _found_by(lambda: _recover_lost(now), lambda: _plan_overdue(now), lambda: store.wake_parked(now))
    found += store.cancel_orphans()
    global _sweeps  # noqa: PLW0603 - one sweeper a process; only how often it forgets depends on it
    _sweeps += 1
    if _sweeps % _FORGET_EVERY == 1:
        forget()
    forgetting.forget_executions(_FORGET_EXECUTIONS)
    return found


def _found_by(*looks: Callable[[], int]) -> int:
    """What all looks find; one that fails keeps nobody from the next, unless the database is away."""
    found = 0
    for look in looks:
        try:
            found += look()
        except (OperationalError, InterfaceError):
            raise
        except Exception:  # without the others nothing would recover
            logger.exception("Sweeper: a look was left out.")
    return found


def forget() -> None:
    """Remove rows of workers and keys that are too old to matter, files that nobody needs, and what crashes left."""
    now = database_now()
    with database.writing():
        Worker.objects.filter(heartbeat_at__lt=now - _FORGET_WORKERS).delete()
        IdempotencyKey.objects.filter(created_at__lt=now - _FORGET_KEYS).delete()
    forgetting.forget_uploads()
    forgetting.forget_leftovers(forgetting.part_of(now, SWEEP_SECONDS * _FORGET_EVERY))


def run_schedules() -> float:
    """Start what schedules want now; seconds until the next look."""
    schedules.run_due()
    due = schedules.next_due()
    if due is None:
        return LOOK_SECONDS
    return min(max((due - database_now()).total_seconds(), 0.05), LOOK_SECONDS)


def _plan_overdue(now: datetime) -> int:
    """Plan for what is due and nobody takes, since every thread is busy: at least its times pass."""
    overdue = Execution.objects.filter(status=ExecutionStatus.RUNNING, wake_at__lt=now - _OVERDUE)
    found = list(overdue.order_by("wake_at").values_list("pk", flat=True)[:_BATCH])
    return store.each(found, store.look_after)


def _recover_lost(now: datetime) -> int:
    expired = TaskRun.objects.filter(
        status=TaskStatus.RUNNING, lease_until__lt=now, items__isnull=True, execution__status__in=ALIVE
    )
    lost = list(expired.order_by("execution_id").values_list("execution_id", flat=True).distinct()[:_BATCH])
    if lost:
        logger.warning("Found %d executions whose worker was lost.", len(lost))
    return store.each(lost, store.look_after)
