"""Threads for webhook deliveries, with a lane for each receiver: a slow one holds up only itself."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Lanes:
    """Runs work in ``threads`` threads, at most ``width`` at a time for one lane, lanes in turn.

    Work with the same ``key`` that is already waiting is not added twice.
    """

    def __init__(self, *, threads: int = 16, width: int = 2) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="delivery")
        self._free = threads
        self._width = width
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[tuple[str, Callable[[], None]]]] = {}
        self._keys: set[str] = set()
        self._active: dict[str, int] = {}

    def submit(self, lane: str, key: str, work: Callable[[], None]) -> None:
        """Run ``work`` (which must not raise) when its lane has room."""
        with self._lock:
            if key not in self._keys:
                self._keys.add(key)
                self._waiting.setdefault(lane, deque()).append((key, work))
                self._start_more()

    def close(self) -> None:
        """Forget what waits and wait for what runs."""
        with self._lock:
            self._waiting.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _start_more(self) -> None:
        for lane in list(self._waiting):
            if self._free == 0:
                return
            if self._active.get(lane, 0) < self._width:
                self._start(lane)

    def _start(self, lane: str) -> None:
        waiting = self._waiting.pop(lane)
        key, work = waiting.popleft()
        if waiting:
            self._waiting[lane] = waiting  # to the end: lanes take turns
        self._keys.discard(key)
        self._active[lane] = self._active.get(lane, 0) + 1
        self._free -= 1
        self._pool.submit(self._run, lane, work)

    def _run(self, lane: str, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            with self._lock:
                self._free += 1
                self._active[lane] -= 1
                if not self._active[lane]:
                    del self._active[lane]
                self._start_more()
