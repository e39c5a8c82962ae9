"""A TCP proxy on loopback that cuts, holds back or delays what passes."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Self

_CHUNK = 65_536
#: SO_LINGER with no time: closing sends a reset, as a firewall or a dead machine's successor does.
_RESET = struct.pack("ii", 1, 0)


class TcpProxy:
    """Stands before ``target`` (a port of loopback), at ``port``. Starts on entering."""

    def __init__(self, target: int) -> None:
        self.delay = 0.0
        self._target = target
        self._flows = threading.Event()
        self._flows.set()
        self._refuses = False
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._refuses = True
        with contextlib.suppress(OSError):  # wakes the thread that accepts
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._flows.set()
        self.cut()

    def cut(self) -> int:
        """Reset every connection; new ones are welcome. How many that were."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            _close(pair)
        return len(pairs)

    @contextlib.contextmanager
    def cut_off(self) -> Iterator[None]:
        """Reset every connection, and new ones too until the block ends."""
        self._refuses = True
        self.cut()
        try:
            yield
        finally:
            self._refuses = False

    @contextlib.contextmanager
    def black_hole(self) -> Iterator[None]:
        """Let nothing through and say nothing, as a cable that is pulled; afterwards all that was sent arrives."""
        self._flows.clear()
        try:
            yield
        finally:
            self._flows.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._flows.wait()
        try:
            server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
        except OSError:  # the server is down: so it is for those who ask here
            _reset(client)
            return
        server.settimeout(None)
        for one in (client, server):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = (client, server)
        with self._lock:
            self._pairs.add(pair)
        if self._refuses:
            _close(pair)
            return
        threading.Thread(target=self._pump, args=(client, server, pair), daemon=True).start()
        self._pump(server, client, pair)

    def _pump(self, source: socket.socket, sink: socket.socket, pair: tuple[socket.socket, socket.socket]) -> None:
        try:
            while data := source.recv(_CHUNK):
                if self.delay:
                    time.sleep(self.delay)
                self._flows.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:  # one side is gone: the other is not to wait for it
            _close(pair)
        else:
            if source is pair[1]:
                _close(pair)
        with self._lock:
            self._pairs.discard(pair)


def _close(pair: tuple[socket.socket, socket.socket]) -> None:
    for one in pair:
        _reset(one)


def _reset(one: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed already
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        one.shutdown(socket.SHUT_RDWR)
    one.close()
