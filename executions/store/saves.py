"""Saves steps of several executions: one statement for all of them, and no waiting from one step to the next."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection

from executions.prepared import Pipeline
from executions.store import statements
from executions.store.rows import Loaded
from executions.store.saving import Stale, Step, ring, settled, stale_of, step_of, values_of, write, write_alone

#: Saves that may be under way: their answers, of some hundred bytes each, wait in the connection's socket.
UNDER_WAY = 8


class Saves:
    """Saves one after the other by one thread, outside a transaction; on PostgreSQL they are sent and not waited for.

    Each is a transaction. A step holds only if that before it did. Between ``send`` and ``receive`` nothing else may be
    asked of the thread's connection. After an error nobody knows what was written.
    """

    def __init__(self) -> None:
        self._pipeline: Pipeline | None = None
        self._sent: list[list[Step]] = []
        self._stale: list[Step] = []

    def send(self, several: Sequence[tuple[Loaded, bool]]) -> bool:
        """Save several executions, each with whether it is held, in one transaction where only they are concerned.

        Whether more may be sent before ``receive``. Until then what is saved may be found to be stale.
        """
        before = {step.loaded.row.id for step in self._sent[-1]} if self._sent else set()
        steps = [step_of(loaded, held=held, follows=loaded.row.id in before) for loaded, held in several]
        if own := [step for step in steps if not step.concerns_others]:
            self._send(own)
        if concerning := [step for step in steps if step.concerns_others]:
            self._receive()
            self._write(concerning)
        return 0 < len(self._sent) < UNDER_WAY

    def receive(self) -> list[Loaded]:
        """Wait until all is done: those that somebody else changed. Nothing was written of them from then on."""
        self._receive()
        stale, self._stale = self._stale, []
        return list({id(step.loaded): step.loaded for step in stale}.values())

    def _send(self, steps: list[Step]) -> None:
        if connection.vendor == "sqlite":
            self._stale += write(steps)
        else:
            connection.ensure_connection()
            with connection.wrap_database_errors:
                self._pipeline = self._pipeline or Pipeline(connection.connection)
                self._pipeline.send(statements.SAVE_POSTGRESQL, values_of(steps))
            self._sent.append(steps)
        for step in steps:
            settled(step)

    def _write(self, steps: list[Step]) -> None:
        for step in steps:
            try:
                write_alone(step)
            except Stale:
                self._stale.append(step)
            else:
                settled(step)

    def _receive(self) -> None:
        pipeline, self._pipeline = self._pipeline, None
        sent, self._sent = self._sent, []
        if pipeline is None:
            return
        with connection.wrap_database_errors:
            answers = pipeline.receive()
        for steps, rows in zip(sent, answers, strict=True):
            stale = stale_of(steps, rows)
            ring(step for step in steps if step not in stale)
            self._stale += stale
