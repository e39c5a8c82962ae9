"""What a measure gives: figures with their targets, and the table of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A limit of ../shared/spec/7-performance.md: ``at_least`` it, or else at most."""

    limit: float
    at_least: bool = False

    def met_by(self, value: float) -> bool:
        """Whether ``value`` is within the limit, the limit itself included."""
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"


def at_least(limit: float) -> Target:
    """The more the better."""
    return Target(limit=limit, at_least=True)


def at_most(limit: float) -> Target:
    """The less the better."""
    return Target(limit=limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number with its unit. ``value`` is None where ``failure`` says why there is none."""

    name: str
    unit: str = ""
    value: float | None = None
    target: Target | None = None
    #: The value of each round; ``value`` is their median.
    rounds: tuple[float, ...] = field(default=())
    failure: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target."""
        if self.target is None:
            return None
        return self.value is not None and self.target.met_by(self.value)

    def as_json(self) -> dict[str, Any]:
        """As it stands in the written results."""
        target = None if self.target is None else str(self.target)
        told = {"name": self.name, "value": self.value, "unit": self.unit, "target": target, "met": self.met}
        return told | ({"rounds": list(self.rounds)} if self.rounds else {}) | _said("failed", self.failure)


def figure(name: str, values: Sequence[float], unit: str = "", target: Target | None = None) -> Figure:
    """The median of what the rounds gave."""
    return Figure(name=name, unit=unit, value=median(values), target=target, rounds=tuple(values))


def failed(name: str, reason: str) -> Figure:
    """A measure that could not be taken."""
    return Figure(name=name, failure=reason)


def line(found: Figure) -> str:
    """One line of the table: measure, figure, unit, target, met."""
    value = f"failed: {found.failure}" if found.value is None else _short(found.value)
    met = {None: "", True: "yes", False: "NO"}[found.met]
    target = "" if found.target is None else str(found.target)
    return f"{found.name:<66} {value:>10} {found.unit:<8} {target:>8}  {met}".rstrip()


def heading(title: str) -> str:
    """The line above a table."""
    return f"{title:<66} {'figure':>10} {'':<8} {'target':>8}  met?"


def unmet(figures: Iterable[Figure]) -> list[Figure]:
    """Those whose target is missed, and those that failed."""
    return [found for found in figures if found.met is False or found.failure]


def _short(value: float) -> str:
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 20 else 2
    return f"{value:,.{digits}f}"


def _said(name: str, text: str) -> dict[str, str]:
    return {name: text} if text else {}
