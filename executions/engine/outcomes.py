"""What follows from the end of a try: completion, a wait, retry, fallback, failure, or a lost worker.

``state`` is always the present state of the task or item in ``run``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from dataflow.lib.cancellation import timeout_error
from dataflow.lib.errors import TaskError
from dataflow.lib.failpoints import shortened
from dataflow.lib.times import rfc3339
from executions.engine.retry import retry_delay
from executions.engine.run import Run
from executions.engine.state import TaskState, TaskStatus
from tasks_lib.base import Wait
from workflows.definition import Catalogue, ExpressionError, rename_outputs

#: A task that took this many workers with it is FAILED (4-execution.md, promise 3).
MAX_LOST = 3
#: A claimed try is its worker's for so long; the worker renews it three times meanwhile. Test installations shorten it.
LEASE_SECONDS = shortened(30.0, "DATAFLOW_TEST_LEASE_SECONDS")
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
class Suspended:
    """The try goes on without a worker: until a time, a person's decision or the end of another execution."""

    wait: Wait
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


Outcome = Completed | Suspended | Failed | Released


def error_as_json(error: TaskError) -> dict[str, Any]:
    """How a task's error is stored."""
    shown: dict[str, Any] = {"code": error.code, "message": error.message, "retryable": error.retryable}
    if error.retry_after is not None:
        shown["retry_after"] = error.retry_after
    return shown | ({"details": dict(error.details)} if error.details else {})


def expression_failure(error: ExpressionError, place: str) -> TaskError:
    """The failure of a task of which an expression in ``place`` has no value."""
    return TaskError(error.code, f"{place}: {error.message}")


def shown_error(error: Mapping[str, Any] | None, place: int | None) -> dict[str, Any] | None:
    """A stored error in the shape of a problem: ``detail``, and the ``pointer`` to the task in the definition."""
    if error is None:
        return None
    pointer = {} if place is None else {"pointer": f"/tasks/{place}"}
    return {**error, "detail": error["message"], **pointer}


def complete(run: Run, state: TaskState, outputs: Mapping[str, Any]) -> None:
    """RUNNING or WAITING → COMPLETED. What it waited for is no news any more; why its fallback ran is."""
    reason = "" if state.status is TaskStatus.WAITING else state.reason
    run.move(state, TaskStatus.COMPLETED, outputs=outputs, error=None, reason=reason)


def complete_wait(run: Run, state: TaskState, outputs: Mapping[str, Any]) -> None:
    """WAITING → COMPLETED with what the wait gave, and what a try would add to that: nulls of a fallback, renames."""
    task = run.definition_of(state.name)
    if state.on_fallback and task.fallback is not None:
        outputs = {**lacking(run.catalogue, task.fallback.type, task.type), **outputs}
    complete(run, state, rename_outputs(task.renames, dict(outputs)) if task.renames else outputs)


def lacking(catalogue: Catalogue, fallback: str, replaced: str) -> dict[str, None]:
    """The outputs of the type ``replaced`` that the type ``fallback``, which stands in for it, does not have: null."""
    own, wanted = catalogue.get(fallback), catalogue.get(replaced)
    if own is None or wanted is None:
        return {}
    there = {field.name for field in own.outputs}
    return {field.name: None for field in wanted.outputs if field.name not in there}


def suspend(run: Run, state: TaskState, wait: Wait, *, child: str = "") -> None:
    """RUNNING → WAITING for what ``wait`` says; ``child`` is the id of the execution that was started for it."""
    due = _end_of(run, wait)
    shown = {"for": wait.kind, "since": rfc3339(run.now)}
    kept = {} if wait.state is None else {"state": wait.state}
    waiting = {**wait.data, **shown, **kept} | ({"execution_id": child} if child else {})
    said = shown | ({"until": rfc3339(due)} if due else {}) | ({"execution_id": child} if child else {})
    run.move(
        state, TaskStatus.WAITING, due_at=due, lease_until=None, waiting=waiting, reason=wait.kind, child=child,
        error=None, data=said,
    )  # fmt: skip


def resume(run: Run, state: TaskState, to: Mapping[str, Any]) -> None:
    """What a task waited for with a state is over: it is to run again and is told ``to``.

    ``to`` is ``{"state"}`` with ``"execution_id"``, or with the ``"error"`` for which no execution was started.
    """
    run.move(state, TaskStatus.PENDING, waiting={"for": "resume", **to}, lease_until=None, due_at=None, reason="")


