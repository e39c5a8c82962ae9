"""Lanes: receivers do not wait for each other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import pytest

from executions.worker.lanes import Lanes

PATIENCE = 5.0


class Gate:
    """Work that says when it began and waits until it may end."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()

    def work(self) -> None:
        self.begun.release()
        self.open.wait(PATIENCE)

    def begins(self) -> bool:
        return self.begun.acquire(timeout=PATIENCE)


@pytest.fixture
def slow() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


def test_a_slow_receiver_does_not_delay_another(slow: Gate) -> None:
    lanes = Lanes(threads=4, width=2)
    for number in range(20):
        lanes.submit("slow.example", f"s{number}", slow.work)
    assert slow.begins()
    assert slow.begins()
    assert not slow.begun.acquire(timeout=0.05)  # no third one of the same receiver
    done = threading.Semaphore(0)
    for number in range(10):
        lanes.submit("quick.example", f"q{number}", done.release)
    assert all(done.acquire(timeout=PATIENCE) for _ in range(10))
    slow.open.set()
    lanes.close()


def test_lanes_take_turns(slow: Gate) -> None:
    lanes = Lanes(threads=1, width=1)
    lanes.submit("first", "hold", slow.work)
    assert slow.begins()
    order: list[str] = []
    ended = threading.Semaphore(0)

    def note(name: str) -> None:
        order.append(name)
        ended.release()

    for lane, number in (("a", 1), ("a", 2), ("a", 3), ("b", 1), ("c", 1)):
        name = f"{lane}{number}"
        lanes.submit(lane, name, partial(note, name))
    slow.open.set()
    assert all(ended.acquire(timeout=PATIENCE) for _ in range(5))
    assert order == ["a1", "b1", "c1", "a2", "a3"]
    lanes.close()


def test_what_waits_is_not_added_twice_but_what_runs_may_be(slow: Gate) -> None:
    lanes = Lanes(threads=1, width=1)
    lanes.submit("lane", "key", slow.work)
    assert slow.begins()
    count: list[int] = []
    for _ in range(3):
        lanes.submit("lane", "key", lambda: count.append(1))
    slow.open.set()
    done = threading.Event()
    lanes.submit("lane", "last", done.set)
    assert done.wait(PATIENCE)
    lanes.close()
    assert count == [1]


def test_work_that_raises_does_not_hold_its_lane() -> None:
    lanes = Lanes(threads=1, width=1)
    lanes.submit("lane", "bad", partial(pytest.fail, "as it should"))
    done = threading.Event()
    lanes.submit("lane", "good", done.set)
    assert done.wait(PATIENCE)
    lanes.close()


def test_close_waits_for_what_runs_and_forgets_the_rest(slow: Gate) -> None:
    lanes = Lanes(threads=1, width=1)
    lanes.submit("lane", "runs", slow.work)
    assert slow.begins()
    lanes.submit("lane", "waits", lambda: pytest.fail("it was forgotten"))
    closing = threading.Thread(target=lanes.close)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()
    slow.open.set()
    closing.join(PATIENCE)
    assert not closing.is_alive()
