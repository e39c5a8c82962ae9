"""Lanes: receivers do not wait for each other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import pytest

from executions.worker.lanes import Lanes, origin_of

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


def test_many_receivers_on_one_host_are_one_origin(slow: Gate) -> None:
    """Each has a URL of its own, as with an id in the path."""
    lanes = Lanes()
    for number in range(100):
        lanes.submit(f"https://dead.example/cb/{number}", f"d{number}", slow.work)
    assert all(slow.begins() for _ in range(4))
    assert not slow.begun.acquire(timeout=0.05)
    done = threading.Event()
    lanes.submit("https://healthy.example/hook", "good", done.set)
    assert done.wait(PATIENCE)
    slow.open.set()
    lanes.close()


def test_many_hosts_that_are_slow_leave_room_for_others(slow: Gate) -> None:
    lanes = Lanes(threads=8, width=2, slow_after=0.01)
    slow_ones = [f"https://{number}.dead.example/" for number in range(20)]
    ended = threading.Semaphore(0)

    def take_long() -> None:
        slow.open.wait(0.05)
        ended.release()

    for lane in slow_ones:
        lanes.submit(lane, lane, take_long)
    assert all(ended.acquire(timeout=PATIENCE) for _ in slow_ones)
    for lane in slow_ones:
        lanes.submit(lane, lane, slow.work)
    assert all(slow.begins() for _ in range(4))
    assert not slow.begun.acquire(timeout=0.05)  # half of the threads
    unknown = [Gate() for _ in range(3)]
    for number, gate in enumerate(unknown):
        lanes.submit(f"https://{number}.new.example/", f"n{number}", gate.work)
    assert [gate.begun.acquire(timeout=0.05) for gate in unknown] == [True, True, False]  # three quarters
    for gate in unknown:
        gate.open.set()
    assert unknown[2].begins()
    slow.open.set()
    lanes.close()


def test_who_answers_in_time_again_is_slow_no_more(slow: Gate) -> None:
    lanes = Lanes(threads=2, width=2, slow_after=0.05)
    ended = threading.Semaphore(0)

    def end_after(seconds: float) -> None:
        threading.Event().wait(seconds)
        ended.release()

    for seconds in (0.1, 0.0):
        lanes.submit("https://a.example/", "first", partial(end_after, seconds))
        assert ended.acquire(timeout=PATIENCE)
    for number in range(2):
        lanes.submit("https://a.example/", f"s{number}", slow.work)
    assert all(slow.begins() for _ in range(2))
    slow.open.set()
    lanes.close()


@pytest.mark.parametrize(
    ("lane", "origin"),
    [
        ("https://Example.com/a/b", "https://example.com:443"),
        ("https://example.com:443/c", "https://example.com:443"),
        ("http://example.com:8080", "http://example.com:8080"),
        ("http://[::1]:8080/a", "http://::1:8080"),
        ("http://[broken/a", "http://[broken/a"),
        ("https://example.com:port/", "https://example.com:port/"),
        ("", ""),
    ],
)
def test_origins(lane: str, origin: str) -> None:
    assert origin_of(lane) == origin
