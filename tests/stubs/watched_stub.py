"""A web server that counts how many ask it at the same time, holds answers back, and sees who hangs up."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from socket import MSG_DONTWAIT, MSG_PEEK

from tests.stubs.server import Handler, Recorded
from tests.stubs.web_stub import HTML, WebStub

_PATIENCE = 20.0


class WatchedStub(WebStub):
    """Besides the web stub's own paths:

    ``/held/…`` answers when ``release()`` was called, ``/meet/N/…`` when N are waiting there, ``/watched/…`` never, but
    ``hung_up`` then holds when the other side went away, and ``/counted/…`` takes ``delay`` seconds.
    """

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.delay = 0.0
        self.now = 0
        self.most = 0
        #: ``time.monotonic()`` of each connection that was dropped, by path.
        self.hung_up: dict[str, float] = {}
        self._released = threading.Event()
        self._changed = threading.Condition()
        self._waiting: dict[str, int] = {}

    def release(self) -> None:
        """Let those at ``/held/`` go."""
        self._released.set()

    def answer(self, handler: Handler, request: Recorded) -> None:
        with self._counting():
            kind = request.path.split("/")[1]
            if kind == "held":
                self._released.wait(_PATIENCE)
            elif kind == "meet":
                self._meet(request.path)
            elif kind == "watched":
                self._watch(handler, request.path)
                return
            elif kind == "counted":
                self.closing.wait(self.delay)
            else:
                super().answer(handler, request)
                return
            handler.send(200, f"<html><body><p>{request.path}</p></body></html>".encode(), HTML)

    @contextmanager
    def _counting(self) -> Iterator[None]:
        with self._changed:
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            yield
        finally:
            with self._changed:
                self.now -= 1

    def _meet(self, path: str) -> None:
        wanted = int(path.split("/")[2])
        with self._changed:
            self._waiting[path] = self._waiting.get(path, 0) + 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting[path] >= wanted, _PATIENCE)

    def _watch(self, handler: Handler, path: str) -> None:
        while not self.closing.wait(0.02):
            try:
                dropped = handler.connection.recv(1, MSG_PEEK | MSG_DONTWAIT) == b""
            except BlockingIOError:
                continue
            except OSError:
                dropped = True
            if dropped:
                self.hung_up[path] = time.monotonic()
                break
        handler.close_connection = True
