"""The main loop of one worker process: takes jobs while a thread is free, and hands them on."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from django.db import DatabaseError

from executions import jobs, queue, sweeper
from executions.worker.database import drop_connection, pool_connections, release_connection
from executions.worker.lanes import Lanes
from executions.worker.node import Node

logger = logging.getLogger(__name__)

#: Seconds that running tries get after SIGTERM, and then to let go of what they hold.
GRACE_SECONDS = 10.0
LET_GO_SECONDS = 5.0
#: Between looks for deliveries: a webhook may come so much later, and an idle worker asks so much less.
DELIVERY_PAUSE_SECONDS = 0.1


class WorkerProcess:
    """One worker process. With ``sweeps`` it also runs the sweeper."""

    def __init__(self, *, threads: int, sweeps: bool) -> None:
        self._threads = threads
        self._sweeps = sweeps
        self._stop = threading.Event()
        self._free = threading.Semaphore(threads)
        self._node = Node(threads=threads)
        self._lanes = Lanes()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="try")
        self._work_in_hand: set[Future[None]] = set()

    def run(self) -> None:
        """Work until SIGTERM or SIGINT, then stop with grace."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        pool_connections()
        self._node.start()
        if self._sweeps:
            threading.Thread(target=self._sweep, name="sweeper", daemon=True).start()
        threading.Thread(target=self._take_deliveries, name="deliveries", daemon=True).start()
        self._take_jobs()
        self._finish()

    def _on_signal(self, *_: object) -> None:
        self._stop.set()

    def _take_jobs(self) -> None:
        """Take executions while a thread is free. Too many threads that never come back: leave it to a new process."""
        receiver = queue.Receiver()
        while not self._stop.is_set():
            if not self._free.acquire(timeout=0.2):
                if self._node.stuck * 2 >= self._threads:
                    logger.error("Half of the threads are held by tasks that ignore their timeout; starting anew.")
                    return
                continue
            taken = self._take(receiver)
            for _ in range(len(taken) - 1):
                self._free.acquire()
            if not taken:
                self._free.release()
            for execution_id in taken:
                future = self._pool.submit(self._work, self._node.carry, execution_id)
                self._work_in_hand.add(future)
                future.add_done_callback(self._work_in_hand.discard)

    def _take_deliveries(self) -> None:
        """Take webhook deliveries, however busy the executions keep everything else."""
        receiver = queue.Receiver(queue.DELIVERIES)
        while not self._stop.is_set():
            for execution_id in self._take(receiver):
                self._guarded(self._to_lane, execution_id)
            release_connection()
            self._stop.wait(DELIVERY_PAUSE_SECONDS)

    def _take(self, receiver: queue.Receiver) -> list[str]:
        try:
            return list(receiver.take())
        except Exception:  # each broker raises its own errors; a worker outlives a queue that is away
            logger.exception("The queue cannot be reached; trying again.")
            drop_connection()
            self._stop.wait(1.0)
            return []

    def _to_lane(self, execution_id: str) -> None:
        lane = jobs.receiver_of(execution_id)
        self._lanes.submit(lane, execution_id, lambda: self._guarded(jobs.deliver, execution_id))

    def _work(self, job: Callable[[str], None], execution_id: str) -> None:
        try:
            self._guarded(job, execution_id)
        finally:
            self._free.release()

    def _guarded(self, job: Callable[[str], None], execution_id: str) -> None:
        """A job that fails is logged; the sweeper rings again for what it left."""
        try:
            job(execution_id)
        except Exception:  # one execution's trouble must not end the process that runs the others
            logger.exception("%s: a job failed; it is looked at again.", execution_id)
            drop_connection()
        else:
            release_connection()

    def _sweep(self) -> None:
        last = 0.0
        while not self._stop.wait(sweeper.TICK_SECONDS):
            try:
                if time.monotonic() - last >= sweeper.SWEEP_SECONDS:
                    last = time.monotonic()
                    sweeper.sweep()
                else:
                    sweeper.ring_due()
                release_connection()
            except DatabaseError as error:
                logger.warning("Sweeper: the database did not answer (%s).", str(error).strip())
                drop_connection()
            except Exception:  # each broker raises its own errors; without its sweeper nothing would recover
                logger.exception("Sweeper: the queue cannot be reached; trying again.")
                drop_connection()

    def _finish(self) -> None:
        """No new work; running tries get their grace, then go back to be taken by others."""
        self._node.stopping = True
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
        # A thread that does not let go would keep the process: its lease will run out, and the try is taken over.
        os._exit(0)

    def _idle_within(self, seconds: float) -> bool:
        """Whether all that was taken is done within ``seconds``: tries have ended and what they gave is committed."""
        return not wait(set(self._work_in_hand), timeout=seconds).not_done
