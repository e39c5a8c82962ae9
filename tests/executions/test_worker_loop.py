"""The main loop of a worker process, where the database or the broker is away or slow."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from django.db import OperationalError, connection

from executions import deliveries, queue, store
from executions.models import Execution
from executions.worker.process import WorkerProcess
from tests.executions_driver import echo, started
from tests.plugins.stack import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> WorkerProcess:
    """A process that waits for nothing."""
    process = WorkerProcess(threads=2, sweeps=False)
    monkeypatch.setattr(process._stop, "wait", lambda _seconds: process._stop.is_set())
    return process


def away(*_: Any) -> Any:
    raise OperationalError("connection refused")


def in_thread(work: Callable[[], None]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize("loop", ["_take_work", "_take_deliveries"])
def test_a_bell_that_cannot_be_had_is_asked_for_again(
    impatient: WorkerProcess, monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    """The database may be away just then; a thread that ended by it would never come back."""
    real, tries, looked = queue.Doorbell, [0], threading.Event()

    def flaky(*names: Any) -> queue.Doorbell:
        tries[0] += 1
        return away() if tries[0] < 4 else real(*names)

    def look(*_: Any) -> list[Any]:
        looked.set()
        return []

    monkeypatch.setattr(queue, "LISTEN_SECONDS", 0.2)
    monkeypatch.setattr(queue, "Doorbell", flaky)
    monkeypatch.setattr(store, "take", look)
    monkeypatch.setattr(deliveries, "take_due", look)
    thread = in_thread(getattr(impatient, loop))
    assert looked.wait(10)
    impatient._stop.set()
    thread.join(10)
    assert (thread.is_alive(), tries[0]) == (False, 4)


def test_who_cannot_reach_the_database_is_alive_all_the_same(
    impatient: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call may take half a minute to find out: between two of them the watchdog hears of it."""
    said: list[str] = []

    def ask(*_: Any) -> Any:
        said.append("asked")
        if said.count("asked") > 8:
            impatient._stop.set()
        return away()

    class Bell:
        is_for_all = True
        wait = ask

    monkeypatch.setattr(impatient, "_beat", lambda: said.append("beat"))
    monkeypatch.setattr(queue, "Doorbell", lambda *_: Bell())
    monkeypatch.setattr(store, "take", ask)
    monkeypatch.setattr(store, "seconds_to_next", ask)
    impatient._take_work()
    asked = [place for place, what in enumerate(said) if what == "asked"]
    assert len(asked) > 8
    assert all(after - before > 1 for before, after in pairwise(asked))


def test_quick_tasks_do_not_wait_for_a_slow_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of Redis waits for a second at least, which would be one for each step."""
    process = WorkerProcess(threads=2, sweeps=False)
    members: list[int] = []
    rung = threading.Event()

    class Slow:
        is_for_all = False

        def wait(self, seconds: float) -> bool:
            members.append(len(process._together))
            return rung.wait(0.05)

    monkeypatch.setattr(queue, "Doorbell", lambda *_: Slow())
    thread = in_thread(process._take_work)
    wait_until(lambda: members, timeout=10, what="it waits")
    execution = started(*(echo(f"t{number}") for number in range(6)))
    rung.set()
    wait_until(
        lambda: Execution.objects.get(pk=execution.pk).status == "COMPLETED", timeout=10, what="all tasks have run"
    )
    process._stop.set()
    thread.join(10)
    assert set(members) == {0}
