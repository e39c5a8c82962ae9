"""Runs another program within limits. Everything that the platform starts for a task goes through here.

It gets its own session and process group, limits of CPU time, memory and file size, an empty environment and a folder
to work in; what it says is kept in part only. It is killed, with all it has started, when the task is cancelled, at the
deadline, and when the worker dies, even by SIGKILL (``guardian.py`` says how). On Linux it has no network either,
unless asked for, or one in which there is a proxy of ours and nothing else. Some kernels and containers do not let an
ordinary process have a network of its own; that is passed over silently, and the program's own rules have to do.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Protocol

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from tasks_lib.clients import guardian

#: Bytes kept of the beginning and of the end of what a program writes to one channel, and characters of one line.
KEPT_HEAD, KEPT_TAIL, LINE_LENGTH = 64 * 1024, 64 * 1024, 8192
#: Seconds that a guardian has to kill its program.
GRACE = 5.0
_CHUNK = 64 * 1024
_CUT = b"\n[...]\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a program may use. Each process that it starts may use as much again, except for the time."""

    #: Seconds of CPU time.
    cpu_seconds: int = 600
    #: Bytes of address space: more than what is in memory, since libraries reserve without using.
    address_space: int = 2 * 1024**3
    #: Bytes of memory that can be written to, for programs that reserve address space without measure.
    data: int | None = None
    #: Bytes of one written file.
    file_size: int = 2 * 1024**3
    #: Seconds by the clock, where the task has no earlier deadline.
    timeout: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a program ended. ``code`` is negative for a signal; outputs longer than what is kept lack their middle."""

    code: int
    stdout: str
    stderr: str

    @property
    def broken_limit(self) -> str:
        """Which limit ended it, in words; empty where none is known to have (for memory, it says so itself)."""
        return {-signal.SIGXCPU: "its limit of CPU time", -signal.SIGXFSZ: "the limit of one file's size"}.get(
            self.code, ""
        )


OnLine = Callable[[str], None]


class Proxy(Protocol):
    """A way out for a program that has no other. It listens on ``port`` of this machine's loopback."""

    @property
    def port(self) -> int:
        """Where it listens."""

    def listen(self, door: socket.socket) -> None:
        """Answer on this socket too: it listens on the same port of the program's own, otherwise empty, network."""


def run(  # noqa: PLR0913  a run has this many parts
    argv: Sequence[str],
    *,
    folder: Path,
    cancellation: Cancellation,
    limits: Limits,
    stdin: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    on_line: OnLine | None = None,
    network: bool = False,
    proxy: Proxy | None = None,
) -> Finished:
    """Run ``argv`` in ``folder`` to its end, whatever its exit code.

    ``environment`` is all it gets (nothing by default). ``on_line`` is called in this thread with each line of both
    channels as it comes; what it raises ends the program. With a ``proxy`` and without ``network``, the proxy is all
    that it can reach, where the kernel allows that. Raises ``TaskError``: the cancellation's own, ``timeout``,
    or ``runtime`` where the program cannot be started.
    """
    cancellation.check()
    program = shutil.which(argv[0])
    if program is None:
        raise TaskError("runtime", f"The program {argv[0]} is not there, or cannot be run.")
    left = cancellation.remaining()
    deadline = time.monotonic() + (limits.timeout if left is None else min(left, limits.timeout))
    order: dict[str, object] = {
        "limits": _resources(limits),
        "environment": dict(environment or {}),
        "network": network,
    }
    order["port"] = None if proxy is None else proxy.port
    with _started([program, *argv[1:]], order, folder, stdin) as (process, tether):
        with cancellation.interrupting(lambda: _cut(tether)):
            collected = _Collected(on_line)
            code = _follow(process, tether, collected, deadline, cancellation, proxy)
        cancellation.check()
    if code is None and time.monotonic() >= deadline:
        name = Path(program).name
        raise TaskError("timeout", f"{name} took longer than {limits.timeout:g} s.", retryable=True)
    # Without a word from the guardian, the group was killed from outside: the system had no memory left, most likely.
    return Finished(
        code=-signal.SIGKILL if code is None else code,
        stdout=collected.text("stdout"),
        stderr=collected.text("stderr"),
    )


def _resources(limits: Limits) -> dict[str, int]:
    """By the names of the module ``resource``."""
    resources = {
        "RLIMIT_CPU": limits.cpu_seconds,
        "RLIMIT_AS": limits.address_space,
        "RLIMIT_FSIZE": limits.file_size,
        "RLIMIT_CORE": 0,
    }
    return resources if limits.data is None else resources | {"RLIMIT_DATA": limits.data}


@contextmanager
def _started(
    command: Sequence[str], order: Mapping[str, object], folder: Path, stdin: bytes | None
) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """The guardian with the program below it, and our end of the tether. Nothing of them is left after the block."""
    ours, theirs = socket.socketpair()
    with ours, contextlib.ExitStack() as stack:
        given: IO[bytes] | int = subprocess.DEVNULL
        if stdin is not None:
            given = stack.enter_context(TemporaryFile(dir=folder))
            given.write(stdin)
            given.seek(0)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", guardian.__file__, str(theirs.fileno()), json.dumps(order), *command],
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=folder,
                env=_loader_environment(),
                start_new_session=True,
                pass_fds=[theirs.fileno()],
            )
        try:
            yield process, ours
        finally:
            _end(process, ours)
            for channel in (process.stdout, process.stderr):
                if channel is not None:
                    channel.close()


