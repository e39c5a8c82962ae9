"""Transactions, the clock of the database, and the few statements that are sent prepared."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction

from dataflow.lib.fair_lock import FairLock
from executions.prepared import rows_of_prepared

_one_writer = FairLock()
#: Of each thread: what ends the saves that it has under way (``store.Saves``).
_under_way = threading.local()
#: Goes on while the process is stopped, and where the system has it, while the machine sleeps.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@contextmanager
def writing(*, ahead: bool = False) -> Iterator[None]:
    """A transaction, in turn; ``ahead`` is that of ``turn``."""
    finish_under_way()
    with turn(ahead=ahead), transaction.atomic():
        yield


def turn(*, ahead: bool = False) -> AbstractContextManager[None]:
    """SQLite has one writer: threads of a process queue here instead of in its busy handler.

    ``ahead`` of those who queue is for what is short and late if it waits: all that a heartbeat writes.
    """
    if connection.vendor != "sqlite":
        return nullcontext()
    return _one_writer.ahead() if ahead else _one_writer


def database_now() -> datetime:
    """The database's clock, which leases and due times go by."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')")
            return datetime.fromisoformat(cursor.fetchone()[0])
        cursor.execute("SELECT clock_timestamp()")
        found: datetime = cursor.fetchone()[0]
        return found


@dataclass(frozen=True, slots=True)
class Clock:
    """The database's clock, read once and counted on with a steady one: skew between machines changes nothing."""

    at: datetime
    _since: float = field(default_factory=lambda: time.clock_gettime(_STEADY))

    def now(self) -> datetime:
        """What the database's clock shows now."""
        return self.at + timedelta(seconds=time.clock_gettime(_STEADY) - self._since)


def rows_of(statement: str, values: Mapping[str, Any] | Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """The rows a hot statement gives. On PostgreSQL it is prepared (``prepared``).

    Raises Django's database errors.
    """
    finish_under_way()
    connection.ensure_connection()
    with connection.wrap_database_errors:
        if connection.vendor == "sqlite":
            return list(connection.connection.execute(statement, values).fetchall())
        return rows_of_prepared(connection.connection, statement, values)


def put_under_way(finish: Callable[[], None]) -> None:
    """Have ``finish`` called before this thread asks the database for anything else, until ``nothing_under_way``."""
    _under_way.finish = finish
    connection.execute_wrappers.append(_finish_before)


def nothing_under_way() -> None:
    """Take back what ``put_under_way`` did."""
    _under_way.finish = None
    connection.execute_wrappers.remove(_finish_before)


def finish_under_way() -> None:
    """Wait for what this thread has under way, if anything. Raises what became of it."""
    finish: Callable[[], None] | None = getattr(_under_way, "finish", None)
    if finish is not None:
        finish()


def _finish_before(execute: Callable[..., Any], *statement: Any) -> Any:
    """For what Django's own cursors execute."""
    finish_under_way()
    return execute(*statement)


def moment(value: datetime | str | None) -> datetime | None:
    """A time as a hot statement gives it, in UTC: SQLite has text, or a time without a zone."""
    if value is None:
        return None
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def stamp(value: datetime | None) -> str | None:
    """A time as a hot statement takes it: the text that Django itself writes into SQLite, ISO 8601 for PostgreSQL."""
    if value is None:
        return None
    if connection.vendor == "sqlite":
        return str(value.astimezone(UTC).replace(tzinfo=None))
    return value.isoformat()
