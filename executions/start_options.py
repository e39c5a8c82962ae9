"""When an execution starts and before which others: ``priority``, ``delay`` and ``start_at`` of a start."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils.dateparse import parse_datetime

from dataflow.lib.errors import Problem
from executions.database import database_now

#: Higher goes first.
MAX_PRIORITY = 100
MAX_DELAY = timedelta(days=366)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOptions:
    """Checked options: the later start is by ``delay`` or by ``start_at``, at most one of them."""

    priority: int = 0
    delay: timedelta | None = None
    start_at: datetime | None = None

    def starts_at(self) -> datetime | None:
        """The moment before which nothing happens, by the database's clock; ``None`` where that is now."""
        if self.delay is not None:
            return database_now() + self.delay
        return self.start_at


def check_options(
    *, priority: Any = None, delay: Any = None, start_at: Any = None
) -> tuple[StartOptions, list[Problem]]:
    """The options of a start as they came in JSON, and what is wrong with them."""
    problems: list[Problem] = []
    if not _is_priority(priority):
        detail = f"`priority` is a whole number from -{MAX_PRIORITY} to {MAX_PRIORITY}; higher goes first."
        problems.append(Problem(pointer="/priority", code="wrong_type", detail=detail))
    if not _is_delay(delay):
        detail = f"`delay` is a number of seconds from 0 to {MAX_DELAY.total_seconds():.0f} ({MAX_DELAY.days} days)."
        problems.append(Problem(pointer="/delay", code="wrong_type", detail=detail))
    moment = _moment(start_at)
    if start_at is not None and moment is None:
        detail = "`start_at` is a time such as 2026-11-23T08:00:00Z."
        problems.append(Problem(pointer="/start_at", code="wrong_type", detail=detail))
    if delay is not None and start_at is not None:
        detail = "Give `delay` or `start_at`, not both."
        problems.append(Problem(pointer="/delay", code="conflicting", detail=detail))
    if problems:
        return StartOptions(), problems
    waits = timedelta(seconds=delay) if delay else None
    return StartOptions(priority=priority or 0, delay=waits, start_at=moment), []


def _is_priority(value: Any) -> bool:
    return value is None or (
        isinstance(value, int) and not isinstance(value, bool) and -MAX_PRIORITY <= value <= MAX_PRIORITY
    )


def _is_delay(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (number and 0 <= value <= MAX_DELAY.total_seconds())


def _moment(value: Any) -> datetime | None:
    """A moment in UTC, ``None`` for what is none. Those at the very ends of the calendar have no equal in UTC."""
    try:
        found = parse_datetime(value) if isinstance(value, str) and "T" in value.upper() else None
        return found.astimezone(UTC) if found is not None and found.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
