"""Django's backend for PostgreSQL, with connections from the pool that are looked at without a round trip."""

from __future__ import annotations

import select
from typing import Any

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    """Takes a connection that PostgreSQL has not closed, and keeps no list of queries in development."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """A connection of the pool; those that ended while nobody used them are thrown away."""
        while True:
            connection = super().get_new_connection(conn_params)
            if _is_quiet(connection):
                return connection
            connection.close()
            self.pool.putconn(connection)

    @property
    def queries_logged(self) -> bool:
        """Writing down each query costs more than the query."""
        return self.force_debug_cursor


def _is_quiet(connection: Any) -> bool:
    """Whether nothing came while it was idle: neither the end of the connection nor a last word before it."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)
