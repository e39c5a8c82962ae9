"""What follows from the end of a try: completion, retry, fallback, failure, or a lost worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from dataflow.lib.cancellation import timeout_error
from dataflow.lib.errors import TaskError
from executions.engine.retry import retry_delay
from executions.engine.run import Run
from executions.engine.state import TaskStatus
from workflows.definition import Task

#: A task that took this many workers with it is FAILED (4-execution.md, promise 3).
MAX_LOST = 3
#: A claimed try is its worker's for so long; the worker renews this every 10 s.
LEASE_SECONDS = 30.0
#: Of JSON, for an output of a task and for all outputs of a workflow (4-execution.md, 6).
MAX_OUTPUT_BYTES = 100 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """What a try leaves besides its result. ``log`` lines are ``{"at", "level", "message"}``."""

    usage: Mapping[str, Any] = field(default_factory=dict)
    log: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The try gave outputs, renamed ones included.

    ``stored`` names those kept as files, ``None`` in ``outputs``: ``{output: {"file_id", "size"}}``.
    """

    outputs: Mapping[str, Any]
    stored: Mapping[str, Any] = field(default_factory=dict)
    notes: Notes = field(default_factory=Notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The try ended with an error."""

    error: TaskError
    notes: Notes = field(default_factory=Notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """The worker shuts down and gives the task back; this is nobody's fault and is not counted as lost."""

    notes: Notes = field(default_factory=Notes)


Outcome = Completed | Failed | Released


def error_as_json(error: TaskError) -> dict[str, Any]:
    """How a task's error is stored."""
    shown: dict[str, Any] = {"code": error.code, "message": error.message, "retryable": error.retryable}
    if error.retry_after is not None:
        shown["retry_after"] = error.retry_after
    return shown | ({"details": dict(error.details)} if error.details else {})


def shown_error(error: Mapping[str, Any] | None, place: int | None) -> dict[str, Any] | None:
    """A stored error in the shape of a problem: ``detail``, and the ``pointer`` to the task in the definition."""
    if error is None:
        return None
    pointer = {} if place is None else {"pointer": f"/tasks/{place}"}
    return {**error, "detail": error["message"], **pointer}


def complete(run: Run, task: Task, outputs: Mapping[str, Any]) -> None:
    """RUNNING → COMPLETED."""
    run.move(task.name, TaskStatus.COMPLETED, outputs=outputs, error=None)


def fail(run: Run, task: Task, error: TaskError, *, jitter: float, lost: int = 0) -> None:
    """A try failed: wait for a retry, stand the fallback in, or fail the task.

    ``jitter`` is in −1…1. ``lost`` is 1 where the try took its worker with it.
    """
    state = run.task(task.name)
    shown = error_as_json(error)
    counts = {"failures": state.failures + 1, "lost": state.lost + lost}
    delay = None
    if not state.on_fallback:
        delay = retry_delay(
            task.retry,
            failures=counts["failures"],
            error=error,
            first_started=state.started_at or run.now,
            now=run.now,
            jitter=jitter,
        )
    if delay is not None:
        due = run.now + timedelta(seconds=delay)
        run.move(
            task.name, TaskStatus.WAITING, due_at=due, error=shown, lease_until=None, reason="retry",
            data={"for": "retry", "until": due.isoformat(), "error": shown}, **counts,
        )  # fmt: skip
    elif task.fallback is not None and not state.on_fallback:
        data = {"fallback": task.fallback.type, "error": shown}
        run.move(task.name, TaskStatus.PENDING, on_fallback=True, error=shown, lease_until=None, data=data, **counts)
    else:
        run.move(task.name, TaskStatus.FAILED, error=shown, data={"error": shown}, **counts)


def lose(run: Run, task: Task) -> None:
    """The worker of a running try died, or let its lease go.

    Tried again if that is harmless, or if the retry policy allows it; else FAILED with ``worker_lost``.
    """
    state = run.task(task.name)
    timeout = _overrun(run, task)
    lost = TaskError("worker_lost", "The worker that ran this task died or could not be reached.", retryable=True)
    if timeout is not None:
        fail(run, task, timeout_error(timeout), jitter=0.0)
    elif state.lost + 1 >= MAX_LOST:
        message = f"{MAX_LOST} workers died while they ran this task; it is not tried again."
        shown = error_as_json(TaskError("worker_lost", message))
        run.move(task.name, TaskStatus.FAILED, lost=state.lost + 1, error=shown, data={"error": shown})
    elif state.repeatable:
        shown = error_as_json(lost)
        run.move(
            task.name, TaskStatus.PENDING, lost=state.lost + 1, lease_until=None, error=shown, data={"error": shown}
        )
    else:
        fail(run, task, lost, jitter=0.0, lost=1)


def release(run: Run, task: Task) -> None:
    """The worker shuts down: the task goes back to be taken by another, or fails where repeating is not harmless."""
    state = run.task(task.name)
    if state.repeatable:
        # Not a death: neither the losses nor the retries of the policy are used up.
        run.move(task.name, TaskStatus.PENDING, lease_until=None)
    else:
        stopped = TaskError("worker_lost", "The worker was stopped while it ran this task.", retryable=True)
        fail(run, task, stopped, jitter=0.0)


def _overrun(run: Run, task: Task) -> float | None:
    """The timeout of a try that its living worker let go because it ignored its deadline, else ``None``.

    A worker renews the lease for a while beyond the deadline; a last renewal after it tells the two apart.
    """
    state = run.task(task.name)
    if state.timeout is None or state.attempt_started_at is None or state.lease_until is None:
        return None
    last_renewal = state.lease_until - timedelta(seconds=LEASE_SECONDS)
    return state.timeout if last_renewal >= state.attempt_started_at + timedelta(seconds=state.timeout) else None
