"""What may have killed two workers is not tried beside another such task: a third death counts against one only."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from executions import store
from executions.database import writing
from executions.engine.outcomes import Completed, Outcome
from executions.engine.planner import Claim
from executions.models import Execution
from executions.worker.carrier import Carrier
from tests.carrier_driver import PATIENCE, ask, ended, process
from tests.executions_driver import age_leases, age_wake, started, task

pytestmark = pytest.mark.django_db(transaction=True)


def lost(times: int, *names: str) -> Execution:
    """An execution whose tasks, all startable, have taken so many workers with them."""
    execution = started(*(ask(name, depends_on=[]) for name in names))
    for _ in range(times):
        with writing():
            loaded = store.load(execution.pk)
            assert loaded is not None
            while store.advance(loaded, worker="wk-dead", wanted=1):
                pass  # a last chance is claimed alone
            store.save(loaded)
        age_leases(execution)
        store.look_after(execution.pk)
    assert [task(execution, name).lost for name in names] == [times] * len(names)
    return execution


class Together:
    """Runs tries of which each lasts a moment; knows how many of the suspects ran at once at most."""

    def __init__(self) -> None:
        self.most = self._now = 0
        self.ran: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    def __call__(self, claim: Claim) -> Outcome:
        with self._lock:
            self.ran.append((claim.execution_id, claim.task))
            self._now += claim.is_last_chance
            self.most = max(self.most, self._now)
        time.sleep(0.1)
        with self._lock:
            self._now -= claim.is_last_chance
        return Completed(outputs={"body": "fine"})


def work_off(executions: list[Execution], tries: Together) -> None:
    """As a worker process with free threads does: take what is due until all have ended."""
    end = time.monotonic() + PATIENCE
    with process(tries, threads=4) as carrier, ThreadPoolExecutor(4) as pool:
        while any(ended(one)[0] in {"PENDING", "RUNNING"} for one in executions):
            assert time.monotonic() < end
            for taken in store.take(4):
                pool.submit(_carry, carrier, taken)
            time.sleep(0.02)
            for one in executions:
                age_wake(one, seconds=1)


def _carry(carrier: Carrier, taken: store.Loaded) -> None:
    try:
        carrier.carry(taken.row.id, taken)
    finally:
        connection.close()


def test_last_chances_of_one_process_run_one_after_the_other() -> None:
    executions = [lost(2, "a"), lost(2, "a"), lost(2, "a", "b")]
    tries = Together()
    work_off(executions, tries)
    assert [ended(one)[0] for one in executions] == ["COMPLETED"] * 3
    assert sorted(tries.ran) == sorted(
        [(executions[0].pk, "a"), (executions[1].pk, "a"), (executions[2].pk, "a"), (executions[2].pk, "b")]
    )
    assert tries.most == 1


def test_what_lost_one_worker_waits_for_nobody() -> None:
    executions = [lost(1, "a"), lost(1, "a", "b", "c")]
    tries = Together()
    barrier = threading.Barrier(4)

    def all_at_once(claim: Claim) -> Outcome:
        barrier.wait(PATIENCE)  # each waits for all the others: one after the other would break it
        return tries(claim)

    with process(all_at_once, threads=4) as carrier, ThreadPoolExecutor(2) as pool:
        for taken in store.take(4):
            pool.submit(_carry, carrier, taken)
    assert [ended(one)[0] for one in executions] == ["COMPLETED"] * 2


def test_a_last_chance_that_is_held_back_is_offered_again() -> None:
    """It stays due: another process, or this one a second later, takes it."""
    first, second = lost(2, "a"), lost(2, "a")
    inside: list[float | None] = []

    def meanwhile(claim: Claim) -> Outcome:
        if claim.execution_id == first.pk:
            carrier.carry(second.pk)
            assert ended(second)[0] == "RUNNING"
            inside.append(store.seconds_to_next())
        return Completed(outputs={"body": "fine"})

    carrier = Carrier("wk-1", run=meanwhile)
    carrier.carry(first.pk)
    assert inside[0] is not None
    assert inside[0] <= 1.0
    carrier.carry(second.pk)
    assert [ended(one)[0] for one in (first, second)] == ["COMPLETED"] * 2
