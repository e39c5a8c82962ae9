"""The main loop of one worker process: takes jobs while a thread is free, and hands them on."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import TypeVar

from django.db import DatabaseError

from dataflow.lib.failpoints import failpoint
from executions import deliveries, jobs, queue, store, sweeper
from executions.worker import scratch
from executions.worker.carrier import Carrier
from executions.worker.database import drop_connection, pool_connections, release_connection
from executions.worker.lanes import Lanes
from executions.worker.node import Node
from executions.worker.together import Leaving, Together
from executions.worker.turns import HEAD_START, Turn, Turns

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

#: Seconds that running tries get after SIGTERM, and then to let go of what they hold.
GRACE_SECONDS = 10.0
LET_GO_SECONDS = 5.0
#: Between looks for deliveries: a webhook may come so much later, and an idle worker asks so much less.
DELIVERY_PAUSE_SECONDS = 0.1
#: Executions that are taken with one statement.
TAKEN_AT_ONCE = 8
#: Seconds to wait for a thread when all are busy.
BUSY_SECONDS = 0.2
#: One that waits for the bell looks so often whether it is to stop, and says that it lives.
STOP_LOOK_SECONDS = 0.5
#: So long after the last bell it is quiet, and worth asking what is due next.
ASK_AFTER_SECONDS = 0.25


class WorkerProcess:
    """One worker process. With ``sweeps`` it also runs the sweeper. ``beat`` is told that it takes work.

    ``turn`` is its own among the processes of this machine.
    """

    def __init__(
        self, *, threads: int, sweeps: bool, beat: Callable[[], None] = lambda: None, turn: Turn | None = None
    ) -> None:
        self._threads = threads
        self._sweeps = sweeps
        self._beat = beat
        self._turn = turn or Turns(1).turn_of(0)
        self._stop = threading.Event()
        self._free = threading.Semaphore(threads)
        self._node = Node(threads=threads)
        self._carrier = Carrier(
            self._node.id,
            run=self._node.run,
            holding=self._node.holding,
            slots=self._more_slots,
            give_back=self._give_back,
            spawn=self._spawn,
            fetch=self._node.fetches.fetch,
        )
        self._together = Together(self._node.id, run=partial(self._node.run, may_store=False))
        self._lanes = Lanes()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="try")
        self._work_in_hand: set[Future[None]] = set()
        self._asked = 0.0

    def run(self) -> None:
        """Work until SIGTERM or SIGINT, then stop with grace."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        folder = scratch.claim()
        pool_connections()
        self._node.start()
        if self._sweeps:
            threading.Thread(target=self._sweep, name="sweeper", daemon=True).start()
        threading.Thread(target=self._take_deliveries, name="deliveries", daemon=True).start()
        self._take_work()
        self._finish(folder)

    def _on_signal(self, *_: object) -> None:
        # At once: what is being carried starts no more tasks, wherever the main loop is.
        self._node.stopping = self._carrier.stopping = True
        self._stop.set()

    def _take_work(self) -> None:
        """Take executions while a thread is free. Too many threads that never come back: leave it to a new process."""
        bell = self._doorbell()
        look = True
        while bell is not None and not self._stop.is_set():
            self._beat()
            more = self._take(bell) if look and self._together.members <= TAKEN_AT_ONCE else look
            if more is None:
                break
            if len(self._together):
                self._let_members(self._together.step)
                if bell.is_for_all:
                    rang = self._guarded_call(partial(bell.wait, 0.0))  # it hears for the deliveries too
                    look = more or bool(rang)
                else:  # other brokers wait for a second at least; a look costs less
                    self._let_members(self._together.receive)
                    look = True
            elif not more:
                self._wait_at(bell, store.seconds_to_next)
                look = True
        self._let_members(self._together.leave)

    def _doorbell(self, queue_name: str | None = None) -> queue.Doorbell | None:
        """What this thread waits at, once it can be had: the database may be away. ``None``: the process stops."""
        bell = None
        while bell is None and not self._stop.is_set():
            self._beat()
            bell = self._guarded_call(partial(queue.Doorbell, queue_name))
        return bell

    def _take(self, bell: queue.Doorbell) -> bool | None:
        """Take what is due; whether there may be more of it. ``None``: this process is to end."""
        self._let_members(self._together.receive)
        if not self._free.acquire(timeout=0.0 if self._together else BUSY_SECONDS):
            if self._node.stuck * 2 >= self._threads:
                logger.error("Half of the threads are held by tasks that ignore their timeout; starting anew.")
                return None
            if bell.is_for_all:
                self._guarded_call(partial(bell.wait, 0.0))  # it hears for the deliveries too
            return True
        wanted = 1 + self._more_slots(TAKEN_AT_ONCE - 1)
        taken = self._guarded_take(partial(self._look, wanted))
        self._give_back(wanted - len(taken))
        for loaded in taken:
            is_at = self._carrier.is_at(loaded.row.id)
            leaving = Leaving(loaded.row.id, loaded) if is_at else self._together.join(loaded)
            self._carry([leaving] if leaving is not None else [])
        return len(taken) == wanted

    def _look(self, wanted: int) -> list[store.Loaded]:
        began = time.monotonic()
        failpoint("take.before")
        taken = store.take(wanted)
        failpoint("take.after")
        self._turn.looked(began, found=len(taken), wanted=wanted)
        return taken

    def _let_members(self, act: Callable[[], list[Leaving]]) -> None:
        """Let those that go on together do something; whoever is done gives a thread back, whoever leaves has one."""
        members = len(self._together)
        leaving = act()
        self._give_back(members - len(self._together) - len(leaving))
        self._carry(leaving)

    def _carry(self, leaving: Iterable[Leaving]) -> None:
        for one in leaving:
            self._spawn(partial(self._carrier.carry, one.id, one.taken))

    def _wait_at(self, bell: queue.Doorbell, due: Callable[[], float | None]) -> None:
        """Wait for the bell, or until something is due. When that is is asked for only where it is quiet."""
        seconds: float | None = ASK_AFTER_SECONDS
        if time.monotonic() - self._asked > ASK_AFTER_SECONDS:
            self._beat()  # where the database is away, each call takes its time to find out
            seconds = self._guarded_call(due)
        wait = queue.LISTEN_SECONDS if seconds is None else min(max(seconds, 0.02), queue.LISTEN_SECONDS)
        end = time.monotonic() + wait
        while not self._stop.is_set() and (left := end - time.monotonic()) > 0:
            self._beat()
            if not self._work_in_hand:
                self._turn.rest()
            if self._guarded_call(partial(bell.wait, min(left, STOP_LOOK_SECONDS))):
                self._asked = time.monotonic()
                if not (bell.is_for_all and self._is_found_by_another()):
                    return
                # It rang for what will be due, perhaps.
                end = min(end, time.monotonic() + ASK_AFTER_SECONDS)

    def _is_found_by_another(self) -> bool:
        """Whether another process, which gets a head start, finds what the bell rang for just now."""
        heard = time.monotonic()
        if not self._turn.is_anothers(heard):
            return False
        self._stop.wait(HEAD_START)
        return self._turn.was_cleared(heard)

    def _take_deliveries(self) -> None:
        """Take webhook deliveries, however busy the executions keep everything else."""
        bell = self._doorbell(queue.DELIVERIES)
        while bell is not None and not self._stop.is_set():
            for execution_id in self._guarded_take(deliveries.take_due):
                self._guarded(partial(self._to_lane, execution_id))
            seconds = self._guarded_call(deliveries.seconds_to_next)
            release_connection()
            # A webhook may come so much later, and an idle worker asks so much less.
            self._stop.wait(DELIVERY_PAUSE_SECONDS)
            wait = queue.LISTEN_SECONDS if seconds is None else min(max(seconds, 0.0), queue.LISTEN_SECONDS)
            self._guarded_call(partial(bell.wait, wait))

    def _guarded_take(self, take: Callable[[], list[Result]]) -> list[Result]:
        return self._guarded_call(take) or []

    def _guarded_call(self, call: Callable[[], Result]) -> Result | None:
        """What ``call`` gives; ``None``, after a second, where the database or the broker is away."""
        try:
            return call()
        except Exception:  # each broker raises its own errors; a worker outlives a queue that is away
            logger.exception("The queue cannot be reached; trying again.")
            drop_connection()
            self._stop.wait(1.0)
            return None

    def _to_lane(self, execution_id: str) -> None:
        lane = jobs.receiver_of(execution_id)
        self._lanes.submit(lane, execution_id, lambda: self._guarded(partial(jobs.deliver, execution_id)))

    def _more_slots(self, wanted: int) -> int:
        """Threads that are free at once, up to ``wanted``."""
        taken = 0
        while taken < wanted and self._free.acquire(blocking=False):
            taken += 1
        return taken

    def _give_back(self, number: int) -> None:
        if number > 0:
            self._free.release(number)

    def _spawn(self, work: Callable[[], None]) -> None:
        """Run ``work`` in a thread that is free, which it gives back."""
        future = self._pool.submit(self._work, work)
        self._work_in_hand.add(future)
        future.add_done_callback(self._work_in_hand.discard)

    def _work(self, work: Callable[[], None]) -> None:
        try:
            self._guarded(work)
        finally:
            self._free.release()

    def _guarded(self, work: Callable[[], None]) -> None:
        """Work that fails is logged; the execution is due again for what it left."""
        try:
            work()
        except Exception:  # one execution's trouble must not end the process that runs the others
            logger.exception("A job failed; its execution is looked at again.")
            drop_connection()
        else:
            release_connection()

    def _sweep(self) -> None:
        last = 0.0
        pause = 0.0
        while not self._stop.wait(pause):
            try:
                if time.monotonic() - last >= sweeper.SWEEP_SECONDS:
                    last = time.monotonic()
                    sweeper.sweep()
                to_next_sweep = max(0.0, last + sweeper.SWEEP_SECONDS - time.monotonic())
                pause = min(sweeper.run_schedules(), to_next_sweep)
                release_connection()
            except DatabaseError as error:
                logger.warning("Sweeper: the database did not answer (%s).", str(error).strip())
                drop_connection()
                pause = 1.0
            except Exception:  # each broker raises its own errors; without its sweeper nothing would recover
                logger.exception("Sweeper: something is wrong; trying again.")
                drop_connection()
                pause = 1.0

    def _finish(self, folder: Path) -> None:
        """No new work; running tries get their grace, then go back to be taken by others."""
        self._node.stopping = self._carrier.stopping = True
        end = time.monotonic() + GRACE_SECONDS
        deliveries = threading.Thread(target=self._lanes.close, name="last deliveries", daemon=True)
        deliveries.start()
        if not self._idle_within(GRACE_SECONDS):
            logger.info("Giving back %d running tasks.", self._node.busy)
            self._node.release_all()
            self._idle_within(LET_GO_SECONDS)
        deliveries.join(max(0.0, end - time.monotonic()))
        self._node.stop()
        drop_connection()
        scratch.leave(folder)
        # A thread that does not let go would keep the process: its lease will run out, and the try is taken over.
        os._exit(0)

    def _idle_within(self, seconds: float) -> bool:
        """Whether all that was taken is done within ``seconds``: tries have ended and what they gave is committed."""
        return not wait(set(self._work_in_hand), timeout=seconds).not_done
