"""For a worker whose machine's clock is wrong: shifts what Python code sees by ``DATAFLOW_TEST_CLOCK_SHIFT`` seconds.

Python loads it before anything else where this folder is in ``PYTHONPATH``.
"""

from __future__ import annotations

import copyreg
import datetime as dt
import os
import time

SHIFT = float(os.environ.get("DATAFLOW_TEST_CLOCK_SHIFT", "0"))
_real = dt.datetime
_time, _time_ns = time.time, time.time_ns


class _AlsoReal(type):
    """What C code makes is a ``datetime`` too."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _real)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _real)


class _Shifted(_real, metaclass=_AlsoReal):
    """``datetime`` with another idea of now."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]  # gives the real kind
        return _real.now(tz) + dt.timedelta(seconds=SHIFT)

    @classmethod
    def utcnow(cls) -> dt.datetime:  # type: ignore[override]  # gives the real kind
        return _real.now(dt.UTC).replace(tzinfo=None) + dt.timedelta(seconds=SHIFT)


def _restored(text: str) -> dt.datetime:
    return _real.fromisoformat(text)


if SHIFT:
    # Pickle looks a class up by its name, where it now finds another.
    copyreg.pickle(_real, lambda moment: (_restored, (moment.isoformat(),)))
    dt.datetime = _Shifted  # type: ignore[misc]  # that is what it is for
    time.time = lambda: _time() + SHIFT
    time.time_ns = lambda: _time_ns() + int(SHIFT * 1e9)
