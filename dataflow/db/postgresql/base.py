"""Django's backend for PostgreSQL, where connections of a pool are looked at without a round trip."""

from __future__ import annotations

import select
from collections import deque
from typing import Any

from django.db.backends.postgresql import base


class _LatestFirst(deque[Any]):
    """Connections that nobody uses: the one that was given back last is taken first.

    Its server process has all at hand that the next statement needs. In turn, sixteen of them were each cold when their
    turn came: a request with four statements took 1 ms longer.
    """

    popleft = deque.pop


class DatabaseWrapper(base.DatabaseWrapper):
    """Takes a connection that PostgreSQL has not closed, and keeps no list of queries in development."""

    @property
    def pool(self) -> Any:
        """The pool of this process, ``None`` without one."""
        pool = super().pool
        if pool is not None and not isinstance(pool._pool, _LatestFirst):  # noqa: SLF001 - its order is no option
            with pool._lock:  # noqa: SLF001 - as above
                pool._pool = _LatestFirst(pool._pool)  # noqa: SLF001 - as above
        return pool

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """A connection, of the pool where there is one; those that ended while nobody used them are thrown away."""
        while True:
            connection = super().get_new_connection(conn_params)
            if self.pool is None or _is_quiet(connection):
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
