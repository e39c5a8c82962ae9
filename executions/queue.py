"""The doorbell: django-q2's brokers, carrying a job's name and an execution's id, and nothing else.

The database is the truth. A job may come twice, late or never: it then finds nothing to do, or the sweeper rings
again. So a job is acknowledged as soon as it is taken, before its work. Any django-q2 broker will do; the database one
(the default) puts the job in the caller's transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
from django.db import connection
from django_q.brokers import Broker, get_broker
from django_q.brokers.orm import ORM
from django_q.signing import BadSignature, SignedPackage
from django_q.tasks import async_task
from psycopg import sql

logger = logging.getLogger(__name__)

#: The jobs there are, by the path a stock ``manage.py qcluster`` finds them with.
ADVANCE = "executions.jobs.advance"
DELIVER = "executions.jobs.deliver"
JOBS = frozenset({ADVANCE, DELIVER})
#: Deliveries have a queue of their own: executions that take every thread must not hold them up.
DELIVERIES = "deliveries"
#: What was rung for and no worker took by then is rung for again: a doorbell may be lost.
RING_AGAIN = timedelta(seconds=15)


#: A worker that heard nothing looks again after so long: a notification can be lost with its connection.
_LISTEN_SECONDS = 1.0
_INSERT = """
WITH queued AS (INSERT INTO django_q_ormq (key, payload, lock) VALUES (%s, %s, now()) RETURNING id)
SELECT id, pg_notify(%s, '') FROM queued
"""
_TAKE = """
DELETE FROM django_q_ormq WHERE id IN (
  SELECT id FROM django_q_ormq WHERE key = %s AND lock <= now() ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, payload
"""


class PostgresBroker(ORM):  # type: ignore[misc]  # django-q2 ships no types
    """django-q2's database broker for PostgreSQL, on the same table: woken by NOTIFY, taken by SKIP LOCKED.

    A job is gone once it is taken, which is all that a doorbell needs. Nothing polls but a look every second.
    """

    _listening: psycopg.Connection[Any] | None = None

    @property
    def _channel(self) -> str:
        """Where PostgreSQL tells that a job came to this queue."""
        return f"queue:{self.list_key}"

    def enqueue(self, task: str) -> int:
        """Insert a job and tell the workers, both when the caller's transaction commits."""
        with connection.cursor() as cursor:
            cursor.execute(_INSERT, [self.list_key, task, self._channel])
            return int(cursor.fetchone()[0])

    def dequeue(self) -> list[tuple[int, str]]:
        """The oldest job; where there is none, wait for news for up to a second and look again."""
        return self._take() or (self._heard() and self._take()) or []

    def acknowledge(self, task_id: int) -> None:
        """Nothing is left to do: taking it removed it."""

    def _take(self) -> list[tuple[int, str]]:
        with connection.cursor() as cursor:
            cursor.execute(_TAKE, [self.list_key])
            return list(cursor.fetchall())

    def _heard(self) -> bool:
        """Wait for a notification. The first call only starts to listen, and counts as news: a job may have come."""
        if self._listening is None or self._listening.closed:
            parameters = connection.get_connection_params()
            self._listening = psycopg.connect(**parameters, autocommit=True)
            self._listening.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
            return True
        return any(True for _ in self._listening.notifies(timeout=_LISTEN_SECONDS, stop_after=1))


def ring(execution_id: str, *, times: int = 1) -> None:
    """Ask ``times`` workers to look at an execution. In the caller's transaction, where the broker is the database."""
    for _ in range(times):
        async_task(ADVANCE, execution_id, task_name=f"advance {execution_id}")


def ring_delivery(execution_id: str) -> None:
    """Ask a worker to send what is due of an execution's webhook deliveries."""
    async_task(DELIVER, execution_id, task_name=f"deliver {execution_id}", cluster=DELIVERIES)


def backlog() -> int:
    """How many jobs wait to advance an execution."""
    return int(get_broker().queue_size())


class Receiver:
    """Takes jobs off a queue (``None``: the executions'), for one thread of a worker. Open it after the fork."""

    def __init__(self, queue_name: str | None = None) -> None:
        self._broker: Broker = get_broker(queue_name)

    def take(self) -> Iterator[str]:
        """The executions that were rung for; waits at most the broker's poll interval when there are none.

        Raises what the broker raises when it cannot be reached.
        """
        for receipt, payload in self._broker.dequeue() or ():
            self._broker.acknowledge(receipt)
            if (execution_id := _read(payload)) is not None:
                yield execution_id


def _read(payload: str) -> str | None:
    """The execution of a job that is one of ours; anything else in the queue is dropped, never called."""
    try:
        message = SignedPackage.loads(payload)
        function, (execution_id,) = message["func"], message["args"]
    except (BadSignature, TypeError, ValueError, KeyError):
        logger.warning("Dropped a queue message that is not ours; was SECRET_KEY changed?")
        return None
    if function not in JOBS or not isinstance(execution_id, str):
        logger.warning("Dropped a queue message that is no job of ours: %.100r", function)
        return None
    return execution_id
