"""When a failed try is tried again. Pure: the caller gives the time and the jitter."""

from __future__ import annotations

from datetime import datetime, timedelta

from dataflow.lib.errors import TaskError
from workflows.definition import Retry

#: The longest that another side's ``Retry-After`` is heeded, in seconds: no server can park a task for ever.
MAX_RETRY_AFTER = 30 * 24 * 3600.0


def retry_delay(
    policy: Retry, *, failures: int, error: TaskError, first_started: datetime, now: datetime, jitter: float
) -> float | None:
    """Seconds until retry number ``failures``, or ``None`` when there is none (1-definition.md, ``retry``).

    ``failures`` counts the tries that failed so far, the last one included. ``jitter`` is in −1…1 and scales the
    policy's share. A ``Retry-After`` that is longer than the policy's delay wins.
    """
    if failures > policy.attempts or not _covers(policy, error):
        return None
    delay = min(policy.delay * _power(policy.multiplier, failures - 1), policy.max_delay)
    delay = max(delay * (1 + policy.jitter * jitter), min(error.retry_after or 0.0, MAX_RETRY_AFTER))
    if policy.max_duration is not None:
        end = first_started + timedelta(seconds=policy.max_duration)
        if now + timedelta(seconds=delay) > end:
            return None
    return delay


def _covers(policy: Retry, error: TaskError) -> bool:
    if policy.on and error.code not in policy.on:
        return False
    return error.retryable and error.code not in policy.except_


def _power(base: float, exponent: int) -> float:
    try:
        return float(base**exponent)
    except OverflowError:
        return float("inf")
