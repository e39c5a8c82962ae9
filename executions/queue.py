"""The doorbell: django-q2's brokers, which say that there is something to do, and nothing else.

The execution's row is the message: a worker takes those whose ``wake_at`` has come. A bell that rings twice finds
nothing to do, and one that is lost is made good by the next look. Any django-q2 broker will do (``Q_CLUSTER``); the
two here neither write rows nor poll for them.
"""

from __future__ import annotations

import logging
import select
import threading
import time
from datetime import timedelta
from typing import Any

import psycopg
from django.db import connection
from django_q.brokers import Broker, get_broker
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.tasks import async_task
from psycopg import sql
from psycopg.pq import PGnotify
from psycopg.pq.abc import PGconn

logger = logging.getLogger(__name__)

#: The jobs there are, by the path a stock ``manage.py qcluster`` finds them with.
ADVANCE = "executions.jobs.advance"
DELIVER = "executions.jobs.deliver"
#: Deliveries have a queue of their own: executions that take every thread must not hold them up.
DELIVERIES = "deliveries"
#: Who took an execution and did nothing with it has died: others take it after so long.
RING_AGAIN = timedelta(seconds=15)
#: A worker that heard nothing looks again after so long: a notification can be lost with its connection.
LISTEN_SECONDS = 10.0
#: Due at once is due a moment ago: a few microseconds between two readings of a clock do not matter then.
AT_ONCE = timedelta(seconds=1)
#: Where PostgreSQL tells of work, and of executions that have ended.
WORK_CHANNEL = "dataflow_work"
ENDED_CHANNEL = "dataflow_ended"
DELIVERY_CHANNEL = "dataflow_deliveries"
#: Seconds between looks at whether anybody wrote to SQLite. One costs little, a hundred a second 1 % of a processor:
#: where nobody wrote for a second they are seldomer.
_SQLITE_LOOK, _SQLITE_QUIET_LOOK, _QUIET_SECONDS = 0.01, 0.03, 1.0


class Bell(ORM):  # type: ignore[misc]  # django-q2 ships no types
    """A broker that carries no jobs of its own: the database's rows are the jobs."""

    def dequeue(self) -> list[tuple[int, str]]:
        """One token when the bell was rung, nothing after a while without."""
        return [(0, "")] if self.heard(LISTEN_SECONDS) else []

    def acknowledge(self, task_id: int) -> None:
        """Nothing is left to do: there is no row."""

    def queue_size(self) -> int:
        """Nothing waits here."""
        return 0

    def heard(self, seconds: float) -> bool:
        """Wait for the bell, for at most ``seconds``."""
        time.sleep(seconds)
        return True


class PostgresBroker(Bell):
    """Woken by NOTIFY, which PostgreSQL sends when the caller's transaction commits. Nothing polls.

    Every notification wakes every session that listens to anything, so a process has one: the queue of executions
    hears for that of the deliveries too.
    """

    _listening: psycopg.Connection[Any] | None = None
    _deliveries_rung = threading.Event()

    @property
    def _channel(self) -> str:
        return DELIVERY_CHANNEL if self.list_key == DELIVERIES else WORK_CHANNEL

    def enqueue(self, task: str) -> int:
        """Tell the workers."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, '')", [self._channel])
        return 0

    def heard(self, seconds: float) -> bool:
        """Wait for a notification. The first call only starts to listen; it counts as news, which came before."""
        if self.list_key == DELIVERIES:
            heard = self._deliveries_rung.wait(seconds)
            self._deliveries_rung.clear()
            return heard
        if self._listening is None or self._listening.closed:
            parameters = connection.get_connection_params()
            self._listening = psycopg.connect(**parameters, autocommit=True)
            for channel in (WORK_CHANNEL, DELIVERY_CHANNEL):
                self._listening.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            self._deliveries_rung.set()
            return True
        channels = {told.relname.decode() for told in notifications(self._listening, seconds)}
        if DELIVERY_CHANNEL in channels:
            self._deliveries_rung.set()
        return WORK_CHANNEL in channels


def notifications(listening: psycopg.Connection[Any], seconds: float) -> list[PGnotify]:
    """All that was told, once something was or after ``seconds``: one look answers all that rang.

    By libpq's own calls: psycopg's ``notifies`` costs more than what is done at a notification. What psycopg executes
    on ``listening`` takes what is told meanwhile for itself; ``rows_of_prepared`` does not. Raises
    ``psycopg.OperationalError`` where the connection is lost.
    """
    server, poll = listening.pgconn, select.poll()
    poll.register(server.socket, select.POLLIN)
    # What came with the answer to a statement is here already.
    if not (found := _told(server)) and poll.poll(seconds * 1000):
        server.consume_input()
        found = _told(server)
    return found


def _told(server: PGconn) -> list[PGnotify]:
    return list(iter(server.notifies, None))


class SqliteBroker(Bell):
    """Woken by any write of another connection, which SQLite counts: other threads of the same process have others."""

    _version = -1
    _heard_at = 0.0

    def enqueue(self, task: str) -> int:
        """Writing the row was the bell."""
        return 0

    def heard(self, seconds: float) -> bool:
        """Look every few milliseconds whether anything was written."""
        end = time.monotonic() + seconds
        while (found := self._data_version()) == self._version:
            now = time.monotonic()
            if now > end:
                return False
            time.sleep(_SQLITE_LOOK if now - self._heard_at < _QUIET_SECONDS else _SQLITE_QUIET_LOOK)
        self._version, self._heard_at = found, time.monotonic()
        return True

    def _data_version(self) -> int:
        connection.ensure_connection()
        return int(connection.connection.execute("PRAGMA data_version").fetchone()[0])


def notifies() -> bool:
    """Whether a statement can ring the bell itself, by NOTIFY."""
    return bool(f"{PostgresBroker.__module__}.{PostgresBroker.__qualname__}" == Conf.BROKER_CLASS)


def channels(*, work: bool, ended: bool) -> list[str]:
    """Where a statement on PostgreSQL should tell of an execution: to the workers, to who waits for its end."""
    return [WORK_CHANNEL] * (work and notifies()) + [ENDED_CHANNEL] * ended


def ring(execution_id: str) -> None:
    """Ask a worker to look at what is due. In the caller's transaction, where the broker is the database."""
    async_task(ADVANCE, execution_id, task_name=f"advance {execution_id}")


def ring_delivery(execution_id: str) -> None:
    """Ask a worker to send what is due of webhook deliveries."""
    async_task(DELIVER, execution_id, task_name=f"deliver {execution_id}", cluster=DELIVERIES)


class Doorbell:
    """What one thread of a worker waits at (``None``: for executions). Make it after the fork."""

    def __init__(self, queue_name: str | None = None) -> None:
        self._broker: Broker = get_broker(queue_name)
        #: Whether all workers hear each ring; other brokers tell one of them.
        self.is_for_all = isinstance(self._broker, Bell)

    def wait(self, seconds: float) -> bool:
        """Wait until the bell rings, for at most ``seconds``; whether it rang.

        Raises what the broker raises when it cannot be reached.
        """
        if isinstance(self._broker, Bell):
            return self._broker.heard(seconds)
        end = time.monotonic() + seconds
        while not (messages := self._broker.dequeue()):
            if time.monotonic() > end:
                return False
        for receipt, _ in messages:
            self._broker.acknowledge(receipt)
        return True
