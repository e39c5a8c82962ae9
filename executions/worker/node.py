"""A process as a worker: the tries it runs, their leases, and its sign of life."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from dataflow.lib.errors import TaskError
from dataflow.lib.failpoints import failpoint
from dataflow.lib.fields import DatabaseNow
from dataflow.lib.ids import new_id
from executions import database, store
from executions.engine.outcomes import LEASE_SECONDS, Failed, Outcome, Released
from executions.engine.planner import Claim
from executions.engine.state import TaskStatus
from executions.models import TaskRun, Worker
from executions.worker.context import TryContext, context_for
from executions.worker.database import drop_connection, persist, release_connection
from executions.worker.fetching import Fetches
from executions.worker.runner import run_try
from tasks_lib import registry

logger = logging.getLogger(__name__)

#: Seconds between looks at whether running tries were cancelled, and between renewals and signs of life.
LOOK_SECONDS = 1.0
BEAT_SECONDS = LEASE_SECONDS / 3
#: A beat that took so long to come and to be written is told of: the machine, or the database, has too much to do.
LATE_SECONDS = BEAT_SECONDS
#: A try that ignores its deadline for so long loses its lease (longer than BEAT_SECONDS, so that it was renewed once
#: after the deadline: that tells an overrun from a dead worker).
OVERRUN_SECONDS = LEASE_SECONDS / 2
#: Tries that a worker's row names; how many there are is told beside them.
MAX_SHOWN = 20


@dataclass(eq=False, slots=True)
class Running:
    """A try this process is at."""

    claim: Claim
    context: TryContext
    started: float = field(default_factory=time.monotonic)
    shown: tuple[float | None, str] = (None, "")

    def age(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.started

    def renewable(self) -> bool:
        """Whether it is within its deadline, or not long past it."""
        return time.monotonic() < self.started + self.claim.timeout + OVERRUN_SECONDS


@dataclass(eq=False, slots=True)
class _Held:
    """A try whose lease is this process's to keep, until what it gave is written. Seconds of the steady clock."""

    deadline: float
    since: float = field(default_factory=time.monotonic)
    #: Its claim may have waited for its turn to be written, and have used up its lease by that.
    is_renewed: bool = False


def _key(claim: Claim) -> tuple[str, str, int]:
    return claim.execution_id, claim.task, claim.attempt


def _stopped() -> TaskError:
    return TaskError("worker_lost", "The worker is being stopped.")


