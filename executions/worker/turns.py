"""Which of a machine's worker processes looks for work: the bell rings for all of them, and one look is enough.

Those that look in vain take the processors and the database from the one that found something. So each leaves what the
bell rang for to an idle one before it. Nothing hangs by it: who gave way looks after a moment, and where it knows that
another one did and left nothing, when it would look anyway.
"""

from __future__ import annotations

import multiprocessing
import time
from typing import Any

#: Seconds that an idle process has for its look before those after it do.
HEAD_START = 0.025
#: Who has something in hand for less than that may have it from the same ring.
_JUST_NOW = 0.005
_IDLE = 0.0


class Turn:
    """What one of several worker processes tells the others, and knows of those before it.

    Times are seconds of the steady clock, which all processes of a machine share.
    """

    def __init__(self, busy_since: Any, cleared: Any, place: int) -> None:
        self._busy_since, self._cleared, self._place = busy_since, cleared, place

    def looked(self, began: float, *, found: int, wanted: int) -> None:
        """Tell of a look that ``began`` then: who found less than it wanted has left nothing to others."""
        if found and self._busy_since[self._place] == _IDLE:
            self._busy_since[self._place] = began
        if found < wanted:
            self._cleared[self._place] = began

    def rest(self) -> None:
        """Tell that this process has nothing in hand, and waits."""
        self._busy_since[self._place] = _IDLE

    def is_anothers(self, heard: float) -> bool:
        """Whether one before this process was idle when the bell was ``heard``."""
        return any(since == _IDLE or since > heard - _JUST_NOW for since in self._busy_since[: self._place])

    def was_cleared(self, heard: float) -> bool:
        """Whether one before it has looked since the bell was ``heard``, and nothing is left."""
        return any(cleared >= heard for cleared in self._cleared[: self._place])


class Turns:
    """Those of all worker processes of a machine. Shared memory: make it before they are forked."""

    def __init__(self, processes: int) -> None:
        context = multiprocessing.get_context("fork")
        self._busy_since: Any = context.RawArray("d", [time.monotonic()] * processes)
        self._cleared: Any = context.RawArray("d", processes)

    def turn_of(self, place: int) -> Turn:
        """The turn of the process that is started at ``place``; it is busy until it rests."""
        self._busy_since[place] = time.monotonic()
        return Turn(self._busy_since, self._cleared, place)
