"""First come, first served."""

from __future__ import annotations

import contextlib
import threading
import time
from contextlib import AbstractContextManager

import pytest

from dataflow.lib.fair_lock import FairLock

pytestmark = pytest.mark.timeout(30)


def queue_up_behind(lock: FairLock, threads: list[threading.Thread]) -> None:
    """Start them one after the other, each once the one before it waits for the lock, which the caller has."""
    for number, thread in enumerate(threads):
        thread.start()
        while len(lock._waiting) <= number:
            time.sleep(0.001)


def queue_up(lock: FairLock, threads: list[threading.Thread]) -> None:
    """Let them wait for the lock in this order, then have it."""
    with lock:
        queue_up_behind(lock, threads)
    for thread in threads:
        thread.join()


def test_threads_get_it_in_the_order_in_which_they_asked() -> None:
    lock, order = FairLock(), list[int]()

    def ask(number: int) -> None:
        with lock:
            order.append(number)

    threads = [threading.Thread(target=ask, args=[number]) for number in range(20)]
    queue_up(lock, threads)
    assert order == list(range(20))


def test_one_that_goes_ahead_has_it_before_those_who_wait() -> None:
    lock, order = FairLock(), list[str]()

    def ask(name: str, entering: AbstractContextManager[None]) -> None:
        with entering:
            order.append(name)

    given = [("in turn", lock), ("too", lock), ("ahead", lock.ahead())]
    threads = [threading.Thread(target=ask, args=each) for each in given]
    queue_up(lock, threads)
    assert order == ["ahead", "in turn", "too"]
    with lock, lock.ahead(), lock:
        order.append("again")
    assert order[3:] == ["again"]


def test_who_gives_it_back_is_behind_those_who_wait() -> None:
    """Also at once, before they have woken up."""
    lock, order = FairLock(), list[str]()

    def ask() -> None:
        with lock:
            order.append("other")

    thread = threading.Thread(target=ask)
    with lock:
        queue_up_behind(lock, [thread])
    with lock:
        order.append("again")
    thread.join()
    assert order == ["other", "again"]


def test_its_owner_enters_again_and_keeps_it_until_it_has_left_all() -> None:
    lock, entered = FairLock(), threading.Event()

    def ask() -> None:
        with lock:
            entered.set()

    thread = threading.Thread(target=ask)
    with lock:
        with contextlib.suppress(RuntimeError), lock:
            thread.start()
            raise RuntimeError
        assert not entered.wait(0.05)
    thread.join()
    assert entered.is_set()


def test_one_at_a_time() -> None:
    lock, inside, most = FairLock(), [0], [0]

    def ask() -> None:
        for _ in range(200):
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0)
                inside[0] -= 1

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
