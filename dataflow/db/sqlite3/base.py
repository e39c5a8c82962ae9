"""Django's backend for SQLite."""

from __future__ import annotations

from django.db.backends.sqlite3 import base


class DatabaseWrapper(base.DatabaseWrapper):
    """Keeps no list of queries in development."""

    @property
    def queries_logged(self) -> bool:
        """Writing down each query costs more than the query: for SQLite it is a query of its own."""
        return self.force_debug_cursor
