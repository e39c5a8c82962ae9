"""What follows from the end of a try: retries, fallback, lost workers, releases."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from executions.engine.outcomes import LEASE_SECONDS, MAX_LOST
from executions.engine.retry import MAX_RETRY_AFTER
from executions.engine.state import ExecutionStatus, TaskState, TaskStatus
from tests.engine_driver import Driver, after, echo, post

NO_JITTER = {"jitter": 0}


def retried(**policy: Any) -> Driver:
    driver = Driver(echo("a", retry=NO_JITTER | policy))
    driver.start("a")
    return driver


# --- retry ---
@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        ({"attempts": 3}, [1, 1, 1, None]),
        ({"attempts": 3, "delay": 2}, [2, 2, 2, None]),
        ({"attempts": 4, "delay": 2, "multiplier": 3}, [2, 6, 18, 54, None]),
        ({"attempts": 4, "delay": 2, "multiplier": 3, "max_delay": 10}, [2, 6, 10, 10, None]),
        ({"attempts": 2, "delay": 0, "multiplier": 1000}, [0, 0, None]),
        ({"attempts": 0}, [None]),
        ({}, [None]),
    ],
)
def test_delays(policy: dict[str, Any], delays: list[float | None]) -> None:
    driver = retried(**policy)
    for number, delay in enumerate(delays, start=1):
        driver.fails("a")
        assert driver.state("a").failures == number
        if delay is None:
            break
        assert driver.state("a").status is TaskStatus.WAITING
        assert driver.waits("a") == pytest.approx(delay)
        driver.later(delay)
        assert driver.ready() == ["a"]
        assert driver.start("a").attempt == number + 1
    assert driver.state("a").status is TaskStatus.FAILED
    assert driver.ready() == []


def test_it_does_not_start_before_it_is_due() -> None:
    driver = retried(attempts=1, delay=10)
    driver.fails("a")
    driver.later(9.999)
    assert driver.ready() == []
    driver.later(0.001)
    assert driver.ready() == ["a"]


@pytest.mark.parametrize(
    ("retry_after", "delay"), [(None, 5), (2, 5), (30, 30), (1e9, MAX_RETRY_AFTER), (2.5e11, MAX_RETRY_AFTER)]
)
def test_a_longer_retry_after_wins(retry_after: float | None, delay: float) -> None:
    driver = retried(attempts=1, delay=5, max_delay=6)
    driver.fails("a", "rate_limited", retry_after=retry_after)
    assert driver.waits("a") == delay


@pytest.mark.parametrize(("jitter", "delay"), [(-1, 8), (0, 10), (0.5, 11), (1, 12)])
def test_jitter_is_a_share_of_the_delay(jitter: float, delay: float) -> None:
    driver = retried(attempts=1, delay=10, jitter=0.2)
    driver.fails("a", jitter=jitter)
    assert driver.waits("a") == pytest.approx(delay)


@pytest.mark.parametrize(
    ("policy", "code", "retryable", "again"),
    [
        ({}, "communication", True, True),
        ({}, "authorization", False, False),
        ({"on": ["rate_limited"]}, "rate_limited", True, True),
        ({"on": ["rate_limited"]}, "communication", True, False),
        ({"on": ["authorization"]}, "authorization", False, False),
        ({"except": ["timeout"]}, "timeout", True, False),
        ({"except": ["timeout"]}, "communication", True, True),
        ({"on": ["timeout"], "except": ["timeout"]}, "timeout", True, False),
    ],
)
def test_on_and_except(policy: dict[str, Any], code: str, retryable: bool, again: bool) -> None:
    driver = retried(attempts=1, **policy)
    driver.fails("a", code, retryable=retryable)
    assert driver.state("a").status is (TaskStatus.WAITING if again else TaskStatus.FAILED)


def test_max_duration_counts_from_the_first_try_and_no_last_wait_is_useless() -> None:
    driver = retried(attempts=10, delay=4, max_duration=10)
    for _ in range(2):  # due at 4 and at 8
        driver.fails("a")
        driver.later(4)
        driver.start("a")
    driver.fails("a")  # would be due at 12
    assert driver.state("a").status is TaskStatus.FAILED


def test_a_retry_keeps_its_error_and_says_when() -> None:
    driver = retried(attempts=1, delay=5)
    driver.fails("a", "rate_limited", retry_after=7)
    state, event = driver.state("a"), driver.run.events[-1]
    shown = {"code": "rate_limited", "message": "as told", "retryable": True, "retry_after": 7}
    assert state.error == shown
    assert event.type == "task.waiting"
    assert event.data == {"for": "retry", "until": str(state.due_at).replace(" ", "T"), "error": shown}
    assert [(ended.attempt, ended.error) for ended in driver.run.ended_tries] == [(1, shown)]


def test_a_success_after_a_retry_leaves_no_error() -> None:
    driver = retried(attempts=1)
    driver.fails("a")
    driver.later(1)
    driver.runs("a")
    assert driver.state("a").error is None
    driver.ready()
    assert driver.run.status is ExecutionStatus.COMPLETED


# --- fallback ---
FALLBACK = {"fallback": {"task": "text.static", "inputs": {"text": "spare"}}}


def test_the_fallback_runs_when_every_try_has_failed() -> None:
    driver = Driver(echo("a", retry={"attempts": 1}, **FALLBACK), echo("b", after("a")))
    driver.start("a")
    driver.fails("a")
    driver.later(2)
    driver.start("a")
    driver.fails("a")
    assert driver.state("a").status is TaskStatus.PENDING
    claim = driver.start("a")
    assert (claim.type, claim.attempt, claim.stands_in_for) == ("text.static", 3, "text.echo")
    assert dict(claim.inputs) == {"text": "spare"}
    driver.completes("a", text="spare")
    assert dict(driver.start("b").inputs) == {"text": "spare"}


def test_an_error_that_is_not_retried_goes_to_the_fallback_at_once() -> None:
    driver = Driver(echo("a", retry={"attempts": 5}, **FALLBACK))
    driver.start("a")
    driver.fails("a", "validation", retryable=False)
    assert driver.start("a").stands_in_for == "text.echo"


def test_a_fallback_is_tried_once() -> None:
    driver = Driver(echo("a", retry={"attempts": 5}, **FALLBACK))
    driver.start("a")
    driver.fails("a", retryable=False)
    driver.start("a")
    driver.fails("a", "provider_error")
    assert driver.state("a").status is TaskStatus.FAILED
    driver.ready()
    assert (driver.run.error or {})["code"] == "provider_error"


@pytest.mark.parametrize("items", [{}, {"for_each": "{{ [1, 2] }}"}], ids=["a task", "an item"])
def test_the_fallback_stands_in_for_a_task_whose_inputs_cannot_be_rendered(items: dict[str, Any]) -> None:
    """It is no try, and is not tried again."""
    spoiled = echo("a", text="{{ 1 / 0 }}", retry={"attempts": 5}, **FALLBACK, **items)
    driver = Driver(spoiled)
    name = driver.ready()[0]
    assert driver.claim(name) is None
    waiting = driver.state(name)
    assert (waiting.status, waiting.attempt, waiting.failures) == (TaskStatus.PENDING, 0, 0)
    assert (waiting.error or {})["code"] == "expression"
    claim = driver.start(name)
    assert (claim.type, claim.attempt, claim.stands_in_for) == ("text.static", 1, "text.echo")
    driver.completes(name, text="spare")
    assert driver.state(name).status is TaskStatus.COMPLETED
    assert driver.state(name).reason.startswith("Its fallback ran: ")


def test_a_fallback_whose_inputs_cannot_be_rendered_fails_the_task() -> None:
    fallback = {"task": "text.static", "inputs": {"text": "{{ 1 / 0 }}"}}
    driver = Driver(echo("a", text="{{ 2 / 0 }}", fallback=fallback))
    assert driver.claim(driver.ready()[0]) is None
    assert driver.claim(driver.ready()[0]) is None
    assert driver.state("a").status is TaskStatus.FAILED
    driver.ready()
    assert driver.run.status is ExecutionStatus.FAILED


def test_a_fallback_without_its_input_leaves_the_task_failed() -> None:
    fallback = {"task": "text.static", "inputs": {"text": after("gone")}}
    driver = Driver(echo("gone", condition="{{false}}"), echo("a", fallback=fallback))
    driver.start("a")
    driver.fails("a", retryable=False)
    assert driver.ready() == ["a"]
    assert driver.claim("a") is None
    assert driver.state("a").status is TaskStatus.FAILED
    assert "task gone" in driver.state("a").reason
    driver.ready()
    assert driver.run.status is ExecutionStatus.FAILED
    assert (driver.run.error or {})["message"] == "as told"


# --- lost workers ---
def expire(driver: Driver) -> list[str]:
    """Let the lease of what runs pass, and plan."""
    driver.later(LEASE_SECONDS + 0.001)
    return driver.ready()


def test_a_lease_holds_until_it_has_passed() -> None:
    driver = Driver(echo("a"))
    driver.start("a")
    driver.later(LEASE_SECONDS)
    assert driver.ready() == []
    assert driver.state("a").status is TaskStatus.RUNNING
    driver.later(0.001)
    assert driver.ready() == ["a"]


def test_three_lost_workers_fail_a_task() -> None:
    driver = Driver(echo("a"), echo("b", depends_on=[]))
    for number in range(1, MAX_LOST):
        assert driver.start("a").attempt == number
        assert "a" in expire(driver)
        assert (driver.state("a").lost, driver.state("a").failures) == (number, 0)
    driver.start("a")
    assert expire(driver) == []
    assert (driver.state("a").status, driver.state("a").lost) == (TaskStatus.FAILED, 3)
    assert (driver.run.error or {})["code"] == "worker_lost"
    assert [ended.attempt for ended in driver.run.ended_tries] == [1, 2, 3]


def test_what_must_not_be_repeated_fails_when_its_worker_is_lost() -> None:
    driver = Driver(post("a"))
    driver.start("a")
    expire(driver)
    assert (driver.state("a").error or {})["code"] == "worker_lost"
    assert driver.run.status is ExecutionStatus.FAILED


@pytest.mark.parametrize(
    ("policy", "again"),
    [
        ({"attempts": 1}, True),
        ({"attempts": 1, "on": ["timeout"]}, False),
        ({"attempts": 1, "except": ["worker_lost"]}, False),
    ],
)
def test_unless_its_retry_policy_allows_it(policy: dict[str, Any], again: bool) -> None:
    driver = Driver(post("a", retry=policy))
    driver.start("a")
    expire(driver)
    assert driver.state("a").status is (TaskStatus.WAITING if again else TaskStatus.FAILED)


def test_three_lost_workers_are_enough_whatever_the_retry_policy() -> None:
    driver = Driver(post("a", retry={"attempts": 100, "delay": 0, "jitter": 0}))
    for number in range(1, MAX_LOST + 1):
        driver.start("a")
        expire(driver)
        assert driver.state("a").lost == number
    assert driver.state("a").status is TaskStatus.FAILED
    assert driver.run.status is ExecutionStatus.FAILED


def test_a_try_that_ignored_its_deadline_is_a_timeout_and_not_a_lost_worker() -> None:
    driver = Driver(echo("a", timeout=20, retry={"attempts": 1}))
    driver.start("a")
    last_renewal = driver.run.now + timedelta(seconds=30)  # after the deadline, as a living worker does
    driver.run.tasks["a"] = _with_lease(driver, last_renewal + timedelta(seconds=LEASE_SECONDS))
    driver.later(61)
    driver.ready()
    state = driver.state("a")
    assert (state.error or {})["code"] == "timeout"
    assert (state.status, state.lost, state.failures) == (TaskStatus.WAITING, 0, 1)


def test_a_worker_that_died_before_the_deadline_is_lost_however_late_it_is_found() -> None:
    driver = Driver(echo("a", timeout=20))
    driver.start("a")
    driver.run.tasks["a"] = _with_lease(driver, driver.run.now + timedelta(seconds=10 + LEASE_SECONDS))
    driver.later(1000)
    assert driver.ready() == ["a"]
    assert driver.state("a").lost == 1


def _with_lease(driver: Driver, until: datetime) -> TaskState:
    return replace(driver.state("a"), lease_until=until)


# --- releases ---
def test_a_released_try_goes_back_and_counts_for_nothing() -> None:
    driver = Driver(echo("a"))
    for attempt in range(1, 6):
        assert driver.start("a").attempt == attempt
        driver.releases("a")
    state = driver.state("a")
    assert (state.status, state.lost, state.failures) == (TaskStatus.PENDING, 0, 0)


@pytest.mark.parametrize(("attempts", "status"), [(0, TaskStatus.FAILED), (1, TaskStatus.WAITING)])
def test_what_must_not_be_repeated_is_not_given_back(attempts: int, status: TaskStatus) -> None:
    driver = Driver(post("a", retry={"attempts": attempts}))
    driver.start("a")
    driver.releases("a")
    assert driver.state("a").status is status
    assert (driver.state("a").error or {})["code"] == "worker_lost"
