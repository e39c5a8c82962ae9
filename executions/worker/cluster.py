"""Keeps the worker processes of this machine alive, and stops them with grace.

The processes take jobs from django-q2's broker themselves. Its own cluster hands them on through a pipe, whose lock a
killed worker takes with it (../shared/notes/django-q2.md, finding 2): here one process cannot silence the others.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import wait
from multiprocessing.context import ForkContext, ForkProcess
from typing import Any

from django.conf import settings
from django.db import connections

from executions.worker.process import GRACE_SECONDS, LET_GO_SECONDS, WorkerProcess
from executions.worker.turns import Turn, Turns
from tasks_lib import registry

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: Beyond the grace that the processes give themselves.
_KILL_AFTER = GRACE_SECONDS + LET_GO_SECONDS + 5.0
#: A healthy process looks for work every few seconds; one that did not for so long is stuck.
SILENCE_SECONDS = 60.0
#: Seconds before a process that died soon after its start is started again.
_BACKOFF = 1.0


class Cluster:
    """The worker processes of one machine."""

    def __init__(self, *, processes: int, threads: int) -> None:
        self._processes: list[ForkProcess | None] = [None] * processes
        self._started = [0.0] * processes
        #: When each process last looked for work, by the steady clock that all share.
        self._beats = [_context().Value("d", 0.0, lock=False) for _ in range(processes)]
        self._turns = Turns(processes)
        self._threads = threads
        self._stop = threading.Event()

    def run(self) -> None:
        """Start the processes, start those again that die, and stop them all on SIGTERM or SIGINT."""
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        _share_memory()
        while not self._stop.is_set():
            self._start_missing()
            alive = [process.sentinel for process in self._processes if process is not None]
            wait(alive, timeout=0.5)
            self._kill_silent()
        self._finish()

    def _kill_silent(self) -> None:
        """A process that looks for work no more, though it is alive, is replaced; its tries are taken over."""
        for process, beat in zip(self._processes, self._beats, strict=True):
            if process is not None and process.is_alive() and time.monotonic() - beat.value > SILENCE_SECONDS:
                logger.error("Worker process %s took no work for %g s; killing it.", process.pid, SILENCE_SECONDS)
                process.kill()
                process.join()

    def _on_signal(self, *_: object) -> None:
        self._stop.set()

    def _start_missing(self) -> None:
        for place, process in enumerate(self._processes):
            if process is not None and process.is_alive():
                continue
            if process is not None:
                logger.error("Worker process %s ended with %s; starting another.", process.pid, process.exitcode)
                self._stop.wait(_BACKOFF if time.monotonic() - self._started[place] < _BACKOFF else 0.0)
            if not self._stop.is_set():
                self._start(place)

    def _start(self, place: int) -> None:
        connections.close_all()  # a connection does not survive a fork
        beat = self._beats[place]
        beat.value = time.monotonic()
        arguments = (self._threads, place == 0, os.getpid(), beat, self._turns.turn_of(place))
        process = _context().Process(target=_child, args=arguments, name=f"worker-{place}")
        # A signal that comes right after the fork waits until the child no longer has this process's handlers.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        self._processes[place], self._started[place] = process, time.monotonic()

    def _finish(self) -> None:
        alive = [process for process in self._processes if process is not None and process.is_alive()]
        for process in alive:
            process.terminate()
        end = time.monotonic() + _KILL_AFTER
        for process in alive:
            process.join(max(0.0, end - time.monotonic()))
            if process.is_alive():
                logger.error("Worker process %s did not stop; killing it.", process.pid)
                process.kill()


def _share_memory() -> None:
    """Load what every process needs before they are forked, and keep the collector's hands off it: one copy for all."""
    registry.load()
    gc.collect()
    gc.freeze()


def _context() -> ForkContext:
    return multiprocessing.get_context("fork")


def _child(threads: int, sweeps: bool, parent: int, last: Any, turn: Turn) -> None:  # noqa: FBT001 - they are positional
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    _die_with(parent)
    os.nice(settings.WORKER_NICE)

    def beat() -> None:
        last.value = time.monotonic()

    WorkerProcess(threads=threads, sweeps=sweeps, beat=beat, turn=turn).run()


def _die_with(parent: int) -> None:
    """Ask Linux for a SIGTERM when the parent dies, so that it leaves no orphans."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)