def carried(state: TaskState) -> dict[str, Any]:
    """What a task that goes on with a state is told: kept over its retries and the loss of its worker."""
    waiting = state.waiting or {}
    return {key: waiting[key] for key in ("state", "execution_id", "error") if key in waiting and "state" in waiting}


def fail(run: Run, state: TaskState, error: TaskError, *, jitter: float, lost: int = 0) -> None:
    """A try failed: wait for a retry, stand the fallback in, or fail the task.

    ``jitter`` is in −1…1. ``lost`` is 1 where the try took its worker with it.
    """
    task = run.definition_of(state.name)
    shown = error_as_json(error)
    counts: dict[str, Any] = {"failures": state.failures + 1, "lost": state.lost + lost}
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
            state, TaskStatus.WAITING, due_at=due, error=shown, lease_until=None, reason="retry",
            waiting={"for": "retry", "since": rfc3339(run.now), **carried(state)},
            data={"for": "retry", "until": due.isoformat(), "error": shown}, **counts,
        )  # fmt: skip
    else:
        fail_for_good(run, state, error, **counts)


def fail_for_good(run: Run, state: TaskState, error: TaskError, *, why: str = "", **counts: Any) -> None:
    """A task is not tried again, or cannot be tried: stand the fallback in, or fail it.

    ``why`` is the reason that the task shows while its fallback runs, and then.
    """
    fallback, shown = run.definition_of(state.name).fallback, error_as_json(error)
    if fallback is not None and not state.on_fallback:
        run.move(
            state, TaskStatus.PENDING, on_fallback=True, error=shown, lease_until=None, due_at=None, waiting=None,
            reason=why, data={"fallback": fallback.type, "error": shown}, **counts,
        )  # fmt: skip
    else:
        run.move(state, TaskStatus.FAILED, error=shown, data={"error": shown}, **counts)


def lose(run: Run, state: TaskState) -> None:
    """The worker of a running try died, or let its lease go.

    Tried again if that is harmless, or if the retry policy allows it; else FAILED with ``worker_lost``.
    """
    timeout = _overrun(state)
    lost = TaskError("worker_lost", "The worker that ran this task died or could not be reached.", retryable=True)
    if timeout is not None:
        fail(run, state, timeout_error(timeout), jitter=0.0)
    elif is_last_chance(state):
        message = f"{MAX_LOST} workers died while they ran this task; it is not tried again."
        shown = error_as_json(TaskError("worker_lost", message))
        run.move(state, TaskStatus.FAILED, lost=state.lost + 1, error=shown, data={"error": shown})
    elif state.repeatable:
        shown = error_as_json(lost)
        run.move(state, TaskStatus.PENDING, lost=state.lost + 1, lease_until=None, error=shown, data={"error": shown})
    else:
        fail(run, state, lost, jitter=0.0, lost=1)


def is_last_chance(state: TaskState) -> bool:
    """Whether the task fails if one more worker dies with it."""
    return state.lost + 1 >= MAX_LOST


def release(run: Run, state: TaskState) -> None:
    """The worker shuts down: the task goes back to be taken by another, or fails where repeating is not harmless."""
    if state.repeatable:
        requeue(run, state)
    else:
        stopped = TaskError("worker_lost", "The worker was stopped while it ran this task.", retryable=True)
        fail(run, state, stopped, jitter=0.0)


def requeue(run: Run, state: TaskState) -> None:
    """Let another worker claim it. Not a death: neither the losses nor the retries of the policy are used up."""
    run.move(state, TaskStatus.PENDING, lease_until=None)


def _end_of(run: Run, wait: Wait) -> datetime | None:
    return wait.until if wait.seconds is None else run.now + timedelta(seconds=wait.seconds)


def _overrun(state: TaskState) -> float | None:
    """The timeout of a try that its living worker let go because it ignored its deadline, else ``None``.

    A worker renews the lease for a while beyond the deadline; a last renewal after it tells the two apart.
    """
    if state.timeout is None or state.attempt_started_at is None or state.lease_until is None:
        return None
    last_renewal = state.lease_until - timedelta(seconds=LEASE_SECONDS)
    return state.timeout if last_renewal >= state.attempt_started_at + timedelta(seconds=state.timeout) else None
