"""Keeps what may have killed two workers apart, so that the guilty is told from what only ran beside it.

A worker that dies takes all its tries with it. A task that lost two of them is not tried beside another such task: so
the death of a third worker counts against one of them only, and the neighbours go on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

from executions.engine.outcomes import is_last_chance
from executions.engine.planner import Claim
from executions.engine.run import Run

#: A try that has lived for so long in this process holds up others no more.
TRIED_SECONDS = 60.0


class Caution:
    """For one process: one try at a time that is a task's last chance."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: Claim | None = None
        self._since = -TRIED_SECONDS

    @contextmanager
    def deciding(self, run: Run) -> Iterator[list[Claim]]:
        """What a step claims goes into the list; ``run`` holds back its last chances while another one is tried."""
        claims: list[Claim] = []
        waits = any(is_last_chance(run.task(name)) for name in chain(run.pending, run.waiting))
        reserved = waits and self._reserve()
        run.holds_back = waits and not reserved
        kept: Claim | None = None
        try:
            yield claims
            kept = next((claim for claim in claims if claim.is_last_chance), None)
        finally:
            if reserved:
                self._settle(kept)

    def leave(self, claim: Claim) -> None:
        """The try is over."""
        with self._lock:
            if self._owner is claim:
                self._owner, self._since = None, -TRIED_SECONDS

    def _reserve(self) -> bool:
        with self._lock:
            if time.monotonic() - self._since < TRIED_SECONDS:
                return False
            self._owner, self._since = None, time.monotonic()
            return True

    def _settle(self, owner: Claim | None) -> None:
        with self._lock:
            self._owner = owner
            if owner is None:
                self._since = -TRIED_SECONDS
