"""What the end of an execution means to others: its parent, its children, and who waits for its slot.

Locks are always taken from a child to its parent and from what ends to what waits, never back.
"""

from __future__ import annotations

from datetime import datetime

from django.db import connection
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from dataflow.lib.fields import StatementNow
from executions import queue
from executions.engine.state import ExecutionStatus, TaskStatus
from executions.models import ALIVE, Execution, ExecutionQuerySet, TaskRun
from executions.store.rows import Row


def tell_of_end(row: Row, now: datetime) -> None:
    """Let the parent of an execution that ended go on, and another take its slot. In the caller's transaction."""
    if row.parent_id:
        _wake(row.parent_id, now)
    if row.concurrency_key:
        wake_next(row.concurrency_key, now)


def wake_next(key: str, now: datetime) -> None:
    """Let a worker look at the execution that waits longest for a slot of ``key``. In the caller's transaction."""
    _lock_slots(key)  # who finds no slot free at this moment is seen to wait afterwards
    parked = Execution.objects.filter(concurrency_key=key, status=ExecutionStatus.PENDING, wake_at__isnull=True)
    # Past what somebody else wakes or cancels: two that end together wake two, and nobody waits for a row here.
    first = parked.select_for_update(skip_locked=True).order_by("-priority", "pick_at").only("pk").first()
    if first is not None:
        _wake(first.pk, now)


def slot_is_free(row: Row) -> bool:
    """Whether an execution may begin; nobody else decides so for the same key until the transaction ends."""
    _lock_slots(row.concurrency_key)
    running = Execution.objects.filter(concurrency_key=row.concurrency_key, status=ExecutionStatus.RUNNING)
    return running.exclude(pk=row.id).count() < (row.concurrency_limit or 1)


def contenders(key: str) -> ExecutionQuerySet:
    """The executions of ``key`` that run or wait to begin, without those that are to begin later."""
    later = Q(status=ExecutionStatus.PENDING, start_at__gt=StatementNow())
    return Execution.objects.alive().filter(concurrency_key=key).exclude(later)


def orphans(parent_id: str | None = None) -> list[str]:
    """Executions that go on though their parent ended, or its task waits for them no more."""
    alive = Execution.objects.filter(status__in=ALIVE, parent__isnull=False)
    if parent_id is not None:
        alive = alive.filter(parent_id=parent_id)
    waits = children_waited_for().filter(execution=OuterRef("parent"), child=OuterRef("pk"))
    return list(alive.filter(~Q(parent__status__in=ALIVE) | ~Exists(waits)).values_list("pk", flat=True))


def children_waited_for() -> QuerySet[TaskRun]:
    """The task runs that wait for the end of another execution, their ``child``.

    One that waits for its retry still names the last one: it will start another.
    """
    return TaskRun.objects.filter(status=TaskStatus.WAITING).exclude(child="").exclude(reason="retry")


def _lock_slots(key: str) -> None:
    """Nobody else counts or gives away the slots of ``key`` until the transaction ends. SQLite has one writer."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [key])


def _wake(execution_id: str, now: datetime) -> None:
    """Make an execution due. Who read it before must read it again: something it depends on has changed."""
    alive = Execution.objects.filter(pk=execution_id, status__in=ALIVE)
    if alive.update(wake_at=now - queue.AT_ONCE, revision=F("revision") + 1):
        queue.ring(execution_id)
