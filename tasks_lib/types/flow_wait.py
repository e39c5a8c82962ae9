"""``flow.wait``: time passes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from dataflow.lib.errors import TaskError
from dataflow.lib.times import rfc3339
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType, Wait
from tasks_lib.moments import read_moment

#: Seconds: 366 days.
LONGEST_WAIT = 31_622_400


class FlowWait(TaskType):
    """Lets the execution rest for some seconds, or until a moment, without a worker."""

    name = "flow.wait"
    title = "Wait"
    category = "flow"
    description = (
        "Waits for a number of seconds or until a moment; give exactly one of them. At most 366 days. No worker is "
        "held meanwhile. The `timeout` of the task is for one try, which only starts the wait: it does not end it."
    )
    inputs = (
        Field(
            name="seconds",
            type="number",
            minimum=0,
            maximum=LONGEST_WAIT,
            description="How many seconds to wait",
            example=1,
        ),
        Field(
            name="until",
            type="text",
            description="When to go on: RFC 3339 with a time zone. A moment that is over does not wait",
            example="2026-12-24T18:00:00Z",
        ),
    )
    outputs = (
        Field(
            name="until",
            type="text",
            description="When the wait was to end (for `seconds`: by the clock of the worker that began it)",
            example="2026-12-24T18:00:00Z",
        ),
        Field(name="seconds", type="number", description="How many seconds the wait was to take", example=1),
    )
    timeout = 60.0
    example = {"seconds": 1}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue] | Wait:
        """Say how long to wait. Raises ``TaskError("validation")`` unless exactly one of the two is given."""
        seconds, until = inputs["seconds"], inputs["until"]
        if (seconds is None) == (until is None):
            raise TaskError("validation", "Give either `seconds` or `until`, and not both.")
        if until is not None:
            return _wait_until(until)
        # Only shown: the wait itself is counted by the database's clock.
        end = datetime.now(UTC) + timedelta(seconds=seconds)
        return Wait(kind="timer", data={"outputs": {"until": rfc3339(end), "seconds": seconds}}, seconds=float(seconds))


def _wait_until(text: str) -> Wait:
    try:
        until = read_moment(text)
    except ValueError as error:
        raise TaskError("validation", f"`until` cannot be read: {error}.") from None
    seconds = max((until - datetime.now(UTC)).total_seconds(), 0)
    if seconds > LONGEST_WAIT:
        raise TaskError("validation", "`until` is more than 366 days away, the longest wait there is.")
    outputs = {"until": rfc3339(until), "seconds": round(seconds, 3)}
    return Wait(kind="timer", data={"outputs": outputs}, until=until)
