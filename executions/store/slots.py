"""What ``on_limit`` of a workflow's ``concurrency`` says, where more want to run than may.

``queue`` needs nothing: who finds no slot is parked, and woken by an end. ``reject`` refuses as an execution is
accepted. ``cancel_running`` cancels the earliest ones as soon as a newer one is accepted, or finds no slot: that covers
what began to count later, and what a crash left.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime

from django.db import connection, transaction
from django.db.models.functions import Coalesce

from dataflow.lib.errors import TaskError
from executions.database import writing
from executions.definitions import DefinitionBroken, definition_of
from executions.engine.state import ExecutionStatus
from executions.models import Execution
from executions.store import neighbours
from executions.store.byhand import cancel
from executions.store.rows import Row


def on_limit_of(version_id: int) -> str:
    """``queue``, ``reject`` or ``cancel_running``; empty for a version without a limit, or that cannot run here."""
    try:
        limited = definition_of(version_id).concurrency
    except DefinitionBroken:
        return ""
    return limited.on_limit if limited is not None else ""


def refusal(row: Execution, *, besides: Iterable[Execution] = ()) -> str:
    """Why an execution that wants no queue must not be accepted now; empty where it may.

    Nobody else accepts one of the same key until the transaction ends; ``besides`` are those that it has not inserted
    yet. One that is to begin later is accepted, and waits then.
    """
    if not row.concurrency_key or row.start_at is not None or on_limit_of(row.version_id) != "reject":
        return ""
    _lock_accepting(row.concurrency_key)
    found = neighbours.contenders(row.concurrency_key).count()
    found += sum(one.concurrency_key == row.concurrency_key for one in besides)
    if found < (row.concurrency_limit or 1):
        return ""
    return f"{found} executions run or are about to; this workflow allows {row.concurrency_limit} and queues no more."


def admit_child(child: Execution, *, besides: Iterable[Execution]) -> None:
    """Accept an execution that a task starts, as ``refusal`` says. Raises ``TaskError`` (``rate_limited``)."""
    if why := refusal(child, besides=besides):
        raise TaskError("rate_limited", f"Workflow {child.workflow_id} is at its limit: {why}", retryable=True)
    if child.concurrency_key and on_limit_of(child.version_id) == "cancel_running":
        make_room_later(child.concurrency_key)


def parked(row: Row) -> None:
    """An execution found no slot. Once that is committed, make room for it where it wants that."""
    if on_limit_of(row.version_id) == "cancel_running":
        make_room_later(row.concurrency_key)


def make_room_later(key: str) -> None:
    """Call ``make_room`` when the transaction is committed, at once without one. The sweeper makes good what fails."""

    def make_room_now() -> None:
        make_room(key)

    transaction.on_commit(make_room_now, robust=True)


def make_room(key: str) -> None:
    """Cancel the earliest executions of ``key`` beyond the limit, where the newest one wants that.

    Each in a transaction of its own, so that locks go one way; its end wakes who waits for its slot. Those that wait
    come first: none of them is to begin only to be cancelled.
    """
    came = Coalesce("resumed_at", "start_at", "created_at")
    columns = ("pk", "status", "version_id", "concurrency_limit")
    found = list(neighbours.contenders(key).order_by(came.desc(), "-pk").values_list(*columns))
    if not found or on_limit_of(found[0][2]) != "cancel_running":
        return
    newest, limit = found[0][0], found[0][3] or 1
    for execution_id, *_ in sorted(found[limit:], key=lambda one: one[1] == ExecutionStatus.RUNNING):
        with suppress(Execution.DoesNotExist):
            cancel(execution_id, reason=f"Replaced by {newest}.", by="concurrency")


def wake_parked(now: datetime) -> int:
    """Look for slots that are free, or to be made free, though somebody waits for one: wake whom they are for.

    Returns how many.
    """
    waiting = Execution.objects.filter(status=ExecutionStatus.PENDING, wake_at__isnull=True).exclude(concurrency_key="")
    found = list(waiting.order_by().values_list("concurrency_key", "concurrency_limit", "version_id").distinct())
    for key in {key for key, _, version in found if on_limit_of(version) == "cancel_running"}:
        make_room(key)
    woken = 0
    for key, limit in {(key, limit) for key, limit, _ in found}:
        running = Execution.objects.filter(concurrency_key=key, status=ExecutionStatus.RUNNING).count()
        for _ in range(max(0, (limit or 1) - running)):
            with writing():
                neighbours.wake_next(key, now)
            woken += 1
    return woken


def _lock_accepting(key: str) -> None:
    """Nobody else counts who may be accepted for ``key`` until the transaction ends. SQLite has one writer.

    Not the lock of its slots: who begins, and ends at once, tells its parent with that in hand, and a parent's step
    would wait for that with its own row in hand.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])
