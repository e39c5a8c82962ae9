"""A lock that threads get in the order in which they asked for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType


class FairLock:
    """A reentrant lock, first come first served.

    ``threading.RLock`` is anybody's as soon as it is free. Whoever gives it back is running, and has it again before
    those who wait have woken up: with eight busy threads one waited for 5 s.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._waiting: deque[tuple[int, threading.Lock]] = deque()
        self._owner: int | None = None
        self._depth = 0

    def __enter__(self) -> None:
        """Wait for it; the thread that has it may enter again."""
        self._enter(first=False)

    @contextmanager
    def ahead(self) -> Iterator[None]:
        """Have it before all who wait: for what is short, seldom, and late if it comes in turn."""
        self._enter(first=True)
        try:
            yield
        finally:
            self._leave()

    def _enter(self, *, first: bool) -> None:
        me = threading.get_ident()
        if self._owner == me:
            self._depth += 1
            return
        gate = threading.Lock()
        with self._changing:
            if self._owner is None:
                self._owner, self._depth = me, 1
                return
            gate.acquire()
            (self._waiting.appendleft if first else self._waiting.append)((me, gate))
        gate.acquire()  # opened by who hands it over

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give it to whoever has waited longest, once the thread that has it is out of it."""
        self._leave()

    def _leave(self) -> None:
        self._depth -= 1
        if self._depth:
            return
        with self._changing:
            if not self._waiting:
                self._owner = None
                return
            self._owner, gate = self._waiting.popleft()
            self._depth = 1
            gate.release()
