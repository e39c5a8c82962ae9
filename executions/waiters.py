"""Waiting for the end of executions (``?wait``): one listener for all requests of a process.

On PostgreSQL the end of an execution is told by NOTIFY; on SQLite its status is looked at. A waiting request holds no
database connection, and no place at the gate.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection

from dataflow.lib.gate import REQUESTS
from executions.engine.state import ExecutionStatus
from executions.prepared import rows_of_prepared
from executions.queue import ENDED_CHANNEL, notifications

logger = logging.getLogger(__name__)

#: Seconds after which a listener that heard nothing looks itself: a notification can be lost with its connection.
_LOOK_SECONDS = 1.0
#: On SQLite: seconds between the first looks, and at most.
_FIRST_SECONDS, _LONGEST_SECONDS = 0.01, 0.1
#: Ends that were told lately: an execution may end before the request that started it begins to wait.
_REMEMBERED = 4096
_ENDED = [status.value for status in ExecutionStatus if status.ended]
#: Those that have ended, and those that are gone: a crash may forget a start that is waited for (``store.flush``).
_LOOK = (
    "SELECT waited.id FROM unnest(%s::text[]) AS waited(id) WHERE NOT EXISTS "
    "(SELECT FROM executions_execution e WHERE e.id = waited.id AND e.status <> ALL(%s))"
)
_STATUS = "SELECT status FROM executions_execution WHERE id = %s"


class Ends:
    """The ends of executions, as they are told to this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, set[threading.Event]] = {}
        self._told: OrderedDict[str, None] = OrderedDict()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def wait(self, execution_id: str, seconds: float) -> None:
        """Return when the execution has ended, after ``seconds``, or when the process is being stopped."""
        with REQUESTS.outside():
            self._wait(execution_id, seconds)

    def _wait(self, execution_id: str, seconds: float) -> None:
        if connection.vendor == "sqlite":
            self._look_often(execution_id, seconds)
            return
        self._listen()
        if connection.settings_dict["OPTIONS"].get("pool"):
            # Back to the pool: it is needed by those that do not wait.
            connection.close()
        with self._noted(execution_id) as ended:
            ended.wait(seconds)

    def close(self) -> None:
        """Let everybody go, and end the listener."""
        self._closing.set()
        with self._lock:
            for events in self._waiting.values():
                for event in events:
                    event.set()
        if self._thread is not None:
            self._thread.join(_LOOK_SECONDS * 5)

    @property
    def closing(self) -> bool:
        """Whether the process is being stopped."""
        return self._closing.is_set()

    @contextmanager
    def _noted(self, execution_id: str) -> Iterator[threading.Event]:
        event = threading.Event()
        with self._lock:
            if execution_id in self._told or self.closing:
                event.set()
            self._waiting.setdefault(execution_id, set()).add(event)
        try:
            yield event
        finally:
            with self._lock:
                self._waiting[execution_id].discard(event)
                if not self._waiting[execution_id]:
                    del self._waiting[execution_id]

    def _look_often(self, execution_id: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        pause = _FIRST_SECONDS
        while not self._closing.wait(min(pause, max(0.0, end - time.monotonic()))) and time.monotonic() < end:
            with connection.cursor() as cursor:
                cursor.execute(_STATUS, [execution_id])
                found = cursor.fetchone()
            if found is None or found[0] in _ENDED:
                return
            pause = min(pause * 1.3, _LONGEST_SECONDS)

    def _listen(self) -> None:
        """Start the listener, unless it runs."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                parameters = connection.get_connection_params()
                self._thread = threading.Thread(
                    target=self._hear, args=(parameters,), daemon=True, name="ends-of-executions"
                )
                self._thread.start()

    def _hear(self, parameters: dict[str, Any]) -> None:
        while not self.closing:
            try:
                with psycopg.connect(**parameters | {"autocommit": True}) as listening:
                    listening.execute(f"LISTEN {ENDED_CHANNEL}")
                    self._hear_on(listening)
            except psycopg.OperationalError as error:
                logger.warning("Listening for ends of executions broke off: %s", str(error).strip())
                self._closing.wait(_LOOK_SECONDS)

    def _hear_on(self, listening: psycopg.Connection[Any]) -> None:
        looked = 0.0
        while not self.closing:
            if time.monotonic() - looked >= _LOOK_SECONDS:
                self._look(listening)
                looked = time.monotonic()
            for told in notifications(listening, _LOOK_SECONDS):
                self._tell(told.extra.decode())

    def _look(self, listening: psycopg.Connection[Any]) -> None:
        """Find what nobody told, of those that are waited for."""
        with self._lock:
            waited_for = list(self._waiting)
        if waited_for:
            for (execution_id,) in rows_of_prepared(listening, _LOOK, [waited_for, _ENDED]):
                self._tell(execution_id)

    def _tell(self, execution_id: str) -> None:
        with self._lock:
            self._told[execution_id] = None
            if len(self._told) > _REMEMBERED:
                self._told.popitem(last=False)
            for event in self._waiting.get(execution_id, ()):
                event.set()


#: The one of this process.
ENDS = Ends()
