"""Ends blocking network work in time: at its total deadline, and at once when its task is cancelled.

Socket timeouts bound each read, not the sum of them: a server that sends a byte a second holds a call for ever.
So a lifeline keeps a duplicate of the socket and shuts it down from outside; that wakes connect, TLS, send and receive.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

from dataflow.lib.addresses import AddressPolicy
from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError

Result = TypeVar("Result")
#: Signature of ``socket.getaddrinfo``, as far as it is used here.
Resolver = Callable[..., Sequence[tuple[Any, ...]]]


class Lifeline:
    """The deadline and the cancellation of one exchange over the network.

    ``timeout`` is in seconds from now for everything together; the deadline of ``cancellation`` counts too.
    Use it as a context manager around the exchange.
    """

    def __init__(self, timeout: float, cancellation: Cancellation | None = None) -> None:
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._cancellation = cancellation
        self._lock = threading.Lock()
        self._cut = False
        self._held: list[socket.socket] = []
        self._waiting: list[threading.Event] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.check()
        timer = threading.Timer(self.remaining(), self.cut)
        timer.daemon = True
        self._stack.callback(self._release)
        if self._cancellation is not None:
            self._stack.enter_context(self._cancellation.interrupting(self.cut))
        timer.start()
        self._stack.callback(timer.cancel)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def remaining(self) -> float:
        """Seconds left for everything, never negative."""
        left = max(0.0, self._deadline - time.monotonic())
        task_left = self._cancellation.remaining() if self._cancellation is not None else None
        return left if task_left is None else min(left, task_left)

    def check(self) -> None:
        """Raise the ``TaskError`` that ended the exchange: the cancellation's, or ``timeout``."""
        if self._cancellation is not None:
            self._cancellation.check()
        if self._cut or time.monotonic() >= self._deadline:
            message = f"The other side did not answer completely within {self._timeout:g} s."
            raise TaskError("timeout", message, retryable=True)

    def cut(self) -> None:
        """End what is blocked now and whatever comes after. Safe from any thread; never blocks."""
        with self._lock:
            self._cut = True
            for event in self._waiting:
                event.set()
            for held in self._held:
                _shut_down(held)

    def hold(self, sock: socket.socket) -> None:
        """Take ``sock`` into care: it is shut down when the line is cut, whatever TLS object it becomes part of."""
        with self._lock:
            if self._cut:
                _shut_down(sock)
            else:
                self._held.append(sock.dup())

    def aside(self, work: Callable[[], Result]) -> Result:
        """The result of ``work``, which cannot be interrupted (a name look-up): cut, it is left behind."""
        results: list[Result] = []
        errors: list[OSError | UnicodeError] = []
        done = threading.Event()

        def run() -> None:
            try:
                results.append(work())
            except (OSError, UnicodeError) as error:
                errors.append(error)
            finally:
                done.set()

        with self._lock:
            self._waiting.append(done)
        threading.Thread(target=run, daemon=True, name="lookup").start()
        if not self._cut:
            done.wait(self.remaining())
        self.check()
        if errors:
            raise errors[0]
        return results[0]

    def connect(self, host: str, port: int, policy: AddressPolicy | None, resolve: Resolver) -> socket.socket:
        """A socket to ``host``: every address is checked first, and what was checked is what is connected to.

        Without a ``policy`` nothing is checked (the operator's own servers). Raises ``TaskError`` or ``OSError``.
        """
        found = self.aside(lambda: resolve(host, port, type=socket.SOCK_STREAM))
        if policy is not None:
            policy.check(host, port, [str(info[4][0]) for info in found])
        failure: OSError = OSError(f"{host} has no address")
        for family, kind, protocol, _, address in found:
            try:
                return self._connect_to(family, kind, protocol, address)
            except OSError as error:
                self.check()
                failure = error
        raise failure

    def _connect_to(self, family: int, kind: int, protocol: int, address: Any) -> socket.socket:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(max(self.remaining(), 0.001))
            self.hold(sock)
            sock.connect(address)
            self.check()
        except BaseException:  # whatever ends it, the socket is closed; it goes on
            sock.close()
            raise
        return sock

    def _release(self) -> None:
        with self._lock:
            for held in self._held:
                held.close()
            self._held.clear()


def _shut_down(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is not connected, or no longer
        sock.shutdown(socket.SHUT_RDWR)
