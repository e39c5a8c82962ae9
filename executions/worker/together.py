"""Takes executions on whose tasks are quick, in step with each other: one write brings a step of each of them.

Most of what a quick step costs is the way to the database and the commit. Under load they are shared, and nobody waits
for them: a quick task touches nothing, so the next one is run while the commit of the last one is under way. The writes
keep their order, and each holds only if those before it did: what a crash cuts off is run again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from django.db import DatabaseError

from dataflow.lib.failpoints import failpoint
from executions import files, store
from executions.engine.outcomes import Outcome, Released
from executions.engine.planner import Claim, can_start
from executions.engine.state import ExecutionStatus
from executions.worker import quickly
from executions.worker.database import drop_connection

logger = logging.getLogger(__name__)

#: What takes longer for its step goes on in a thread of its own: the others wait for it.
SLOW_SECONDS = 0.02
#: Who was not run within so many seconds of a step of all does so too: what the first ones did is to be written.
STEP_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Leaving:
    """An execution that goes on in a thread. ``taken`` is what is known of it; ``None``: it is to be read again."""

    id: str
    taken: store.Loaded | None = None


@dataclass(frozen=True, slots=True)
class _Stepped:
    """An execution whose step is to be written. Then it ``stays`` for the next, ``leaves`` to a thread, or is done."""

    loaded: store.Loaded
    stays: bool = False
    leaves: bool = False

    @property
    def is_held(self) -> bool:
        """Whether this process goes on with it."""
        return self.stays or self.leaves


class _TakesLong(Exception):
    """What a quick task gave is so large that it has to be stored, which others must not wait for."""


class Together:
    """Of one process, used by one thread. ``run`` runs a try, and gives it back where it takes long (``Released``)."""

    def __init__(self, worker: str, *, run: Callable[[Claim], Outcome]) -> None:
        self._worker, self._run = worker, run
        self._members: list[store.Loaded] = []
        self._saves = store.Saves()
        #: Those whose last step is under way.
        self._done: list[store.Loaded] = []
        #: Whether anything was sent of which nobody knows what became.
        self._is_sent = False

    def __len__(self) -> int:
        return len(self._members) + len(self._done)

    @property
    def members(self) -> int:
        """How many go on, without those whose last step is under way."""
        return len(self._members)

    def join(self, loaded: store.Loaded) -> Leaving | None:
        """Take in an execution that was just taken. One that is none of these is given back.

        Only one that begins: of others much may have to be read, and be large. Nothing may be planned before its slot
        is locked and its files are there.
        """
        row, run = loaded.row, loaded.run
        begins = run.status is ExecutionStatus.PENDING and row.sequence == 1 and not row.concurrency_key
        try:
            if not begins or files.urls_in(run.definition, run.inputs):
                return Leaving(row.id, loaded)
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
        return self._received([Leaving(loaded.row.id, loaded) for loaded in members])

    def receive(self) -> list[Leaving]:
        """Wait until all that was sent is written: before anything else is asked of the database."""
        return self._received([])

    def step(self) -> list[Leaving]:
        """Take each a step on and send that. Those that have ended, or wait, are done; those given back are not."""
        members, self._members = self._members, []
        stepped, leaving = self._run_each(members)
        for one in stepped:
            one.loaded.row.takes = 0
            if one.leaves:
                leaving.append(Leaving(one.loaded.row.id, one.loaded))
            else:
                (self._members if one.stays else self._done).append(one.loaded)
        self._is_sent = bool(stepped) or self._is_sent
        try:
            failpoint("step.before_write")
            goes_on = self._saves.send([(one.loaded, one.is_held) for one in stepped])
        except Exception:  # see `_lost`
            logger.exception("A step could not be sent.")
            return self._lost(leaving)
        # Whoever leaves is changed by others from now on.
        return [] if goes_on and self._members and not leaving else self._received(leaving)

    def _run_each(self, members: list[store.Loaded]) -> tuple[list[_Stepped], list[Leaving]]:
        """Run the next task of each: those with a step to be written, and those that go on in a thread without."""
        end = time.monotonic() + STEP_SECONDS
        leaving: list[Leaving] = []
        stepped: list[_Stepped] = []
        for loaded in members:
            try:
                done = self._run_next(loaded) if time.monotonic() < end else None
            except Exception as error:  # it is this one's own trouble, which is dealt with where it goes on
                level = logging.WARNING if isinstance(error, DatabaseError) else logging.DEBUG
                logger.log(level, "%s goes on by itself.", loaded.row.id, exc_info=True)
                leaving.append(Leaving(loaded.row.id))
            else:
                if done is None:
                    leaving.append(Leaving(loaded.row.id, loaded))
                else:
                    stepped.append(done)
        return stepped, leaving

    def _run_next(self, loaded: store.Loaded) -> _Stepped | None:
        """Run the next task; ``None`` where the execution goes on in a thread, which writes this too."""
        began = time.monotonic()
        quickly.run_next(loaded, self._run_at_once, worker=self._worker)
        again = quickly.is_next(loaded)
        if loaded.run.status.ended:
            return None if files.large_of(loaded.run.outputs or {}) else _Stepped(loaded)
        if loaded.run.ended_tries:  # a write tells of one try of each task: of this one now
            return _Stepped(loaded, leaves=again or can_start(loaded.run))
        if time.monotonic() - began > SLOW_SECONDS or (not again and can_start(loaded.run)):
            return None
        return _Stepped(loaded, stays=again)

    def _run_at_once(self, claim: Claim) -> Outcome:
        outcome = self._run(claim)
        if isinstance(outcome, Released):
            raise _TakesLong
        return outcome

    def _received(self, leaving: list[Leaving]) -> list[Leaving]:
        """``leaving`` once all is written, and whom somebody else changed meanwhile, who is to be read again."""
        try:
            stale = dict.fromkeys(loaded.row.id for loaded in self._saves.receive())
            if self._is_sent:
                failpoint("step.after_write")
        except Exception:  # see `_lost`
            logger.exception("Steps could not be written together.")
            return self._lost(leaving)
        self._is_sent = False
        self._done.clear()
        self._members = [loaded for loaded in self._members if loaded.row.id not in stale]
        known = [one for one in leaving if one.id not in stale]
        return [*(Leaving(execution_id) for execution_id in stale), *known]

    def _lost(self, leaving: list[Leaving]) -> list[Leaving]:
        """The database is away, or one of them cannot be written: each finds out by itself what was written."""
        gone = [one.id for one in leaving] + [loaded.row.id for loaded in (*self._members, *self._done)]
        self._members, self._done, self._is_sent = [], [], False
        self._saves.give_up()
        drop_connection()
        return [Leaving(execution_id) for execution_id in gone]
