"""The bars of an execution: one per try, all on one time scale. Pure: described tasks in, numbers out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

_RESUMED = "the execution had ended, until somebody resumed it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A try (or the wait before the next one) in milliseconds from the left edge; ``open`` still grows."""

    x: int
    width: int
    kind: str
    title: str
    open: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A task with its bars."""

    name: str
    status: str
    bars: tuple[Bar, ...]
    started_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """All rows. ``start`` is the left edge (milliseconds since 1970), ``total`` the width in milliseconds.

    ``growing`` says that the right edge is now.
    """

    rows: tuple[Row, ...]
    start: int
    total: int
    growing: bool

    @property
    def scale(self) -> list[tuple[float, float]]:
        """Marks below the bars: share of the width, seconds from the start."""
        return [(share, share * self.total / 1000) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]


def timeline_of(
    tasks: Sequence[Mapping[str, Any]],
    *,
    start: datetime,
    end: datetime,
    growing: bool,
    resumed: Sequence[datetime] = (),
) -> Timeline:
    """The timeline of described tasks between two moments; ``resumed`` is when the execution was."""
    left = _milliseconds(start)
    again = [_milliseconds(moment) - left for moment in resumed]
    total = max(1, _milliseconds(end) - left)
    rows = tuple(
        Row(
            name=task["name"],
            status=task["status"],
            bars=tuple(_bars(task, left, total, again)),
            started_at=task.get("started_at"),
            completed_at=task.get("completed_at"),
        )
        for task in tasks
    )
    return Timeline(rows=rows, start=left, total=total, growing=growing)


def _bars(task: Mapping[str, Any], left: int, total: int, resumed: Sequence[int]) -> list[Bar]:
    bars: list[Bar] = []
    for attempt in task["attempts"]:
        if attempt["started_at"] is None:
            continue
        x = max(0, _milliseconds(attempt["started_at"]) - left)
        if bars and x > (edge := bars[-1].x + bars[-1].width):
            by_hand = any(edge <= moment <= x for moment in resumed)
            bars.append(Bar(x=edge, width=x - edge, kind="gap", title=_RESUMED if by_hand else _gap(bars[-1])))
        runs = attempt["completed_at"] is None
        width = max(1, (total if runs else _milliseconds(attempt["completed_at"]) - left) - x)
        kind = str(attempt["status"]).lower()
        bars.append(Bar(x=x, width=width, kind=kind, title=f"try {attempt['number']}: {kind}", open=runs))
    return bars


def _gap(before: Bar) -> str:
    """Why nothing of a task runs after a try: one that did its part waits for what it asked for."""
    return "waits" if before.kind == "completed" else "waits for the next try"


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