def _loader_environment() -> dict[str, str]:
    """What a Python with its library in an odd place needs to start. The program does not get it."""
    return {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}


def _cut(tether: socket.socket) -> None:
    """Let the guardian know that it is over. It kills the program and itself, upon which the tether ends."""
    with contextlib.suppress(OSError):  # it has gone already
        tether.shutdown(socket.SHUT_WR)


def _end(process: subprocess.Popen[bytes], tether: socket.socket) -> None:
    """Wait until nothing of the group is left; by force where the guardian does not see to it."""
    _cut(tether)
    tether.settimeout(GRACE)
    with contextlib.suppress(OSError):  # the time is up, or the guardian was killed
        while tether.recv(_CHUNK):
            pass
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a dead group
        os.killpg(process.pid, signal.SIGKILL)  # nobody has waited for it yet: the number is still its own
    process.wait()


def _follow(
    process: subprocess.Popen[bytes],
    tether: socket.socket,
    collected: _Collected,
    deadline: float,
    cancellation: Cancellation,
    proxy: Proxy | None,
) -> int | None:
    """Collect what it says until the guardian is gone or the time is up; the exit code that the guardian told."""
    told = b""
    with selectors.DefaultSelector() as selector:
        for name, descriptor in (("tether", tether.fileno()), *_channels(process)):
            os.set_blocking(descriptor, False)
            selector.register(descriptor, selectors.EVENT_READ, name)
        while (left := deadline - time.monotonic()) > 0:
            events = selector.select(min(left, GRACE))
            if not events and cancellation.error is not None:
                break  # the guardian does not see to it
            # The tether last: when it ends, everything that was said before has been read.
            for key, _ in sorted(events, key=lambda event: event[0].data == "tether"):
                data = _told(tether, proxy) if key.data == "tether" else _read(key.fd)
                if key.data == "tether" and data:
                    told += data
                elif key.data == "tether":
                    collected.drain(process)
                    code = told.replace(guardian.DOOR, b"")
                    return int(code) if code else None
                elif data:
                    collected.add(key.data, data)
                else:
                    selector.unregister(key.fileobj)
    return None


def _channels(process: subprocess.Popen[bytes]) -> list[tuple[str, int]]:
    pairs = (("stdout", process.stdout), ("stderr", process.stderr))
    return [(name, channel.fileno()) for name, channel in pairs if channel is not None]


def _told(tether: socket.socket, proxy: Proxy | None) -> bytes:
    """What the guardian says. The socket that may come with it is the proxy's."""
    try:
        data, descriptors, _, _ = socket.recv_fds(tether, _CHUNK, 1)
    except (BlockingIOError, ConnectionResetError):
        return b""
    for descriptor in descriptors:
        door = socket.socket(fileno=descriptor)
        if proxy is None:
            door.close()
        else:
            proxy.listen(door)
    return data


def _read(descriptor: int) -> bytes:
    """What is there now, at most a chunk; nothing at the end."""
    try:
        return os.read(descriptor, _CHUNK)
    except (BlockingIOError, ConnectionResetError):
        return b""


class _Collected:
    """What a program said: the beginning and the end of each channel, and its lines as they come."""

    def __init__(self, on_line: OnLine | None) -> None:
        self._on_line = on_line
        self._kept = {"stdout": _Kept(), "stderr": _Kept()}
        self._begun = {"stdout": b"", "stderr": b""}

    def add(self, channel: str, data: bytes) -> None:
        """Keep ``data`` and pass whole lines on. A carriage return ends a line too: programs redraw with it."""
        self._kept[channel].add(data)
        if self._on_line is None:
            return
        *lines, rest = (self._begun[channel] + data).replace(b"\r", b"\n").split(b"\n")
        self._begun[channel] = rest[:LINE_LENGTH]
        for line in lines:
            if line:
                self._on_line(line[:LINE_LENGTH].decode("utf-8", "replace"))

    def drain(self, process: subprocess.Popen[bytes]) -> None:
        """Take what the ended program has left in the pipes."""
        for name, descriptor in _channels(process):
            while data := _read(descriptor):
                self.add(name, data)
            if self._begun[name]:
                self.add(name, b"\n")

    def text(self, channel: str) -> str:
        """What was kept, as text."""
        return self._kept[channel].value().decode("utf-8", "replace")


class _Kept:
    """The first and the last bytes of a stream."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._lost = False

    def add(self, data: bytes) -> None:
        room = max(KEPT_HEAD - len(self._head), 0)
        self._head += data[:room]
        if not (rest := data[room:]):
            return
        self._tail.append(rest)
        self._tail_size += len(rest)
        while self._tail_size - len(self._tail[0]) >= KEPT_TAIL:
            self._tail_size -= len(self._tail.popleft())
            self._lost = True

    def value(self) -> bytes:
        return bytes(self._head) + (_CUT if self._lost else b"") + b"".join(self._tail)