class Node:
    """One worker process. ``start`` shows it to the others and begins the heartbeat."""

    def __init__(self, *, threads: int) -> None:
        self.id = new_id("wk")
        self.threads = threads
        self.stopping = False
        self._releasing = False
        self._running: dict[tuple[str, str, int], Running] = {}
        self._held: dict[tuple[str, str, int], _Held] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.fetches = Fetches()
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Insert the worker's row and start the heartbeat."""
        persist(self._show)
        self._heart.start()

    def stop(self) -> None:
        """End the heartbeat and take the worker's row away."""
        self._stopped.set()
        self._heart.join()
        persist(lambda: Worker.objects.filter(pk=self.id).delete())

    @property
    def busy(self) -> int:
        """How many tries are running."""
        return len(self._running)

    def release_all(self) -> None:
        """Interrupt what runs; the tries go back to be taken by others."""
        self.stopping = self._releasing = True
        for running in self._snapshot():
            running.context.cancellation.stop(_stopped())
        self.fetches.release_all()

    @property
    def stuck(self) -> int:
        """How many tries have ignored their deadline for so long that they were let go; each keeps its thread."""
        return sum(not running.renewable() for running in self._snapshot())

    def run(self, claim: Claim, *, may_store: bool = True) -> Outcome:
        """Run a claimed try to its end, under the heartbeat; ``may_store`` is that of ``run_try``."""
        try:
            context = persist(partial(context_for, claim))
        except ValueError as error:  # the execution's own key cannot be opened any more
            return Failed(error=TaskError("authentication", str(error)))
        except TaskError as error:  # what it goes on with cannot be read any more
            return Failed(error=error)
        task_type = registry.get(claim.type)
        if task_type is None or not task_type.quick:
            release_connection()
        with self._registered(Running(claim, context)):
            if self._releasing:  # claimed while the others were being interrupted
                context.cancellation.stop(_stopped())
            outcome = run_try(claim, context, may_store=may_store)
        stopped = context.cancellation.error
        if self.stopping and isinstance(outcome, Failed) and stopped is not None and stopped.code == "worker_lost":
            return Released(notes=outcome.notes)
        return outcome

    @contextmanager
    def holding(self, claim: Claim) -> Iterator[None]:
        """Renew the lease of a try until the block is left: one that has ended may wait for its turn to be written."""
        key = _key(claim)
        with self._lock:
            self._held[key] = _Held(time.monotonic() + claim.timeout)
        try:
            yield
        finally:
            with self._lock:
                del self._held[key]

    @contextmanager
    def _registered(self, running: Running) -> Iterator[None]:
        key = _key(running.claim)
        with self._lock:
            self._running[key] = running
        try:
            yield
        finally:
            with self._lock:
                del self._running[key]

    def _snapshot(self) -> list[Running]:
        with self._lock:
            return list(self._running.values())

    def _lasting(self) -> dict[tuple[str, str, int], _Held]:
        """The tries that are held for a while."""
        now = time.monotonic()
        with self._lock:
            return {key: held for key, held in self._held.items() if now - held.since > LOOK_SECONDS / 2}

    def _beat(self) -> None:
        last = time.monotonic()
        while not self._stopped.wait(LOOK_SECONDS):
            due = time.monotonic() - last > BEAT_SECONDS - LOOK_SECONDS / 2
            try:
                self._look(renew=due)
                self.fetches.look(renew=due)
                if due:
                    if (late := time.monotonic() - last - BEAT_SECONDS) > LATE_SECONDS:
                        logger.warning("Heartbeat: %.1f s late; leases are lost after %g s.", late, LEASE_SECONDS)
                    last = time.monotonic()
                    self._show()
                release_connection()
            except Exception:  # without its heartbeat the process would go on and lose every lease
                logger.exception("Heartbeat: a beat was left out.")
                drop_connection()
        drop_connection()

    def _look(self, *, renew: bool) -> None:
        """Stop tries that are not this worker's any more, renew the leases of the others, show progress."""
        held, now = self._lasting(), time.monotonic()
        running = [one for one in self._snapshot() if one.age() > LOOK_SECONDS / 2]
        # Those that have ended, but past their deadline: there a renewal tells of an overrun.
        wanted = {key for key, one in held.items() if now < one.deadline} - {_key(one.claim) for one in running}
        if not running and not wanted:
            return
        failpoint("heartbeat.before")
        mine = TaskRun.objects.filter(worker=self.id, status=TaskStatus.RUNNING)
        owned = {row[1:]: row[0] for row in mine.values_list("pk", "execution_id", "name", "attempt")}
        for one in running:
            key = _key(one.claim)
            if key not in owned:
                one.context.cancellation.stop(TaskError("cancelled", "The execution does not want this try any more."))
                continue
            if one.renewable():
                wanted.add(key)
            self._show_progress(one)
        renewed = [key for key in wanted if key in owned and (renew or (key in held and not held[key].is_renewed))]
        if renewed:
            store.renew_leases(self.id, [owned[key] for key in renewed], seconds=LEASE_SECONDS)
        for key in renewed:
            if key in held:
                held[key].is_renewed = True

    def _show_progress(self, running: Running) -> None:
        now = (running.context.fraction, running.context.message)
        if now != running.shown and now[0] is not None:
            running.shown = now
            store.note_progress(running.claim, fraction=now[0], message=now[1])

    def _show(self) -> None:
        """Give a sign of life: one statement, but for the first."""
        running = self._snapshot()
        doing = [
            {"execution": one.claim.execution_id, "task": one.claim.task, "attempt": one.claim.attempt}
            for one in running[:MAX_SHOWN]
        ]
        mine = Worker.objects.filter(pk=self.id)
        with database.turn(ahead=True):
            is_known = mine.update(heartbeat_at=DatabaseNow(), busy=len(running), doing=doing)
        if not is_known:
            now = database.database_now()
            host = socket.gethostname()[:255]
            Worker.objects.create(
                pk=self.id,
                host=host,
                pid=os.getpid(),
                threads=self.threads,
                started_at=now,
                heartbeat_at=now,
                busy=len(running),
                doing=doing,
            )
