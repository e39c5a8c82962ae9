"""Turns: who looks first when the bell rings for all worker processes of a machine."""

from __future__ import annotations

import multiprocessing
import time
from typing import Any

import pytest

from executions.worker.process import WorkerProcess
from executions.worker.turns import HEAD_START, Turn, Turns

NOW = 1_000_000.0


def idle(turns: Turns, place: int) -> Turn:
    turn = turns.turn_of(place)
    turn.rest()
    return turn


def test_an_idle_one_before_it_goes_first() -> None:
    turns = Turns(3)
    first, second, third = (idle(turns, place) for place in range(3))
    assert [turn.is_anothers(NOW) for turn in (first, second, third)] == [False, True, True]


def test_who_is_busy_is_not_waited_for() -> None:
    turns = Turns(3)
    first, second, third = (idle(turns, place) for place in range(3))
    first.looked(NOW, found=1, wanted=8)
    assert not second.is_anothers(NOW + 1)
    assert third.is_anothers(NOW + 1)
    second.looked(NOW, found=1, wanted=8)
    assert not third.is_anothers(NOW + 1)
    first.rest()
    assert [turn.is_anothers(NOW + 1) for turn in (first, second, third)] == [False, True, True]


def test_who_has_just_become_busy_may_be_so_by_the_same_ring() -> None:
    turns = Turns(2)
    first, second = idle(turns, 0), idle(turns, 1)
    first.looked(NOW, found=1, wanted=8)
    assert second.is_anothers(NOW + 0.001)
    first.looked(NOW + 1, found=1, wanted=8)  # busy since before
    assert not second.is_anothers(NOW + 1.001)


def test_one_that_is_not_there_yet_is_not_waited_for() -> None:
    turns = Turns(2)
    second = idle(turns, 1)
    assert not second.is_anothers(time.monotonic() + 1)
    idle(turns, 0)
    assert second.is_anothers(time.monotonic() + 1)
    turns.turn_of(0)  # it died, and is started again
    assert not second.is_anothers(time.monotonic() + 1)


@pytest.mark.parametrize(("began", "found", "is_cleared"), [(1, 0, True), (1, 7, True), (1, 8, False), (-1, 0, False)])
def test_only_a_look_since_that_left_nothing_answers_a_ring(began: int, found: int, is_cleared: bool) -> None:
    turns = Turns(2)
    first, second = idle(turns, 0), idle(turns, 1)
    first.looked(NOW + began, found=found, wanted=8)
    assert second.was_cleared(NOW) is is_cleared
    assert not first.was_cleared(NOW)


def test_processes_see_each_other() -> None:
    turns = Turns(2)
    second = idle(turns, 1)
    child = multiprocessing.get_context("fork").Process(target=lambda: idle(turns, 0).looked(NOW, found=0, wanted=1))
    child.start()
    child.join()
    assert second.is_anothers(NOW)
    assert second.was_cleared(NOW)


class Rung:
    """A bell that has rung so many times."""

    def __init__(self, *, is_for_all: bool = True, times: int = 1) -> None:
        self.is_for_all, self.left = is_for_all, times

    def wait(self, _seconds: float) -> bool:
        self.left -= 1
        return self.left >= 0


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> tuple[WorkerProcess, Turn]:
    """The second of two processes, which waits for work, and the turn of the first one, which is idle."""
    turns = Turns(2)
    process = WorkerProcess(threads=1, sweeps=False, turn=turns.turn_of(1))
    monkeypatch.setattr("executions.worker.process.queue.LISTEN_SECONDS", HEAD_START * 4)
    return process, idle(turns, 0)


def looks(process: WorkerProcess, bell: Any) -> bool:
    """Whether the process stops waiting before its time, to look."""
    process._wait_at(bell, lambda: None)
    return bool(bell.left >= 0)


def test_a_ring_that_is_answered_by_another_is_let_go(waiting: tuple[WorkerProcess, Turn]) -> None:
    process, first = waiting
    first.looked(time.monotonic() + 60, found=0, wanted=1)
    assert not looks(process, Rung())


def test_who_gave_way_asks_soon_what_will_be_due(
    waiting: tuple[WorkerProcess, Turn], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ring may have been for that; who found nothing due may be busy, or gone, when its time comes."""
    process, first = waiting
    monkeypatch.setattr("executions.worker.process.queue.LISTEN_SECONDS", 3600.0)
    monkeypatch.setattr("executions.worker.process.ASK_AFTER_SECONDS", 0.05)
    first.looked(time.monotonic() + 60, found=0, wanted=1)
    assert not looks(process, Rung())


def test_a_ring_that_nobody_answers_is_looked_after(waiting: tuple[WorkerProcess, Turn]) -> None:
    process, first = waiting
    first.looked(time.monotonic() - 60, found=0, wanted=1)
    assert looks(process, Rung())


def test_a_ring_for_one_alone_is_its_own(waiting: tuple[WorkerProcess, Turn]) -> None:
    """A message of another broker is told to nobody else."""
    process, first = waiting
    first.looked(time.monotonic() + 60, found=0, wanted=1)
    assert looks(process, Rung(is_for_all=False))
