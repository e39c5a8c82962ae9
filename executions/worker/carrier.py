"""Takes executions on in the threads of one process.

All threads that are at the same execution share what was read of it, and the one that comes first writes for those
that came meanwhile: many tries that end together cost one write. What another process changed is noticed by that
write, and read again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial

from dataflow.lib.failpoints import failpoint
from executions import store
from executions.database import writing
from executions.engine.outcomes import Outcome
from executions.engine.planner import Claim, can_start
from executions.engine.state import ExecutionStatus
from executions.worker import quickly
from executions.worker.caution import Caution
from executions.worker.database import persist
from executions.worker.fetching import Fetches

#: Tries of one execution that one step starts besides those of the threads that are at it.
MORE_AT_ONCE = 16


@dataclass(eq=False, slots=True)
class _Ticket:
    """What one thread wants of a step: to settle its try, and the next one."""

    ended: store.EndOfTry | None = None
    taken: store.Loaded | None = None
    claim: Claim | None = None
    done: bool = False
    #: Whether there is more that is quick: the thread comes back for it.
    again: bool = False


@dataclass(eq=False, slots=True)
class _Handle:
    """An execution that threads of this process are at."""

    id: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    tickets: list[_Ticket] = field(default_factory=list)
    loaded: store.Loaded | None = None
    #: The tries of this process by task and attempt.
    in_hand: set[tuple[str, int]] = field(default_factory=set)
    #: Whether a write got no answer: it may have been done.
    is_unsure: bool = False
    #: Whether tasks have started other executions, which nobody may wait for any more after a step.
    has_children: bool = False
    #: Threads that the step at hand was given for others, until they are begun.
    slots: int = 0
    threads: int = 0


class Carrier:
    """One for a process. ``run`` runs a try, within ``holding`` until it is settled.

    ``slots`` gives threads: how many of those wanted are free. ``spawn`` runs work in a thread that ``slots`` gave, and
    ``give_back`` returns those that were not needed. ``fetch`` stores the files by URL of an execution that begins:
    ``Fetches.fetch``.
    """

    def __init__(
        self,
        worker: str,
        *,
        run: Callable[[Claim], Outcome],
        holding: Callable[[Claim], AbstractContextManager[None]] = lambda _claim: nullcontext(),
        slots: Callable[[int], int] = lambda _wanted: 0,
        give_back: Callable[[int], None] = lambda _number: None,
        spawn: Callable[[Callable[[], None]], None] = lambda work: work(),
        fetch: Callable[[str, Mapping[str, str]], bool] | None = None,
    ) -> None:
        self._worker = worker
        self._run, self._holding = run, holding
        self._slots, self._give_back, self._spawn = slots, give_back, spawn
        self._fetch = fetch or Fetches().fetch
        self._handles: dict[str, _Handle] = {}
        self._caution = Caution()
        self._lock = threading.Lock()
        #: Set when the process stops: nothing more is claimed.
        self.stopping = False

    def carry(self, execution_id: str, taken: store.Loaded | None = None) -> None:
        """Take an execution as far as it can go without waiting; ``taken`` is what was read of it."""
        in_vain = taken is not None and taken.row.takes > store.TAKEN_IN_VAIN
        if in_vain and persist(partial(store.give_up, execution_id)):
            return
        handle = self._enter(execution_id)
        try:
            try:
                claim = self._step(handle, _Ticket(taken=taken))
            except store.FilesMissing as missing:
                fetched = self._fetch(execution_id, missing.urls)
                claim = self._step(handle, _Ticket()) if fetched else None
            self._go_on(handle, claim)
        finally:
            self._leave(handle)

    def is_at(self, execution_id: str) -> bool:
        """Whether threads of this process are at an execution."""
        return execution_id in self._handles

    def _go_on(self, handle: _Handle, claim: Claim | None) -> None:
        while claim is not None:
            failpoint("try.before")
            with self._holding(claim):
                try:
                    outcome = self._run(claim)
                finally:
                    self._caution.leave(claim)
                failpoint("try.after")
                claim = self._step(handle, _Ticket(ended=store.EndOfTry(claim=claim, outcome=outcome)))

    def _start_another(self, handle: _Handle, claim: Claim) -> None:
        with self._lock:
            handle.threads += 1

        def work() -> None:
            try:
                self._go_on(handle, claim)
            finally:
                self._leave(handle)

        self._spawn(work)

    def _enter(self, execution_id: str) -> _Handle:
        with self._lock:
            handle = self._handles.setdefault(execution_id, _Handle(execution_id))
            handle.threads += 1
            return handle

    def _leave(self, handle: _Handle) -> None:
        with self._lock:
            handle.threads -= 1
            if not handle.threads:
                del self._handles[handle.id]

    def _step(self, handle: _Handle, ticket: _Ticket) -> Claim | None:
        """Steps for ``ticket``, alone or with others, until there is a claim or nothing more to do; the claim."""
        self._one_step(handle, ticket)
        while ticket.again:
            ticket = _Ticket()
            self._one_step(handle, ticket)
        return ticket.claim

    def _one_step(self, handle: _Handle, ticket: _Ticket) -> None:
        with self._lock:
            handle.tickets.append(ticket)
        try:
            persist(partial(self._lead, handle, ticket))
        except Exception:  # whatever it is: nobody comes back for this ticket
            with self._lock:
                if not ticket.done:
                    handle.tickets.remove(ticket)
            raise

    def _lead(self, handle: _Handle, ticket: _Ticket) -> None:
        """Settle all tickets that are there, unless another thread did so for this one."""
        with handle.lock:
            if ticket.done:
                return
            with self._lock:
                batch = list(handle.tickets)
            try:
                claims, wanting = self._decide(handle, batch)
            except store.FilesMissing:
                handle.loaded = None  # its inputs change when the files are there
                self._finish(handle, batch)
                raise
            except Exception:  # whatever it is, nobody knows what was written: it is raised on
                handle.loaded, handle.is_unsure = None, True
                self._return_slots(handle)
                raise
            handle.is_unsure = False
            handle.in_hand.update((claim.task, claim.attempt) for claim in claims)
            for one in wanting:
                one.claim = claims.pop(0) if claims else None
            self._finish(handle, batch)
            for claim in claims:
                handle.slots -= 1
                self._start_another(handle, claim)
            self._return_slots(handle)
            # Not in the step's own transaction: locks go from a child to its parent. The sweeper finds what is left.
            if handle.has_children:
                store.cancel_orphans(handle.id)

    def _return_slots(self, handle: _Handle) -> None:
        slots, handle.slots = handle.slots, 0
        self._give_back(slots)

    def _finish(self, handle: _Handle, batch: list[_Ticket]) -> None:
        with self._lock:
            for one in batch:
                handle.tickets.remove(one)
                one.done = True
        handle.in_hand.difference_update(
            (one.ended.claim.task, one.ended.claim.attempt) for one in batch if one.ended is not None
        )

    def _decide(self, handle: _Handle, batch: list[_Ticket]) -> tuple[list[Claim], list[_Ticket]]:
        """Settle, plan, claim and write: the claims, and the tickets they are for; ``handle.slots`` is for the rest."""
        kept = self._kept(handle, batch)
        if kept is not None:
            try:
                return self._write(handle, kept, batch)
            except store.Stale:
                handle.loaded = None
                self._return_slots(handle)
        with writing():
            loaded = store.load(handle.id)
            if loaded is None or loaded.run.status.ended:
                handle.loaded = None
                return [], []
            return self._write(handle, loaded, batch)

    def _kept(self, handle: _Handle, batch: list[_Ticket]) -> store.Loaded | None:
        """What is known of the execution without asking, where that will do."""
        taken = [one.taken for one in batch if one.taken is not None]
        for loaded in taken:
            if handle.loaded is None or loaded.row.revision > handle.loaded.row.revision:
                handle.loaded = loaded
        for one in batch:  # once decided upon, it is no more what was taken
            one.taken = None
        kept = handle.loaded
        if kept is None or handle.is_unsure or kept.run.status.ended:
            return None
        begins = kept.run.status is ExecutionStatus.PENDING
        return None if begins and kept.row.concurrency_key else kept

    def _write(self, handle: _Handle, loaded: store.Loaded, batch: list[_Ticket]) -> tuple[list[Claim], list[_Ticket]]:
        # Where a write got no answer, a try that is settled already may be so by it: its thread goes on all the same.
        wanting = [
            one
            for one in batch
            if one.ended is None or store.settle(loaded, one.ended, self._worker) or handle.is_unsure
        ]
        ours = {(one.ended.claim.task, one.ended.claim.attempt) for one in batch if one.ended is not None}
        claims = []
        if handle.is_unsure:
            claims = store.take_back(loaded, worker=self._worker, in_hand=handle.in_hand | ours)
        store.advance(loaded, worker=self._worker, wanted=0)
        with self._caution.deciding(loaded.run) as new:
            wanted = 0 if self.stopping else max(0, len(wanting) - len(claims))
            again = wanted > 0 and not claims and self._run_quick(loaded)
            if again:
                wanting[0].again = True
            else:
                new.extend(store.advance(loaded, worker=self._worker, wanted=wanted))
            short = len(claims) + len(new) - len(wanting)
            more = not again and not self.stopping and not loaded.is_parked and can_start(loaded.run)
            if short > 0 or more:
                handle.slots = self._slots(max(short, MORE_AT_ONCE))
                new.extend(store.advance(loaded, worker=self._worker, wanted=max(0, handle.slots - max(0, short))))
            # What was taken back and finds no thread here is for others.
            while short > handle.slots:
                store.put_back(loaded, claims.pop())
                short -= 1
            # Before it is saved: then items that have ended are forgotten, and whom they waited for with them.
            handle.has_children = any(state.child for state in loaded.run.tasks.values())
            failpoint("step.before_write")
            store.save(loaded, held=again)
            failpoint("step.after_write")
        handle.loaded = None if loaded.run.status.ended else loaded
        loaded.row.takes = 0
        return claims + new, wanting

    def _run_quick(self, loaded: store.Loaded) -> bool:
        """Run what is quick within this step; whether there is more for the next one."""
        if not quickly.is_next(loaded):
            return False
        if loaded.run.ended_tries:  # a write tells of one try of each task: that of the one that ended
            return True
        quickly.run_next(loaded, self._run, worker=self._worker)
        # A write tells of one try of each task: what follows one that failed is for the next.
        return quickly.is_next(loaded) or (bool(loaded.run.ended_tries) and can_start(loaded.run))
