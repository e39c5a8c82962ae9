"""How the waits of tasks end: a time that has come, a child that has ended, a timeout."""

from __future__ import annotations

from dataflow.lib.errors import TaskError
from executions.engine.outcomes import carried, complete_wait, fail, resume
from executions.engine.run import EndedChild, Run
from executions.engine.state import ExecutionStatus, TaskState


def retry_is_due(run: Run, state: TaskState) -> bool:
    """Whether a task waits for its retry no more: it can start."""
    return state.waits_for == "retry" and _time_has_come(run, state)


def is_over(run: Run, state: TaskState) -> bool:
    """Whether the wait for a time, a person or a child has ended by itself. An approval ends by hand, or in time."""
    if state.waits_for == "retry":
        return False
    return _time_has_come(run, state) or _child_of(run, state) is not None


def end(run: Run, state: TaskState) -> None:
    """What follows from a wait that is over."""
    assert state.waiting is not None
    child = _child_of(run, state)
    if state.waits_for == "timer":
        complete_wait(run, state, state.waiting.get("outputs") or {})
    elif child is not None and (kept := carried(state)):
        resume(run, state, kept)
    elif child is not None:
        _child_ended(run, state, child)
    else:
        what = {"approval": "Nobody decided", "child": "The other execution did not end"}[state.waits_for]
        # As after any other timeout, another try may help: of one that goes on with a state it would be the same child.
        retryable = state.waits_for == "child" and not carried(state)
        fail(run, state, TaskError("timeout", f"{what} in time.", retryable=retryable), jitter=0.0)


def _child_of(run: Run, state: TaskState) -> EndedChild | None:
    """How the execution ended that it waits for; after a retry that is another one than before."""
    return run.children.get(state.child) if state.waits_for == "child" else None


def _child_ended(run: Run, state: TaskState, child: EndedChild) -> None:
    if child.status is ExecutionStatus.COMPLETED:
        complete_wait(run, state, child.outputs or {})
        return
    error = child.error or {}
    message = f"Execution {state.child} is {child.status}: {error.get('message', '')}"
    code = "cancelled" if child.status is ExecutionStatus.CANCELLED else "dependency_failed"
    # A new child is worth a try where the child's own failure was a passing one.
    retryable = bool(error.get("retryable"))
    fail(run, state, TaskError(code, message, retryable=retryable, details={"error": error}), jitter=0.0)


def _time_has_come(run: Run, state: TaskState) -> bool:
    return state.due_at is not None and state.due_at <= run.now
