"""Threads for webhook deliveries, with a lane for each receiver: a slow one holds up only itself.

Who makes up many receivers on one host, or many hosts that do not answer, holds up no others either: an origin has few
threads, and those that are slow have only part of all.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from urllib.parse import urlsplit

#: Origins whose last work is remembered: the latest ones.
_REMEMBERED = 10_000
_PORTS = {"http": 80, "https": 443}
#: How an origin did its last work: in time, not known, slowly.
_PROMPT, _UNKNOWN, _SLOW = range(3)


@lru_cache(maxsize=4096)
def origin_of(lane: str) -> str:
    """Scheme, host and port of a lane that is a URL; else the lane itself."""
    try:
        parts = urlsplit(lane)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return lane
    return f"{parts.scheme}://{parts.hostname}:{port}" if parts.hostname else lane


class Lanes:
    """Runs work in ``threads`` threads, at most ``width`` at a time for one lane, lanes in turn.

    The lanes of one origin have at most ``per_origin`` threads together. Origins whose last work took ``slow_after``
    seconds have half of all threads, and those of which nothing is known three quarters with them.
    Work with the same ``key`` that is already waiting is not added twice.
    """

    def __init__(self, *, threads: int = 16, width: int = 2, per_origin: int = 4, slow_after: float = 5.0) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="delivery")
        self._free = threads
        self._width, self._per_origin, self._slow_after = width, per_origin, slow_after
        #: Threads for those that are no better.
        self._bounds = {_PROMPT: threads, _UNKNOWN: threads - threads // 4, _SLOW: max(1, threads // 2)}
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[tuple[str, Callable[[], None]]]] = {}
        self._keys: set[str] = set()
        #: How many threads are at each lane and at each origin.
        self._active: dict[str, int] = {}
        self._at_origin: dict[str, int] = {}
        self._conduct: dict[str, int] = {}

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
            if self._has_room(lane):
                self._start(lane)

    def _has_room(self, lane: str) -> bool:
        origin = origin_of(lane)
        if self._active.get(lane, 0) >= self._width or self._at_origin.get(origin, 0) >= self._per_origin:
            return False
        conduct = self._conduct_of(origin)
        no_better = sum(number for other, number in self._at_origin.items() if self._conduct_of(other) >= conduct)
        return no_better < self._bounds[conduct]

    def _conduct_of(self, origin: str) -> int:
        return self._conduct.get(origin, _UNKNOWN)

    def _start(self, lane: str) -> None:
        waiting = self._waiting.pop(lane)
        key, work = waiting.popleft()
        if waiting:
            self._waiting[lane] = waiting  # to the end: lanes take turns
        self._keys.discard(key)
        for counts, name in ((self._active, lane), (self._at_origin, origin_of(lane))):
            counts[name] = counts.get(name, 0) + 1
        self._free -= 1
        self._pool.submit(self._run, lane, work)

    def _run(self, lane: str, work: Callable[[], None]) -> None:
        began = time.monotonic()
        try:
            work()
        finally:
            with self._lock:
                self._free += 1
                self._ended(lane, time.monotonic() - began)
                self._start_more()

    def _ended(self, lane: str, seconds: float) -> None:
        origin = origin_of(lane)
        for counts, name in ((self._active, lane), (self._at_origin, origin)):
            counts[name] -= 1
            if not counts[name]:
                del counts[name]
        self._conduct.pop(origin, None)  # to the end
        self._conduct[origin] = _SLOW if seconds >= self._slow_after else _PROMPT
        if len(self._conduct) > _REMEMBERED:
            del self._conduct[next(iter(self._conduct))]
