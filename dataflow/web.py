"""The web server: ``python -m dataflow.web HOST PORT WORKERS`` serves ``dataflow.wsgi`` with granian.

The parent keeps ``WORKERS`` processes running and replaces one that died. SIGTERM: no new requests; those that wait for
an execution are answered with its state at once, the others have ``GRACE_SECONDS``.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server import MPServer

#: Each holds one request; those that wait for an execution (``?wait``) hold theirs for up to a minute.
THREADS = 64
#: Connections of one process; a further one waits until another is closed.
CONNECTIONS = 1024
GRACE_SECONDS = 5
_PR_SET_PDEATHSIG = 1


def serve(host: str, port: int, workers: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    server = MPServer(
        "dataflow.wsgi:application",
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        workers=workers,
        blocking_threads=THREADS,
        backpressure=CONNECTIONS,
        respawn_failed_workers=True,
        workers_kill_timeout=GRACE_SECONDS,
        # Below that it warns of as many threads as are wanted here.
        log_level=LogLevels.error,
    )
    server.serve(target_loader=_loader(os.getpid()), wrap_loader=False)


def _loader(parent: int) -> Callable[[], Any]:
    """What a worker process calls first: it gives the application, in a process that ends when its parent does."""

    def load() -> Any:
        _end_with(parent)
        # Loaded in the worker: threads and connections do not survive a fork.
        from dataflow.wsgi import application  # noqa: PLC0415 - see above
        from executions.waiters import ENDS  # noqa: PLC0415 - see above

        _at_signal(ENDS.close)
        return application

    return load


def _end_with(parent: int) -> None:
    """Let the kernel end this process when its parent dies, however that dies. Only Linux has this."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit("the web server died before its worker had started")


def _at_signal(call: Callable[[], None]) -> None:
    """Call ``call``, in a thread, at the first signal that this process handles. The handlers are granian's."""
    heard, told = socket.socketpair()
    told.settimeout(0)  # as `set_wakeup_fd` asks for
    signal.set_wakeup_fd(told.detach(), warn_on_full_buffer=False)

    def wait() -> None:
        heard.recv(1)
        call()

    threading.Thread(target=wait, daemon=True, name="stopping").start()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
