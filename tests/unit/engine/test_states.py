"""The tables of states, and that a run keeps to them."""

from __future__ import annotations

from itertools import product

import pytest

from executions.engine.state import EXECUTION_TRANSITIONS, TASK_TRANSITIONS, ExecutionStatus, TaskStatus
from tests.engine_driver import Driver, echo

#: From 4-execution.md, "States", written out a second time.
EXECUTION_STEPS = {
    "PENDING": {"RUNNING", "CANCELLED", "FAILED"},
    "RUNNING": {"COMPLETED", "FAILED", "CANCELLED"},
    "COMPLETED": set(),
    "FAILED": {"PENDING"},
    "CANCELLED": {"PENDING"},
}
ENDED_TASKS = {"COMPLETED", "FAILED", "SKIPPED", "CANCELLED"}


def test_executions() -> None:
    assert {before.value: {after.value for after in afters} for before, afters in EXECUTION_TRANSITIONS.items()} == (
        EXECUTION_STEPS
    )
    assert {status.value for status in ExecutionStatus if status.ended} == {"COMPLETED", "FAILED", "CANCELLED"}


def test_only_a_resume_takes_an_ended_task_back() -> None:
    assert {status.value for status in TaskStatus if status.ended} == ENDED_TASKS
    assert set(TASK_TRANSITIONS) == set(TaskStatus)
    for name in ENDED_TASKS:
        back = set() if name == "COMPLETED" else {TaskStatus.PENDING}
        assert TASK_TRANSITIONS[TaskStatus(name)] == back


def test_only_what_runs_or_waits_completes() -> None:
    completing = {status for status in TaskStatus if TaskStatus.COMPLETED in TASK_TRANSITIONS[status]}
    assert completing == {TaskStatus.RUNNING, TaskStatus.WAITING}


def move(driver: Driver, status: TaskStatus) -> None:
    waits = {"waiting": {"for": "retry"}} if status is TaskStatus.WAITING else {}
    driver.run.move(driver.state("a"), status, **waits)


@pytest.mark.parametrize(("before", "after"), list(product(TaskStatus, TaskStatus)))
def test_a_run_refuses_every_other_step_of_a_task(before: TaskStatus, after: TaskStatus) -> None:
    driver = Driver(echo("a"))
    driver.start("a")
    if before is TaskStatus.PENDING:
        driver.releases("a")
    elif before is not TaskStatus.RUNNING:
        via = [before] if before in TASK_TRANSITIONS[TaskStatus.RUNNING] else [TaskStatus.PENDING, before]
        for status in via:
            move(driver, status)
    seen = len(driver.run.events)
    if after in TASK_TRANSITIONS[before]:
        move(driver, after)
        assert driver.state("a").status is after
        assert len(driver.run.events) == seen + 1
    else:
        with pytest.raises(ValueError, match=f"{after} cannot follow {before}"):
            move(driver, after)
        assert driver.state("a").status is before
        assert len(driver.run.events) == seen


def test_an_ended_execution_does_not_end_again() -> None:
    driver = Driver(echo("a"))
    driver.run.end(ExecutionStatus.CANCELLED, because="enough")
    assert driver.statuses() == {"a": "CANCELLED"}
    assert driver.ready() == []
    with pytest.raises(ValueError, match="COMPLETED cannot follow CANCELLED"):
        driver.run.end(ExecutionStatus.COMPLETED)
