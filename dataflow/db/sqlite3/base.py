"""Django's backend for SQLite, where writers wait for each other in turn."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from typing import Any, Self, TypeVar

from django.db.backends.sqlite3 import base

Result = TypeVar("Result")

#: Seconds between tries to begin while somebody else writes.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.001, 0.004
#: The primary result code is the low byte: https://www.sqlite.org/rescode.html
_PRIMARY = 0xFF


class Connection(sqlite3.Connection):
    """A connection that keeps trying to begin, for ``patience`` seconds, while another one writes.

    SQLite's own busy handler sleeps longer each time, up to 0.1 s, so that whoever has waited for long is always behind
    those who came just now: with four busy processes a heartbeat waited for up to 7 s, here for up to 0.5 s.
    """

    patience = 0.0

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """``sqlite3.Connection.execute``. Raises ``sqlite3.OperationalError`` where others write all the time."""
        return self.in_turn(lambda: super(Connection, self).execute(sql, parameters))

    def in_turn(self, execute: Callable[[], Result]) -> Result:
        """What ``execute`` gives, called until nobody is in its way; within a transaction nobody can be."""
        if self.in_transaction:
            return execute()
        end = 0.0
        while True:
            try:
                return execute()
            except sqlite3.OperationalError as error:
                now = time.monotonic()
                end = end or now + self.patience
                if error.sqlite_errorcode & _PRIMARY != sqlite3.SQLITE_BUSY or now > end:
                    raise
            # At random, so that those who wait do not keep step.
            time.sleep(random.uniform(_SHORTEST_PAUSE, _LONGEST_PAUSE))  # noqa: S311 - no secret


class Cursor(base.SQLiteCursorWrapper):
    """Django's cursor on such a connection."""

    connection: Connection

    def execute(self, query: str, params: Any = None, /) -> Self:
        """As ``Connection.execute``, with the placeholders of Django."""
        self.connection.in_turn(lambda: super(Cursor, self).execute(query, params))
        return self


class DatabaseWrapper(base.DatabaseWrapper):
    """Keeps no list of queries in development, and queues as ``Connection`` does."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Connection:
        """Connect; the setting ``timeout`` (seconds) is how long a statement keeps trying."""
        connection: Connection = super().get_new_connection(conn_params | {"factory": Connection})
        connection.patience = conn_params.get("timeout", 5.0)
        connection.execute("PRAGMA busy_timeout=0")
        return connection

    def create_cursor(self, name: str | None = None) -> Cursor:
        """A cursor that waits for its turn."""
        cursor: Cursor = self.connection.cursor(factory=Cursor)
        return cursor

    @property
    def queries_logged(self) -> bool:
        """Writing down each query costs more than the query: for SQLite it is a query of its own."""
        return self.force_debug_cursor
