"""Database connections of a worker process: many threads, few connections."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connection, connections

from executions.database import finish_under_way

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

#: PostgreSQL connections of one worker process.
POOL_SIZE = 10
_PATIENCE_SECONDS = 60.0
#: All that a worker looks for is found by an index. A plan is kept for as long as its connection: one that was made
#: while the tables were small must not read them whole when they are large.
_BY_INDEX = "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off"


def pool_connections() -> None:
    """Give this process its own pool on PostgreSQL. Only after the fork: a pool does not survive one."""
    settings = connections.settings["default"]
    if settings["ENGINE"].endswith("postgresql"):
        settings["CONN_MAX_AGE"] = 0
        # A look at each use would cost as much as the use; `persist` bears a connection that broke.
        settings["CONN_HEALTH_CHECKS"] = False
        options = settings["OPTIONS"]
        settings["OPTIONS"] = options | {
            "pool": {"min_size": 1, "max_size": POOL_SIZE, "timeout": 30},
            "options": f"{options.get('options', '')} {_BY_INDEX}",
        }


def release_connection() -> None:
    """Hand this thread's connection back to the pool before it waits for something else. SQLite's stays open.

    Within a transaction, where tasks run that take no time, it is kept.
    """
    if connection.settings_dict["OPTIONS"].get("pool") and not connection.in_atomic_block:
        finish_under_way()
        connection.close()


def persist(write: Callable[[], Result]) -> Result:
    """Call ``write`` until the database takes it, for up to a minute: it may be restarting.

    Only for what may be done twice: every transaction of the store is fenced by its attempt.
    """
    end = time.monotonic() + _PATIENCE_SECONDS
    pause = 0.1
    while True:
        try:
            return write()
        except (OperationalError, InterfaceError) as error:
            if time.monotonic() > end:
                raise
            logger.warning("The database did not answer (%s); trying again.", str(error).strip())
        drop_connection()
        time.sleep(pause)
        pause = min(pause * 2, 2.0)


def drop_connection() -> None:
    """Close this thread's connection, whatever state it is in."""
    try:
        connection.close()
    except DatabaseError:
        connection.connection = None
