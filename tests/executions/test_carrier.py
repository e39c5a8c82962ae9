"""Carriers: what others change meanwhile, answers that are lost, threads and processes at one execution."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError

from executions import database, store
from executions.engine.outcomes import Completed, Outcome
from executions.engine.planner import Claim
from executions.models import Execution
from executions.worker import carrier as carrier_module
from executions.worker.carrier import Carrier
from tests.carrier_driver import PATIENCE, Tries, alone, ask, each, ended, go_on, item_runs, process
from tests.executions_driver import age_leases, at_once, claim, event_types, everything, failed, started, task

pytestmark = pytest.mark.django_db(transaction=True)
BRANCHES = [f"b{at}" for at in range(6)]
WIDE = [ask("a"), *(ask(name, depends_on=["a"]) for name in BRANCHES), ask("end", depends_on=BRANCHES)]


# --- what others change between a read and the write ---
def test_a_cancel_between_read_and_write_wins() -> None:
    execution = started(ask("a"), ask("b"))
    (taken,) = store.take(1)
    store.cancel(execution.pk, reason="enough", by="ann")
    before = everything(execution)
    tries = Tries()
    alone(tries).carry(execution.pk, taken)
    assert tries.ran == []
    assert everything(execution) == before
    assert ended(execution)[0] == "CANCELLED"


def test_a_cancel_while_a_try_runs_wins() -> None:
    execution = started(ask("a"), ask("b"))
    kept: list[Any] = []

    def cancelled(claim: Claim) -> Outcome:
        store.cancel(execution.pk, reason="enough", by="ann")
        kept.append(everything(execution))
        return Completed(outputs={"body": "late"})

    tries = Tries(cancelled)
    alone(tries).carry(execution.pk, store.take(1)[0])
    assert tries.ran == [("a", 1)]
    assert everything(execution) == kept[0]
    assert {run.status for run in execution.task_runs.all()} == {"CANCELLED"}


def test_what_another_process_did_meanwhile_is_read_again() -> None:
    execution = started(ask("a", depends_on=[]), ask("b", depends_on=[]), ask("end", depends_on=["a", "b"]))
    others = Tries()

    def meanwhile(claim: Claim) -> Outcome:
        if claim.task == "a":
            alone(others, "wk-2").carry(execution.pk)
        return Completed(outputs={"body": claim.task})

    tries = Tries(meanwhile)
    alone(tries).carry(execution.pk, store.take(1)[0])
    assert (tries.ran, others.ran) == ([("a", 1), ("end", 1)], [("b", 1)])
    assert ended(execution)[0] == "COMPLETED"
    event_types(execution)


def test_a_stale_write_leaves_nothing() -> None:
    execution = started(ask("a"))
    (taken,) = store.take(1)
    with database.writing():
        other = store.load(execution.pk)
        assert other is not None
        store.advance(other, worker="wk-2", wanted=1)
        store.save(other)
    before = everything(execution)
    store.advance(taken, worker="wk-1", wanted=1)
    with pytest.raises(store.Stale), database.writing():
        store.save(taken)
    assert everything(execution) == before


@pytest.mark.parametrize("expired", [False, True])
def test_who_stood_still_after_it_took_knows_nothing_of_leases(expired: bool) -> None:
    """A process that was stopped, or had no time: others renewed meanwhile what it read. That had to have expired."""
    execution = started(ask("a"))
    assert claim(execution, worker="wk-2").task == "a"
    if expired:
        age_leases(execution)
    Execution.objects.filter(pk=execution.pk).update(wake_at=database.database_now())
    (taken,) = store.take(1)
    taken.clock = replace(taken.clock, at=taken.clock.at + timedelta(hours=1))
    tries = Tries()
    alone(tries).carry(execution.pk, taken)
    assert tries.ran == ([("a", 2)] if expired else [])
    assert (task(execution, "a").lost, task(execution, "a").status) == ((1, "COMPLETED") if expired else (0, "RUNNING"))


# --- an answer that is lost ---
@contextmanager
def lost_answer(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[None]:
    """The ``number``-th write is committed, but its answer is lost with the connection."""
    save, count = store.save, [0]

    def save_and_lose(*given: Any, **named: Any) -> None:
        save(*given, **named)
        count[0] += 1
        if count[0] == number:
            raise OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patched:
        patched.setattr(store, "save", save_and_lose)
        # No second of waiting in a test.
        patched.setattr("executions.worker.database.time.sleep", lambda _seconds: None)
        yield
    assert count[0] >= number


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_lost_answer_loses_and_doubles_nothing(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    execution = started(ask("a"), ask("b"), ask("c"))
    tries = Tries()
    with lost_answer(monkeypatch, number):
        alone(tries).carry(execution.pk, store.take(1)[0])
    assert tries.ran == [("a", 1), ("b", 1), ("c", 1)]
    assert ended(execution)[0] == "COMPLETED"
    assert [name for name in event_types(execution) if name.startswith("task.")] == [
        f"task.{what} {name}" for name in "abc" for what in ("started", "completed")
    ]


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_a_lost_answer_with_threads(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    execution = started(*WIDE)
    tries = Tries()
    with lost_answer(monkeypatch, number), process(tries) as carrier:
        carrier.carry(execution.pk, store.take(1)[0])
    go_on(tries)
    assert sorted(tries.ran) == sorted((one["name"], 1) for one in WIDE)
    assert ended(execution)[0] == "COMPLETED"
    event_types(execution)


class Threads:
    """So many threads for others; what they are to do is done when a test says so."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.work: list[Callable[[], None]] = []

    def carrier(self, run: Callable[[Claim], Outcome]) -> Carrier:
        return Carrier("wk-1", run=run, slots=self.slots, give_back=self.give_back, spawn=self.work.append)

    def slots(self, wanted: int) -> int:
        taken = max(0, min(wanted, self.free))
        self.free -= taken
        return taken

    def give_back(self, number: int) -> None:
        self.free += number

    def finish(self) -> None:
        while self.work:
            self.work.pop()()
            self.free += 1


