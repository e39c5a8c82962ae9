"""Counts what a process asks of SQLite, which keeps no count itself: for ``bench/measures/counts.py``.

Python loads it before anything else where this folder is in ``PYTHONPATH``. Each process keeps two running totals in a
file of its own in the folder that ``BENCH_SQLITE_COUNTS`` names: statements, and transactions that wrote.
"""

from __future__ import annotations

import mmap
import os
import sqlite3.dbapi2 as sqlite
import struct
import threading
from pathlib import Path
from typing import Any

_FOLDER = os.environ.get("BENCH_SQLITE_COUNTS")
_TOTALS = struct.Struct("qq")
_WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "WITH")
#: What opens and closes transactions, and settings: counted apart, or not at all.
_OTHERS = ("BEGIN", "ROLLBACK", "SAVEPOINT", "RELEASE", "PRAGMA", "--")


class _Totals:
    """Those of this process; one that was forked has its own."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._lock = threading.Lock()
        self._pid = 0
        self._shared: mmap.mmap

    def add(self, *, statements: int = 0, commits: int = 0) -> None:
        with self._lock:
            if self._pid != os.getpid():
                self._pid = os.getpid()
                with (self._folder / str(self._pid)).open("w+b") as file:
                    file.truncate(_TOTALS.size)
                    self._shared = mmap.mmap(file.fileno(), _TOTALS.size)
            before = _TOTALS.unpack(self._shared[:])
            self._shared[:] = _TOTALS.pack(before[0] + statements, before[1] + commits)


def _counted(connection: sqlite.Connection, totals: _Totals) -> None:
    wrote = False

    def on_statement(statement: str) -> None:
        nonlocal wrote
        verb = statement.lstrip()[:10].upper()
        if verb.startswith("COMMIT"):
            totals.add(commits=int(wrote))
            wrote = False
        elif verb.startswith(_OTHERS):
            wrote = wrote and not verb.startswith("ROLLBACK")
        else:
            writes = verb.startswith(_WRITES)
            alone = writes and not connection.in_transaction
            wrote = wrote or (writes and not alone)
            totals.add(statements=1, commits=int(alone))

    connection.set_trace_callback(on_statement)


if _FOLDER:
    _connect, _all = sqlite.connect, _Totals(_FOLDER)

    def connect(*given: Any, **named: Any) -> sqlite.Connection:
        """``sqlite3.connect``, counted."""
        connection: sqlite.Connection = _connect(*given, **named)
        _counted(connection, _all)
        return connection

    sqlite.connect = connect  # type: ignore[assignment]  # its overloads are those of the real one
