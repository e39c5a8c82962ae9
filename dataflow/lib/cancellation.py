"""A token that tells running work to stop: on cancel, on its deadline, on shutdown.

Blocking work registers how it is interrupted (close a socket, kill a process group); loops call ``check()``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dataflow.lib.errors import TaskError


class Cancellation:
    """Stop signal of one attempt, safe to use from several threads.

    ``timeout`` is in seconds from now, ``None`` for no deadline. The first reason given stays.
    """

    def __init__(self, timeout: float | None = None) -> None:
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self._timeout = timeout
        self._error: TaskError | None = None
        self._lock = threading.Lock()
        self._callbacks: dict[int, Callable[[], None]] = {}

    def remaining(self) -> float | None:
        """Seconds until the deadline (never negative), ``None`` without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    @property
    def error(self) -> TaskError | None:
        """Why to stop: the reason given to ``stop``, or the passed deadline; ``None`` while there is none."""
        if self._error is None and self.deadline is not None and time.monotonic() >= self.deadline:
            return timeout_error(self._timeout or 0.0)
        return self._error

    def check(self) -> None:
        """Raise the ``TaskError`` to stop with, if there is one."""
        if (error := self.error) is not None:
            raise error

    def stop(self, error: TaskError) -> None:
        """Ask the work to stop with ``error`` and interrupt what is blocked. Callbacks run once, in this thread."""
        with self._lock:
            if self._error is not None:
                return
            self._error = error
            callbacks = list(self._callbacks.values())
        for callback in callbacks:
            callback()

    @contextmanager
    def interrupting(self, callback: Callable[[], None]) -> Iterator[None]:
        """While the block runs, ``stop`` calls ``callback`` (which must not raise or block)."""
        with self._lock:
            already = self._error is not None
            self._callbacks[id(callback)] = callback
        if already:
            callback()
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.pop(id(callback), None)


def timeout_error(seconds: float) -> TaskError:
    """The error of a try that took longer than its ``timeout``."""
    message = f"The task did not finish within its timeout of {seconds:g} s. Raise its `timeout` if it needs longer."
    return TaskError("timeout", message, retryable=True)