def test_a_commit_that_fails_costs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the execution is read afresh, the write succeeds before its transaction does not."""
    monkeypatch.setattr("executions.worker.database.time.sleep", lambda _seconds: None)
    execution = started(*(ask(f"t{at}", depends_on=[]) for at in range(20)))
    threads, tries, commits = Threads(20), Tries(), [0]

    @contextmanager
    def failing_once() -> Iterator[None]:
        with database.writing():
            yield
            commits[0] += 1
            if commits[0] == 1:
                raise OperationalError("server closed the connection while COMMIT was under way")

    monkeypatch.setattr(carrier_module, "writing", failing_once)
    threads.carrier(tries).carry(execution.pk)
    threads.finish()
    assert commits[0] > 1
    assert (ended(execution)[0], threads.free, tries.twice()) == ("COMPLETED", 20, [])


def test_what_is_taken_back_without_a_thread_is_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to a claim of eight was lost, and meanwhile others got the threads."""
    execution = started(*(ask(f"t{at}", depends_on=[], retry={"attempts": 0}) for at in range(8)))
    threads, tries = Threads(7), Tries()
    save = store.save

    def save_and_lose(*given: Any, **named: Any) -> None:
        save(*given, **named)
        monkeypatch.setattr(store, "save", save)
        threads.free = -7
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(store, "save", save_and_lose)
    monkeypatch.setattr("executions.worker.database.time.sleep", lambda _seconds: None)
    seen: list[set[str]] = []

    def run(claim: Claim) -> Outcome:
        seen.append(set(execution.task_runs.filter(status="RUNNING").values_list("name", flat=True)))
        return tries(claim)

    threads.carrier(run).carry(execution.pk, store.take(1)[0])
    assert seen[0] == {"t0"}
    threads.finish()
    assert (threads.free, ended(execution)[0], tries.twice()) == (0, "COMPLETED", [])
    assert {run.lost for run in execution.task_runs.all()} == {0}


