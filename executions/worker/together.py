"""Takes executions on whose tasks are quick, in step with each other: one write brings a step of each of them.

Most of what a quick step costs is the way to the database and the commit. Under load they are shared; one execution
alone pays what it would pay anyway, and needs no thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from dataflow.lib.failpoints import failpoint
from executions import files, store
from executions.engine.outcomes import Outcome, Released
from executions.engine.planner import Claim, can_start
from executions.engine.state import ExecutionStatus
from executions.worker import quickly
from executions.worker.database import drop_connection

logger = logging.getLogger(__name__)

#: So many at a time.
MAX_TOGETHER = 16
#: What takes longer for a step goes on in a thread of its own: the others wait for each step's write.
SLOW_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Leaving:
    """An execution that goes on in a thread. ``taken`` is what is known of it; ``None``: it is to be read again."""

    id: str
    taken: store.Loaded | None = None


class _TakesLong(Exception):
    """What a quick task gave is so large that it has to be stored, which others must not wait for."""


class Together:
    """Of one process, used by one thread. ``run`` runs a try, and gives it back where it takes long (``Released``)."""

    def __init__(self, worker: str, *, run: Callable[[Claim], Outcome]) -> None:
        self._worker, self._run = worker, run
        self._members: list[store.Loaded] = []

    def __len__(self) -> int:
        return len(self._members)

    def join(self, loaded: store.Loaded) -> Leaving | None:
        """Take in an execution that was just taken. One that is none of these is given back.

        Only one that begins: of others much may have to be read, and be large. Nothing may be planned before its slot
        is locked and its files are there.
        """
        row, run = loaded.row, loaded.run
        begins = run.status is ExecutionStatus.PENDING and row.sequence == 1 and not row.concurrency_key
        if not begins or files.urls_in(run.definition, run.inputs):
            return Leaving(row.id, loaded)
        try:
            is_quick = quickly.is_next(loaded)
        except Exception:  # as in `step`
            logger.debug("%s begins by itself.", row.id, exc_info=True)
            return Leaving(row.id)
        if not is_quick:
            return Leaving(row.id, loaded)
        self._members.append(loaded)
        return None

    def leave(self) -> list[Leaving]:
        """Let all go on in threads."""
        members, self._members = self._members, []
        return [Leaving(loaded.row.id, loaded) for loaded in members]

    def step(self) -> list[Leaving]:
        """Take each a step on and write that. Those that have ended, or wait, are done; those given back are not."""
        members, self._members = self._members, []
        leaving: list[Leaving] = []
        stepped: list[tuple[store.Loaded, bool]] = []
        for loaded in members:
            try:
                again = self._run_next(loaded)
            except Exception:  # it is this one's own trouble, which is dealt with where it goes on
                logger.debug("%s goes on by itself.", loaded.row.id, exc_info=True)
                leaving.append(Leaving(loaded.row.id))
            else:
                if again is None:
                    leaving.append(Leaving(loaded.row.id, loaded))
                else:
                    stepped.append((loaded, again))
        return leaving + self._write(stepped)

    def _run_next(self, loaded: store.Loaded) -> bool | None:
        """Whether the next task is quick too; ``None`` where the execution goes on otherwise, unwritten."""
        began = time.monotonic()
        quickly.run_next(loaded, self._run_at_once, worker=self._worker)
        again = quickly.is_next(loaded)
        if loaded.run.status.ended:
            return None if files.large_of(loaded.run.outputs or {}) else False
        if time.monotonic() - began > SLOW_SECONDS or (not again and can_start(loaded.run)):
            return None
        return again

    def _run_at_once(self, claim: Claim) -> Outcome:
        outcome = self._run(claim)
        if isinstance(outcome, Released):
            raise _TakesLong
        return outcome

    def _write(self, stepped: list[tuple[store.Loaded, bool]]) -> list[Leaving]:
        """Write the steps; those that could not be, or that somebody else changed, are to be read again."""
        try:
            failpoint("step.before_write")
            stale = {loaded.row.id for loaded in store.save_together(stepped)}
            failpoint("step.after_write")
        except Exception:  # the database is away, or one of them cannot be written: each finds out by itself
            logger.exception("%d executions could not be written together.", len(stepped))
            drop_connection()
            return [Leaving(loaded.row.id) for loaded, _ in stepped]
        for loaded, again in stepped:
            loaded.row.takes = 0
            if again and loaded.row.id not in stale:
                self._members.append(loaded)
        return [Leaving(execution_id) for execution_id in stale]
