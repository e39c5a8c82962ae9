"""Makes good what was lost: due work is rung for, expired leases are found. One loop a worker cluster.

Rings are claimed by moving ``wake_at`` forward, so several sweepers do not ring for the same thing.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.db.models import Exists, OuterRef, Q

from executions import queue
from executions.engine.state import TaskStatus
from executions.models import ALIVE, Delivery, DeliveryStatus, Execution, IdempotencyKey, TaskRun, Worker
from executions.store import RING_AGAIN, database_now, writing

logger = logging.getLogger(__name__)

#: Seconds between looks at due times, and between full sweeps (leases, old rows).
TICK_SECONDS = 1.0
SWEEP_SECONDS = 10.0
_BATCH = 500
_FORGET_WORKERS = timedelta(hours=1)
_FORGET_KEYS = timedelta(hours=24)


def ring_due() -> int:
    """Ring for executions and deliveries whose time has come. Returns how many."""
    return _ring_executions() + _ring_deliveries()


def sweep() -> int:
    """Find executions whose worker let its lease run out; they are rung for at once. Returns how many."""
    now = database_now()
    expired = TaskRun.objects.filter(status=TaskStatus.RUNNING, lease_until__lt=now)
    lost = list(expired.values_list("execution_id", flat=True).distinct()[:_BATCH])
    with writing():
        alive = Execution.objects.filter(pk__in=lost, status__in=ALIVE)
        found = alive.filter(Q(wake_at=None) | Q(wake_at__gt=now)).update(wake_at=now)
        Worker.objects.filter(heartbeat_at__lt=now - _FORGET_WORKERS).delete()
        IdempotencyKey.objects.filter(created_at__lt=now - _FORGET_KEYS).delete()
    if found:
        logger.warning("Found %d executions whose worker was lost.", found)
    return found + ring_due()


def _ring_executions() -> int:
    now = database_now()
    due = Execution.objects.filter(status__in=ALIVE, wake_at__lte=now)
    rung = 0
    for execution_id in list(due.order_by("wake_at").values_list("pk", flat=True)[:_BATCH]):
        with writing():
            if due.filter(pk=execution_id).update(wake_at=now + RING_AGAIN):
                queue.ring(execution_id)
                rung += 1
    return rung


def _ring_deliveries() -> int:
    now = database_now()
    earlier = Delivery.objects.filter(
        execution=OuterRef("execution"), status=DeliveryStatus.PENDING, sequence__lt=OuterRef("sequence")
    )
    due = Delivery.objects.filter(status=DeliveryStatus.PENDING, wake_at__lte=now)
    heads = due.filter(~Exists(earlier)).values_list("pk", "execution_id")
    rung = 0
    for key, execution_id in list(heads[:_BATCH]):
        with writing():
            if due.filter(pk=key).update(wake_at=now + RING_AGAIN):
                queue.ring_delivery(execution_id)
                rung += 1
    return rung
