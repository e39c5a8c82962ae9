"""Saves steps of several executions: one statement for all of them, and no waiting from one step to the next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db import connection

from executions.database import nothing_under_way, put_under_way
from executions.prepared import Pipeline
from executions.store import statements
from executions.store.rows import Loaded
from executions.store.saving import Stale, Step, ring, settled, stale_of, step_of, values_of, write, write_alone

#: Saves that may be under way: their answers, of some hundred bytes each, wait in the connection's socket.
UNDER_WAY = 8


class Saves:
    """Saves one after the other by one thread, outside a transaction; on PostgreSQL they are sent and not waited for.

    Each is a transaction. A step holds only if that before it did. Whatever else the thread asks of the database waits
    until what is under way is done: a step may read what the last ones wrote. After an error nobody knows what was
    written.
    """

    def __init__(self) -> None:
        self._pipeline: Pipeline | None = None
        self._sent: list[list[Step]] = []
        self._stale: dict[str, Loaded] = {}
        self._failed: Exception | None = None

    def send(self, several: Sequence[tuple[Loaded, bool]]) -> bool:
        """Save several executions, each with whether it is held, in one transaction where only they are concerned.

        Whether more may be sent before ``receive``. Until then what is saved may be found to be stale.
        """
        self._check()
        steps = [step_of(loaded, held=held) for loaded, held in several]
        if own := self._unchanged(step for step in steps if not step.concerns_others):
            self._send(own)
        if any(step.concerns_others for step in steps):
            self._finish()
            self._write(self._unchanged(step for step in steps if step.concerns_others))
        return 0 < len(self._sent) < UNDER_WAY

    def receive(self) -> list[Loaded]:
        """Wait until all is done: those that somebody else changed. Nothing was written of them from then on."""
        self._finish()
        self._check()
        stale, self._stale = self._stale, {}
        return list(stale.values())

    def give_up(self) -> None:
        """Forget what is under way, after an error. The connection is to be dropped."""
        self._taken_down()
        self._stale, self._failed = {}, None

    def _check(self) -> None:
        if self._failed is not None:
            raise self._failed

    def _unchanged(self, steps: Iterable[Step]) -> list[Step]:
        """Without those that are known to be stale: the revision that they name is somebody else's."""
        return [step for step in steps if step.loaded.row.id not in self._stale]

    def _send(self, steps: list[Step]) -> None:
        if connection.vendor == "sqlite":
            self._note_stale(write(steps))
        else:
            before = {step.loaded.row.id for step in self._sent[-1]} if self._sent else ()
            values = values_of(steps, after=before)
            with connection.wrap_database_errors:
                self._begun().send(statements.SAVE_POSTGRESQL, values)
            self._sent.append(steps)
        for step in steps:
            settled(step)

    def _begun(self) -> Pipeline:
        if self._pipeline is None:
            connection.ensure_connection()
            self._pipeline = Pipeline(connection.connection)
            put_under_way(self._finish)
        return self._pipeline

    def _write(self, steps: list[Step]) -> None:
        for step in steps:
            try:
                write_alone(step)
            except Stale:
                self._note_stale([step])
            else:
                settled(step)

    def _note_stale(self, steps: Iterable[Step]) -> None:
        self._stale |= {step.loaded.row.id: step.loaded for step in steps}

    def _finish(self) -> None:
        """Wait for what is under way."""
        pipeline, sent = self._taken_down()
        if pipeline is None:
            return
        try:
            with connection.wrap_database_errors:
                answers = pipeline.receive()
            for steps, rows in zip(sent, answers, strict=True):
                self._note_stale(stale_of(steps, rows, late=True))
            ring(step for steps in sent for step in self._unchanged(steps))
        except Exception as error:  # whoever asked for something else must not be the only one who hears of it
            self._failed = error
            raise

    def _taken_down(self) -> tuple[Pipeline | None, list[list[Step]]]:
        pipeline, self._pipeline = self._pipeline, None
        sent, self._sent = self._sent, []
        if pipeline is not None:
            nothing_under_way()
        return pipeline, sent
