"""Carriers with threads of their own, as a worker process has them, and tries that a test runs itself."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from django.db import connection

from executions import store
from executions.engine.outcomes import Completed, Outcome
from executions.engine.planner import Claim
from executions.models import Execution, TaskRun
from executions.worker.carrier import Carrier

PATIENCE = 10.0


def ask(name: str, **more: Any) -> dict[str, Any]:
    """A task that is harmless to repeat, and long enough for a thread of its own."""
    return {"name": name, "type": "http.request", "inputs": {"url": "http://example.com/"}} | more


def each(name: str, items: Any, **more: Any) -> dict[str, Any]:
    """A ``for_each`` task whose items are no quick ones."""
    return ask(name, inputs={"url": "http://example.com/{{item}}"}, for_each=items, **more)


class Tries:
    """Runs tries by ``answer`` and knows which ran, and how many at once at most."""

    def __init__(self, answer: Callable[[Claim], Outcome] | None = None) -> None:
        self.ran: list[tuple[str, int]] = []
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()
        self._answer = answer or (lambda claim: Completed(outputs={"body": claim.task}))

    def __call__(self, claim: Claim) -> Outcome:
        with self._lock:
            self.ran.append((claim.task, claim.attempt))
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            return self._answer(claim)
        finally:
            with self._lock:
                self._now -= 1

    def twice(self) -> list[tuple[str, int]]:
        """The tries that ran more than once."""
        return [one for one, times in Counter(self.ran).items() if times > 1]


@contextmanager
def process(run: Callable[[Claim], Outcome], *, threads: int = 4, worker: str = "wk-1") -> Iterator[Carrier]:
    """A carrier of a process with so many threads besides the caller's; all of its work is done at the end."""
    free = threading.Semaphore(threads)
    futures: list[Future[None]] = []

    def slots(wanted: int) -> int:
        taken = 0
        while taken < wanted and free.acquire(blocking=False):
            taken += 1
        return taken

    def give_back(number: int) -> None:
        if number:
            free.release(number)

    def work(what: Callable[[], None]) -> None:
        try:
            what()
        finally:
            connection.close()
            free.release()

    with ThreadPoolExecutor(threads) as pool:
        yield Carrier(
            worker,
            run=run,
            slots=slots,
            give_back=give_back,
            spawn=lambda what: futures.append(pool.submit(work, what)),
        )
        for future in futures:  # grows while it is gone through
            future.result(PATIENCE)


def alone(run: Callable[[Claim], Outcome], worker: str = "wk-1") -> Carrier:
    """A carrier of a process with one thread."""
    return Carrier(worker, run=run)


def go_on(run: Callable[[Claim], Outcome]) -> int:
    """Carry what is due until nothing is, as one worker would; gives how many were taken."""
    carrier, count = alone(run), 0
    while loaded := store.take(1):
        carrier.carry(loaded[0].row.id, loaded[0])
        count += 1
    return count


def ended(execution: Execution) -> tuple[str, Any]:
    """Status and outputs, or the error where there is one."""
    row = Execution.objects.get(pk=execution.pk)
    return row.status, row.error or row.outputs


def item_runs(execution: Execution) -> list[TaskRun]:
    """The items of a ``for_each`` task that have a row, in order."""
    return list(TaskRun.objects.filter(execution=execution, item__isnull=False).order_by("item"))
