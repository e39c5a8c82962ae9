"""Interrupting what blocks: when its task is stopped, and when its deadline has come."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dataflow.lib.cancellation import Cancellation


@contextmanager
def interrupting(cancellation: Cancellation, callback: Callable[[], None]) -> Iterator[None]:
    """While the block runs, call ``callback`` (which must not raise or block) when it has to end.

    It may be called twice.
    """
    left = cancellation.remaining()
    timer = None if left is None else threading.Timer(left, callback)
    with cancellation.interrupting(callback):
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
