"""What an execution does next, by an ordered list of small rules.

``plan`` applies every rule that changes the run without work, until none does, and returns the names of the tasks that
can start now, in order. ``prepare`` turns one of them into a claim.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from dataflow.lib.errors import TaskError
from executions.engine.outcomes import LEASE_SECONDS, MAX_OUTPUT_BYTES, error_as_json, lose
from executions.engine.run import Run
from executions.engine.scope import scope_of
from executions.engine.state import ExecutionStatus, TaskState, TaskStatus
from tasks_lib.base import TaskType
from workflows.definition import (
    Catalogue,
    ExpressionError,
    MissingThrough,
    OutputError,
    Rename,
    Task,
    check_condition,
    evaluate_outputs,
    render_inputs,
)
from workflows.definition.sizes import json_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A try that this worker now owns: every later write names its ``attempt``."""

    execution_id: str
    task: str
    attempt: int
    type: str
    inputs: Mapping[str, Any]
    timeout: float
    renames: tuple[Rename, ...] = ()
    #: The type that a fallback stands in for; empty where the task's own type runs.
    stands_in_for: str = ""


Rule = Callable[[Run], bool]


def plan(run: Run) -> list[str]:
    """Apply the rules; return the tasks that are ready to start (none once the execution has ended)."""
    while not run.status.ended:
        if not any(rule(run) for rule in RULES):
            return startable(run)
    return []


def startable(run: Run) -> list[str]:
    """The tasks that could start now, in the order of the definition."""
    return [task.name for task, state in run.states() if _startable(run, task, state)]


def _deadline_passed(run: Run) -> bool:
    if run.deadline is None or run.now < run.deadline:
        return False
    seconds = run.definition.timeout or 0.0
    message = f"The execution did not end within the workflow's timeout of {seconds:g} s."
    error = {"code": "timeout", "message": message, "task": None}
    run.end(ExecutionStatus.FAILED, error=error, because="the workflow's timeout passed")
    return True


def _task_failed(run: Run) -> bool:
    for task, state in run.states():
        if state.status is TaskStatus.FAILED and not task.continue_on_failure:
            error = dict(state.error or {}) | {"task": task.name}
            run.end(ExecutionStatus.FAILED, error=error, because=f"task {task.name} failed")
            return True
    return False


def _lease_expired(run: Run) -> bool:
    found = False
    for task, state in run.states():
        if state.status is TaskStatus.RUNNING and state.lease_until is not None and state.lease_until < run.now:
            lose(run, task)
            found = True
    return found


def _condition_decides(run: Run) -> bool:
    found = False
    for task, state in run.states():
        if task.condition is not None and state.attempt == 0 and _startable(run, task, state):
            found = _unless_true(run, task) or found
    return found


def _unless_true(run: Run, task: Task) -> bool:
    assert task.condition is not None
    try:
        if check_condition(task.condition, scope_of(run)):
            return False
    except TaskError as error:  # an output kept as a file cannot be read
        run.move(task.name, TaskStatus.FAILED, error=error_as_json(error))
    except ExpressionError as error:
        if error.missing:
            reason = f"Its condition refers to task {error.missing[0]}, which gave no outputs."
            run.move(task.name, TaskStatus.SKIPPED, reason=reason)
        else:
            run.move(task.name, TaskStatus.FAILED, error=error_as_json(_expression_failure(error, "condition")))
    else:
        run.move(task.name, TaskStatus.SKIPPED, reason="Its condition is false.")
    return True


def _all_ended(run: Run) -> bool:
    if not all(state.status.ended for _, state in run.states()):
        return False
    run.begin()
    try:
        outputs = _bounded(evaluate_outputs(run.definition, scope_of(run)))
    except (OutputError, TaskError) as error:
        problem = {"code": getattr(error, "code", "expression"), "message": error.message, "task": None}
        run.end(ExecutionStatus.FAILED, error=problem)
    else:
        run.end(ExecutionStatus.COMPLETED, outputs=outputs)
    return True


def _bounded(outputs: dict[str, Any]) -> dict[str, Any]:
    if json_size(outputs, MAX_OUTPUT_BYTES) > MAX_OUTPUT_BYTES:
        raise TaskError("too_large", f"The outputs of the workflow are over {MAX_OUTPUT_BYTES // 2**20} MiB together.")
    return outputs


#: In order: what ends the execution first, then what changes tasks, then the end of the work.
RULES: tuple[Rule, ...] = (_deadline_passed, _task_failed, _lease_expired, _condition_decides, _all_ended)


def _startable(run: Run, task: Task, state: TaskState) -> bool:
    if state.status is TaskStatus.WAITING:
        return state.due_at is not None and state.due_at <= run.now
    if state.status is not TaskStatus.PENDING:
        return False
    return all(run.task(name).status.ended for name in task.dependencies)


def prepare(run: Run, name: str, catalogue: Catalogue) -> Claim | None:
    """Claim a startable task: render its inputs and take it to RUNNING under a lease.

    ``None`` when it was skipped or failed instead; then the caller plans again.
    """
    task = run.definition_of(name)
    state = run.task(name)
    inputs_of, type_name = task.inputs, task.type
    if state.on_fallback and task.fallback is not None:
        inputs_of, type_name = task.fallback.inputs, task.fallback.type
    run.begin()
    task_type = catalogue.get(type_name)
    if task_type is None:
        failure = TaskError("validation", f"This installation has no task type {type_name} any more.")
        run.move(name, TaskStatus.FAILED, error=error_as_json(failure))
        return None
    try:
        inputs = render_inputs(inputs_of, task_type, scope_of(run))
    except MissingThrough as missing:
        _without_input(run, state, missing)
        return None
    except (ExpressionError, TaskError) as error:
        failure = error if isinstance(error, TaskError) else _expression_failure(error, "inputs")
        run.move(name, TaskStatus.FAILED, error=error_as_json(failure))
        return None
    return _start(run, task, task_type, inputs)


def _without_input(run: Run, state: TaskState, missing: MissingThrough) -> None:
    """Skip the task; but a fallback that cannot stand in leaves it failed, as its own tries did."""
    reason = f"Its input {missing.input_name} comes from task {missing.task_name}, which gave no outputs."
    if state.on_fallback:
        reason = f"The fallback cannot run. {reason}"
        run.move(state.name, TaskStatus.FAILED, reason=reason, data={"error": state.error})
    else:
        run.move(state.name, TaskStatus.SKIPPED, reason=reason)


def _start(run: Run, task: Task, task_type: TaskType, inputs: Mapping[str, Any]) -> Claim:
    state = run.task(task.name)
    timeout = task.timeout if task.timeout is not None else task_type.timeout
    run.move(
        task.name,
        TaskStatus.RUNNING,
        attempt=state.attempt + 1,
        timeout=timeout,
        repeatable=task_type.is_repeatable(inputs),
        started_at=state.started_at or run.now,
        attempt_started_at=run.now,
        lease_until=run.now + timedelta(seconds=LEASE_SECONDS),
        due_at=None,
        reason="",
    )
    return Claim(
        execution_id=run.id,
        task=task.name,
        attempt=state.attempt + 1,
        type=task_type.name,
        inputs=inputs,
        timeout=timeout,
        renames=task.renames,
        stands_in_for=task.type if state.on_fallback else "",
    )


def _expression_failure(error: ExpressionError, place: str) -> TaskError:
    return TaskError(error.code, f"{place}: {error.message}")
