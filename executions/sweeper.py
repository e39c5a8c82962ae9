"""Makes good what was lost: due work is rung for, expired leases are found. One loop a worker cluster.

What is due is claimed by moving ``wake_at`` forward, so several sweepers do not ring for the same thing; what is locked
is being worked on, and left alone.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.db.models import Exists, OuterRef

from executions import database, queue, store
from executions.database import database_now
from executions.engine.state import ExecutionStatus, TaskStatus
from executions.models import ALIVE, Delivery, DeliveryStatus, Execution, IdempotencyKey, TaskRun, Worker

logger = logging.getLogger(__name__)

#: Seconds between looks at due times, and between full sweeps (leases, old rows).
TICK_SECONDS = 1.0
SWEEP_SECONDS = 10.0
_BATCH = 500
_FORGET_WORKERS = timedelta(hours=1)
_FORGET_KEYS = timedelta(hours=24)


def ring_due() -> int:
    """Look after the executions and ring for the deliveries whose time has come. Returns how many."""
    return _look_after_executions() + _ring_deliveries()


def sweep() -> int:
    """Find executions whose worker let its lease run out, forget what is old, then as ``ring_due``."""
    now = database_now()
    expired = TaskRun.objects.filter(status=TaskStatus.RUNNING, lease_until__lt=now).order_by("execution_id")
    lost = list(expired.values_list("execution_id", flat=True).distinct()[:_BATCH])
    if lost:
        logger.warning("Found %d executions whose worker was lost.", len(lost))
    found = sum(store.look_after(execution_id, ringing=True) for execution_id in lost)
    with database.writing():
        Worker.objects.filter(heartbeat_at__lt=now - _FORGET_WORKERS).delete()
        IdempotencyKey.objects.filter(created_at__lt=now - _FORGET_KEYS).delete()
    return found + ring_due()


def _look_after_executions() -> int:
    """Plan for what is due: timeouts pass and retries come due also while every thread of every worker is busy."""
    due = Execution.objects.filter(status__in=ALIVE, wake_at__lte=database_now()).order_by("wake_at")
    if not (found := list(due.values_list("pk", "status")[:_BATCH])):
        return 0
    # Behind a long queue nothing is lost: the workers are busy, and more rings would only make it longer.
    ringing = queue.backlog() < _BATCH
    wanted = [key for key, status in found if ringing or status == ExecutionStatus.RUNNING]
    return sum(store.look_after(execution_id, ringing=ringing) for execution_id in wanted)


def _ring_deliveries() -> int:
    now = database_now()
    earlier = Delivery.objects.filter(
        execution=OuterRef("execution"), status=DeliveryStatus.PENDING, sequence__lt=OuterRef("sequence")
    )
    due = Delivery.objects.filter(status=DeliveryStatus.PENDING, wake_at__lte=now)
    heads = due.filter(~Exists(earlier)).order_by("wake_at").values_list("pk", "execution_id")
    rung = 0
    for key, execution_id in list(heads[:_BATCH]):
        with database.writing():
            mine = due.filter(pk=key).select_for_update(skip_locked=True).values_list("pk", flat=True).first()
            if mine is not None:
                due.filter(pk=mine).update(wake_at=now + queue.RING_AGAIN)
                queue.ring_delivery(execution_id)
                rung += 1
    return rung
