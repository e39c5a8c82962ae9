"""Starts a program that ends when its parent does: ``python dataflow/tether.py PARENT_PID PROGRAM ARGUMENT…``.

A supervisor killed with SIGKILL cannot stop its children. So each is started through this: the kernel sends it SIGTERM
when its parent dies. Run as a file, with the standard library alone, so that it costs a few milliseconds. Only Linux
has this; elsewhere the program is simply started.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Become the program, tied to the parent."""
    parent, program = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("the parent died before its child had started")
    # Ctrl-C is the supervisor's business: it stops its children in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.execv(program[0], program)  # noqa: S606 - no shell is wanted: this process becomes the program


if __name__ == "__main__":
    main(sys.argv[1:])
