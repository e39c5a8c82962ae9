"""When a schedule runs: cron in a time zone, or every so many minutes. Pure: no database, no clock.

Cron at the changes of summer time is as in Debian's cron (and ``cronsim``):

- with a minute or an hour that begins with ``*`` the expression is compared with the wall clock, minute by minute of
  real time: hours that do not exist have no runs, hours that come twice have twice as many;
- with fixed minutes and hours a run whose time does not exist comes at the first moment after the gap, and a time that
  comes twice is run once, the first time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

MAX_CRON = 200
MAX_MINUTES = 44_640
#: A slot that is older than this when it is found was missed.
GRACE = timedelta(seconds=60)
_LEAST = timedelta(microseconds=1)


class TimingProblem(ValueError):
    """A cron expression or a time zone that means no time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When a schedule runs: ``cron`` in the zone ``timezone``, or every ``every_minutes``."""

    cron: str = ""
    timezone: str = "UTC"
    every_minutes: int | None = None

    def next_after(self, moment: datetime, *, slot: datetime | None = None) -> datetime | None:
        """The first run after ``moment``, in UTC; ``None`` when there is none for 50 years.

        ``slot`` is any run of the past: every-so-many-minutes keeps its rhythm, without one it starts at ``moment``.
        Raises ``TimingProblem``.
        """
        return next(self.runs_after(moment, slot=slot), None)

    def runs_after(self, moment: datetime, *, slot: datetime | None = None) -> Iterator[datetime]:
        """Every run after ``moment``, in UTC, as ``next_after``."""
        if self.every_minutes is not None:
            return self._in_rhythm(moment, slot or moment)
        return self._by_cron(moment)

    def _in_rhythm(self, moment: datetime, slot: datetime) -> Iterator[datetime]:
        assert self.every_minutes is not None
        step = timedelta(minutes=self.every_minutes)
        run = slot + max(0, (moment - slot) // step) * step
        while True:
            if run > moment:
                yield run
            run += step

    def _by_cron(self, moment: datetime) -> Iterator[datetime]:
        last = moment
        for found in simulation(self.cron, moment.astimezone(zone_of(self.timezone))):
            run = found.astimezone(UTC)
            # In the hour that comes twice the simulation may begin before `moment`.
            if run > last:
                yield run
                last = run


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What to do about a slot that has come: whether to start, and which slot is next."""

    start: bool
    following: datetime | None


def turn_of(timing: Timing, slot: datetime, now: datetime, *, run_missed: bool) -> Turn:
    """What to do at ``now`` about ``slot`` and all slots since.

    At most one execution is started for all of them: when one of them is of the last minute, or ``run_missed``.
    """
    recent = slot if now - slot <= GRACE else timing.next_after(now - GRACE - _LEAST, slot=slot)
    on_time = recent is not None and recent <= now
    return Turn(start=on_time or run_missed, following=timing.next_after(now, slot=slot))


def first_runs(timing: Timing, moment: datetime, count: int, *, slot: datetime | None = None) -> list[datetime]:
    """The first ``count`` runs after ``moment``; fewer when there are no more."""
    return list(islice(timing.runs_after(moment, slot=slot), count))


def simulation(cron: str, start: datetime) -> Iterator[datetime]:
    """The times of a cron expression of five fields after ``start``. Raises ``TimingProblem``."""
    if len(cron) > MAX_CRON:
        raise TimingProblem(f"A cron expression has at most {MAX_CRON} characters.")
    if len(cron.split()) != 5:
        detail = (
            f"A cron expression has five fields (minute, hour, day of month, month, weekday), not {len(cron.split())}."
        )
        raise TimingProblem(detail)
    try:
        return iter(CronSim(cron, start))
    except CronSimError as error:
        raise TimingProblem(f"{error} in the cron expression.") from error


@lru_cache(maxsize=256)
def zone_of(name: str) -> ZoneInfo:
    """The zone of that IANA name. Raises ``TimingProblem``."""
    # Not by trying: names are file names to zoneinfo.
    if name not in zone_names():
        raise TimingProblem(f"There is no time zone {name[:64]}.")
    return ZoneInfo(name)


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Every time zone that this machine knows."""
    return frozenset(available_timezones())
