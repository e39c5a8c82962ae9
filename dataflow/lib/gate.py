"""A gate that lets few of many threads compute at a time: more of them only take Python's lock from each other.

It hastens, and guards nothing: who waited long for a place goes on without one. So nothing can hang by it, whatever
those inside wait for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue


class Gate:
    """``places`` for threads; who finds none within ``patience`` seconds goes on without one."""

    def __init__(self, places: int, patience: float) -> None:
        self._patience = patience
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(places):
            self._free.put(None)
        self._mine = threading.local()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """With a place, unless this thread has one."""
        if self._has_place:
            yield
            return
        self._enter()
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Without the place that this thread may have: while it waits for what takes long."""
        if not self._has_place:
            yield
            return
        self._leave()
        try:
            yield
        finally:
            self._enter()

    @property
    def _has_place(self) -> bool:
        return getattr(self._mine, "has_place", False)

    def _enter(self) -> None:
        try:
            self._free.get(timeout=self._patience)
        except Empty:
            return
        self._mine.has_place = True

    def _leave(self) -> None:
        if self._has_place:
            self._mine.has_place = False
            self._free.put(None)


#: The one of the requests of a web process, of its many threads (``dataflow.web.THREADS``). Of 4, 8 and no limit, 8
#: gave the most answers with 20 and 64 clients. A full queue of ready requests is worked off in less than the patience.
REQUESTS = Gate(places=8, patience=0.5)
