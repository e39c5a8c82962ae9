"""Keeps the processes of an installation running, and ends them together.

The children share one process group of their own: Ctrl-C reaches the supervisor alone, which stops them in order, and
what is left after the grace period is killed as a group. Each is tied to the supervisor (``dataflow/tether.py``), so
that ``kill -9`` of the supervisor leaves nothing behind either. Used from the main thread only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any, Self

_TETHER = str(Path(__file__).with_name("tether.py"))
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TICK = 0.05
#: A child that ran this long counts as healthy: its next death starts the delays anew.
_HEALTHY_AFTER = 60.0
_LONGEST_DELAY = 30.0


class StopSwitch:
    """Turns SIGINT, SIGTERM and SIGHUP into an orderly end.

    While ``interrupting`` is true a signal raises ``SystemExit(0)`` where the program is (preparing); after that
    it only sets ``pressed`` (number of signals so far), for loops to look at.
    """

    def __init__(self) -> None:
        self.pressed = 0
        self.interrupting = True

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._press) for number in _STOP_SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _press(self, _number: int, _frame: FrameType | None) -> None:
        self.pressed += 1
        if self.interrupting:
            raise SystemExit(0)


@dataclass(slots=True, kw_only=True)
class Child:
    """A program that is to run for as long as the supervisor does."""

    name: str
    arguments: Sequence[str]
    #: Whether what it prints is of no interest to people (its errors always are).
    quiet: bool = False
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    deaths: int = 0
    start_at: float = 0.0

    @property
    def is_running(self) -> bool:
        """Whether its process is there now."""
        return self.process is not None and self.process.poll() is None


class ChildFailed(Exception):
    """A child died again and again before everything was ready."""


@dataclass(slots=True, kw_only=True)
class Supervisor:
    """Starts children, restarts what dies, stops them all.

    ``grace`` is in seconds, and longer than what the workers give to running tasks.
    """

    environment: Mapping[str, str]
    switch: StopSwitch
    report: Callable[[str], None]
    grace: float = 25.0
    children: list[Child] = field(default_factory=list)
    _group: int = 0

    def start(self, name: str, arguments: Sequence[str], *, stdout: IO[Any] | None = None) -> Child:
        """Start ``arguments`` (a whole command line) as the child ``name``. ``stdout`` takes its first words."""
        child = Child(name=name, arguments=arguments, quiet=stdout is not None)
        self._launch(child, stdout)
        self.children.append(child)
        return child

    def wait_for(self, condition: Callable[[], bool], *, timeout: float, deaths: int | None = None) -> bool:
        """Look after the children until ``condition`` holds: ``True``. ``False`` after ``timeout`` s or on a signal.

        Raises ``ChildFailed`` when a child has died ``deaths`` times.
        """
        end = time.monotonic() + timeout
        while not self.switch.pressed and time.monotonic() < end:
            if condition():
                return True
            self._tend(deaths)
            time.sleep(_TICK)
        return False

    def run(self) -> None:
        """Look after the children until a signal comes."""
        while not self.switch.pressed:
            self._tend(None)
            time.sleep(_TICK * 4)

    def stop(self) -> None:
        """End all children: politely, then, after ``grace`` or at a second signal, for good."""
        pressed = self.switch.pressed
        end = time.monotonic() + self.grace
        for child in self.children:
            if child.process is not None and child.is_running:
                child.process.terminate()
        while any(child.is_running for child in self.children):
            if time.monotonic() > end or self.switch.pressed > max(pressed, 1):
                break
            time.sleep(_TICK)
        if self._group:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left in it
                os.killpg(self._group, signal.SIGKILL)
        for child in self.children:
            if child.process is not None:
                child.process.wait()

    def _tend(self, deaths: int | None) -> None:
        """Notice what died, start what is due."""
        now = time.monotonic()
        for child in self.children:
            if child.process is not None and not child.is_running:
                self._bury(child, child.process.returncode, now)
                if deaths is not None and child.deaths >= deaths:
                    raise ChildFailed(f"The {child.name} process ended {child.deaths} times while starting.")
            if child.process is None and now >= child.start_at:
                self._launch(child, subprocess.DEVNULL if child.quiet else None)

    def _bury(self, child: Child, code: int, now: float) -> None:
        child.deaths = 1 if now - child.started_at > _HEALTHY_AFTER else child.deaths + 1
        delay = min(2.0 ** (child.deaths - 1), _LONGEST_DELAY)
        child.process, child.start_at = None, now + delay
        self.report(f"the {child.name} process ended with {code}; starting it again in {delay:g} s")

    def _launch(self, child: Child, stdout: IO[Any] | int | None) -> None:
        command = [sys.executable, "-I", _TETHER, str(os.getpid()), *child.arguments]
        options: dict[str, Any] = {"env": dict(self.environment), "stdin": subprocess.DEVNULL, "stdout": stdout}
        try:
            child.process = subprocess.Popen(command, process_group=self._group, **options)
        except (PermissionError, ProcessLookupError):
            # The group ended with its last member: begin another.
            child.process = subprocess.Popen(command, process_group=0, **options)
            self._group = child.process.pid
        self._group = self._group or child.process.pid
        child.started_at = time.monotonic()


@contextlib.contextmanager
def own_foreground() -> Iterator[None]:
    """On a terminal: take Ctrl-C away from the program that started this one, for the time of the block.

    ``make`` ends with an error when it sees Ctrl-C itself; so only this process is the terminal's foreground, ends
    with 0, and make does too. Without a terminal, or in the background, nothing changes.
    """
    group, terminal = os.getpgrp(), 0
    if group == os.getpid() or not os.isatty(terminal) or os.tcgetpgrp(terminal) != group:
        yield
        return
    # Taking the terminal back would stop a background process, and Ctrl-Z would leave make hanging.
    ignored = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTTOU, signal.SIGTSTP)}
    os.setpgid(0, 0)
    os.tcsetpgrp(terminal, os.getpgrp())
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the terminal was closed, or nobody is left in the group
            os.tcsetpgrp(terminal, group)
            os.setpgid(0, group)
        for number, handler in ignored.items():
            signal.signal(number, handler)