# --- many threads, several processes ---
def carried_by_two(execution: Execution, answer: Callable[[Claim], Outcome] | None = None) -> Tries:
    """Two processes of four threads take an execution on together."""
    tries = Tries(answer)
    with process(tries, worker="wk-1") as one, process(tries, worker="wk-2") as two:
        at_once(lambda: one.carry(execution.pk), lambda: two.carry(execution.pk))
    go_on(tries)
    return tries


def test_parallel_branches_of_two_processes_run_once_each() -> None:
    execution = started(*WIDE)
    tries = carried_by_two(execution)
    assert sorted(tries.ran) == sorted((one["name"], 1) for one in WIDE)
    assert ended(execution)[0] == "COMPLETED"
    log = event_types(execution)
    for one in WIDE:
        assert log.count(f"task.started {one['name']}") == log.count(f"task.completed {one['name']}") == 1


def test_branches_run_at_the_same_time() -> None:
    execution = started(*(ask(f"t{at}", depends_on=[]) for at in range(4)))
    together = threading.Barrier(4)

    def answer(claim: Claim) -> Outcome:
        together.wait(PATIENCE)
        return Completed(outputs={"body": claim.task})

    with process(Tries(answer), threads=3) as carrier:
        carrier.carry(execution.pk)
    assert ended(execution)[0] == "COMPLETED"


def test_items_of_two_processes_run_once_each() -> None:
    outputs = [{"name": "all", "type": "list", "value": "{{tasks.a.outputs.body}}"}]
    execution = started(each("a", list(range(60)), concurrency=20), outputs=outputs)
    tries = carried_by_two(execution)
    assert tries.twice() == []
    assert len(tries.ran) == 60
    assert ended(execution) == ("COMPLETED", {"all": [f"a[{at}]" for at in range(60)]})
    assert task(execution, "a").items == {"total": 60, "next": 60, "completed": 60, "failed": 0}
    assert [run.item for run in item_runs(execution)] == list(range(60))
    event_types(execution)


def test_a_failure_beside_others_ends_it_once() -> None:
    execution = started(*(ask(f"t{at}", depends_on=[]) for at in range(6)))

    def answer(claim: Claim) -> Outcome:
        return failed(retryable=False) if claim.task == "t3" else Completed(outputs={"body": ""})

    carried_by_two(execution, answer)
    status, error = ended(execution)
    assert (status, error["task"]) == ("FAILED", "t3")
    assert event_types(execution).count("execution.failed") == 1


def test_a_process_that_stops_claims_nothing_more() -> None:
    execution = started(ask("a"), ask("b"))
    tries = Tries()
    carrier = alone(tries)

    def stop(claim: Claim) -> Outcome:
        carrier.stopping = True
        return tries(claim)

    carrier._run = stop
    carrier.carry(execution.pk)
    assert tries.ran == [("a", 1)]
    assert task(execution, "a").status == "COMPLETED"
    assert go_on(tries) == 1
    assert tries.ran == [("a", 1), ("b", 1)]


def test_tries_that_end_together_are_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one waits for its turn until all four have come; then one write settles them all."""
    execution = started(*(ask(f"t{at}", depends_on=[]) for at in range(4)))
    saves: list[int] = []
    save = store.save

    def noted(loaded: store.Loaded, **named: Any) -> None:
        saves.append(len(loaded.run.changed))
        save(loaded, **named)

    def hold() -> None:
        saves.clear()
        handle = carrier._handles[execution.pk]
        handle.lock.acquire()
        threading.Thread(target=let_go, args=(handle,)).start()

    def let_go(handle: Any) -> None:
        end = time.monotonic() + PATIENCE
        while len(handle.tickets) < 4 and time.monotonic() < end:
            time.sleep(0.001)
        handle.lock.release()

    together = threading.Barrier(4, action=hold)

    def answer(claim: Claim) -> Outcome:
        together.wait(PATIENCE)
        return Completed(outputs={"body": claim.task})

    monkeypatch.setattr(store, "save", noted)
    with process(Tries(answer), threads=3) as carrier:
        carrier.carry(execution.pk)
    assert saves == [4]
    assert ended(execution)[0] == "COMPLETED"
