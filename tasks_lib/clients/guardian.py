"""Starts one program and sees that nothing of it outlives whoever asked: the other half of ``bounded.py``.

Run as a file (``python -I -S guardian.py TETHER ORDER PROGRAM ARGUMENT…``) with the standard library alone, so that it
costs some tens of milliseconds. It leads the program's process group. ``TETHER`` is one end of a socket pair: when the
other end closes, as it does however its owner dies, the whole group is killed. The exit code goes back through it.

A worker has threads, so it must not run Python code between fork and exec: another thread may hold a lock for ever in
the child. This process has one thread, and may. It stays, instead of becoming the program with ``PR_SET_PDEATHSIG``
set: that signal reaches the program but not what the program has started, and it comes when the *thread* that started
it ends. The program gets it as well, in case the guardian itself is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

#: Exit code when the program cannot be started, as a shell has it.
NOT_STARTED = 127
#: What goes through the tether with the socket of ``_open_door``.
DOOR = b"D"
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCSIFFLAGS, _IFF_UP, _WAITING = 0x8914, 1, 64


def main(arguments: Sequence[str]) -> None:
    """Start the program, wait for its end or for the tether to break, and leave with the whole group."""
    tether, order, command = int(arguments[0]), json.loads(arguments[1]), list(arguments[2:])
    os.set_inheritable(tether, False)  # noqa: FBT003  as os has it
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    child = os.fork()
    if child == 0:
        _become(command, order, tether)
    for stream in (0, 1, 2):  # so that who reads them sees their end when the program has closed them
        os.close(stream)
    ready, _, _ = select.select([tether, woken], [], [])
    if tether in ready:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])  # else it stays a zombie where nobody buries orphans
    with contextlib.suppress(OSError):  # whoever asked is gone
        os.write(tether, str(code).encode())
    os.killpg(0, signal.SIGKILL)


def _become(command: list[str], order: Mapping[str, Any], tether: int) -> NoReturn:
    """In the child: take the limits on, then turn into the program."""
    try:
        if sys.platform == "linux":
            _confine(network=order["network"], port=order["port"], tether=tether)
        for name, most in order["limits"].items():
            _limit(getattr(resource, name, None), most)
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python; the program would inherit it
            signal.signal(ignored, signal.SIG_DFL)
        os.execve(command[0], command, order["environment"])  # noqa: S606  no shell is wanted
    except OSError as error:
        os.write(2, f"{command[0]} cannot be started: {error.strerror}\n".encode())
    os._exit(NOT_STARTED)


def _limit(kind: int | None, most: int) -> None:
    if kind is not None:
        with contextlib.suppress(ValueError, OSError):  # a lower one stands already, or the system knows it not
            # Past the soft limit of CPU time comes SIGXCPU, which says what it was; past the hard one SIGKILL.
            resource.setrlimit(kind, (most, most + 5 if kind == resource.RLIMIT_CPU else most))


def _confine(*, network: bool, port: int | None, tether: int) -> None:
    """What Linux has besides: no way to the network, no new rights, first in line when memory runs out."""
    library = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    # Many machines and containers refuse namespaces; ffmpeg's list of protocols holds without them.
    if not network and library.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")
        if port is not None:
            _open_door(port, tether)
    library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # after unshare, which clears it
    _write("/proc/self/oom_score_adj", "1000")


def _open_door(port: int, tether: int) -> None:
    """Listen on loopback of the new, empty network, and hand the socket to whoever asked: who answers is outside."""
    import fcntl  # needed by few programs, and every millisecond counts for the others
    import socket

    with socket.socket() as door, socket.socket(fileno=os.dup(tether)) as line:
        fcntl.ioctl(door, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP))  # it begins switched off
        door.bind(("127.0.0.1", port))
        door.listen(_WAITING)
        socket.send_fds(line, [DOOR], [door.fileno()])


def _write(path: str, value: str) -> None:
    with contextlib.suppress(OSError):
        Path(path).write_text(value, encoding="ascii")


if __name__ == "__main__":
    main(sys.argv[1:])
