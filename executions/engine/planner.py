"""What an execution does next, by an ordered list of small rules.

``plan`` applies every rule that changes the run without work, until none does, and returns the names of the tasks and
items that can start now, in order. ``prepare`` turns one of them into a claim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import Any

from dataflow.lib.errors import TaskError
from dataflow.lib.sizes import json_size
from executions.engine import lists, waits
from executions.engine.outcomes import (
    LEASE_SECONDS,
    MAX_OUTPUT_BYTES,
    carried,
    error_as_json,
    expression_failure,
    fail_for_good,
    is_last_chance,
    lose,
)
from executions.engine.run import Run
from executions.engine.scope import scope_of
from executions.engine.state import ExecutionStatus, TaskState, TaskStatus, task_of
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A try that this worker now owns: every later write names its ``attempt``. ``task`` may be ``name[item]``."""

    execution_id: str
    task: str
    attempt: int
    type: str
    inputs: Mapping[str, Any]
    timeout: float
    renames: tuple[Rename, ...] = ()
    #: The type that a fallback stands in for; empty where the task's own type runs.
    stands_in_for: str = ""
    #: Whether a third worker's death would fail the task.
    is_last_chance: bool = False
    #: What a task goes on with that waited with a state: ``{"state"}`` and ``"execution_id"`` or ``"error"``.
    resumed: Mapping[str, Any] | None = None
    #: As the run has them: the worker keeps them out of what the try leaves.
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)


Rule = Callable[[Run], bool]


def plan(run: Run) -> list[str]:
    """Apply the rules; return what is ready to start (nothing once the execution has ended)."""
    while not run.status.ended:
        if not any(rule(run) for rule in RULES):
            return startable(run)
    return []


def startable(run: Run) -> list[str]:
    """The tasks and items that could start now, in the order of the definition, then of the list."""
    if run.status.ended:
        return []
    # Between two tasks of many that are ready this is most of the work.
    place_of: Callable[[str], Any] = run.definition.places.__getitem__
    names = sorted(_ready(run), key=partial(_order_of, run) if run.live_items else place_of)
    return names + [name for task in sorted(run.spread, key=run.place_of) for name in lists.new_items(run, task)]


def _order_of(run: Run, name: str) -> tuple[int, int]:
    return run.place_of(name), run.task(name).item or 0


def can_start(run: Run) -> bool:
    """Whether anything could start now."""
    if run.status.ended:
        return False
    new = (name for task in run.spread for name in lists.new_items(run, task))
    return next(chain(_ready(run), new), None) is not None


def _ready(run: Run) -> Iterator[str]:
    """What is PENDING and waits for nothing, or whose retry is due; in no order."""
    due = (name for name in run.waiting if waits.retry_is_due(run, run.tasks[name]))
    names = chain(run.pending, due)
    return (name for name in names if not _is_held_back(run, name)) if run.holds_back else names


def _is_held_back(run: Run, name: str) -> bool:
    return is_last_chance(run.task(name))


def _deadline_passed(run: Run) -> bool:
    if run.deadline is None or run.now < run.deadline:
        return False
    seconds = run.definition.timeout or 0.0
    message = f"The execution did not end within the workflow's timeout of {seconds:g} s."
    error = {"code": "timeout", "message": message, "task": None}
    run.end(ExecutionStatus.FAILED, error=error, because="the workflow's timeout passed")
    return True


def _task_failed(run: Run) -> bool:
    for name in sorted(run.failed, key=run.place_of):
        if not run.definition_of(name).continue_on_failure:
            error = dict(run.tasks[name].error or {}) | {"task": name}
            run.end(ExecutionStatus.FAILED, error=error, because=f"task {name} failed")
            return True
    return False


def _lease_expired(run: Run) -> bool:
    if run.read_at is None:
        return False
    expired = [state for name in run.running if _has_expired(state := run.tasks[name], run.read_at)]
    for state in expired:
        lose(run, state)
    return bool(expired)


def _has_expired(state: TaskState, at: datetime) -> bool:
    return state.lease_until is not None and state.lease_until < at


def _wait_over(run: Run) -> bool:
    over = [state for name in run.waiting if waits.is_over(run, state := run.tasks[name])]
    for state in sorted(over, key=lambda state: (run.place_of(state.name), state.item or 0)):
        waits.end(run, state)
    return bool(over)


def _condition_decides(run: Run) -> bool:
    found = False
    for name in sorted(run.undecided, key=run.place_of):
        if _unless_true(run, run.definition_of(name), run.task(name)):
            found = True
        else:  # what it asks for has ended: it stays true
            run.undecided.discard(name)
    return found


def _unless_true(run: Run, task: Task, state: TaskState) -> bool:
    assert task.condition is not None
    try:
        if check_condition(task.condition, scope_of(run)):
            return False
    except TaskError as error:  # an output kept as a file cannot be read
        run.move(state, TaskStatus.FAILED, error=error_as_json(error))
    except ExpressionError as error:
        if error.missing:
            reason = f"Its condition refers to task {error.missing[0]}, which gave no outputs."
            run.move(state, TaskStatus.SKIPPED, reason=reason)
        else:
            run.move(state, TaskStatus.FAILED, error=error_as_json(expression_failure(error, "condition")))
    else:
        run.move(state, TaskStatus.SKIPPED, reason="Its condition is false.")
    return True


def _all_ended(run: Run) -> bool:
    if run.unended:
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
RULES: tuple[Rule, ...] = (
    _deadline_passed,
    _task_failed,
    _lease_expired,
    _wait_over,
    _condition_decides,
    lists.begin,
    lists.end,
    _all_ended,
)


def prepare(run: Run, name: str, catalogue: Catalogue, *, worker: str = "") -> Claim | None:
    """Claim a startable task or item for ``worker``: render its inputs and take it to RUNNING under a lease.

    ``None`` when it was skipped or failed instead, or has its fallback yet to start; then the caller plans again.
    """
    state = _state_to_start(run, name)
    run.begin()
    try:
        task_type, inputs = _rendered(run, state, catalogue)
    except MissingThrough as missing:
        _without_input(run, state, missing)
        return None
    except (ExpressionError, TaskError) as error:
        failure = error if isinstance(error, TaskError) else expression_failure(error, "inputs")
        # No try shows it: the task itself says why something else ran.
        fail_for_good(run, state, failure, why=f"Its fallback ran: {failure.message}")
        return None
    return _start(run, state, task_type, inputs, worker)


def take_up(run: Run, name: str, catalogue: Catalogue) -> Claim | None:
    """The claim of a try that is RUNNING already: its owner lost the answer of the claiming transaction.

    ``None`` where its inputs cannot be rendered any more; then its lease runs out.
    """
    state = run.tasks[name]
    try:
        task_type, inputs = _rendered(run, state, catalogue)
    except (MissingThrough, ExpressionError, TaskError):
        return None
    return _claim(run, state, task_type, inputs)


def _state_to_start(run: Run, name: str) -> TaskState:
    """The state of what starts; an item that starts for the first time is counted off its list."""
    if name in run.tasks or "[" not in name:
        return run.task(name)
    task = task_of(name)
    items = run.tasks[task].items
    assert items is not None
    run.note(task, items=replace(items, next=items.next + 1))
    return run.item(task, items.next)


def _rendered(run: Run, state: TaskState, catalogue: Catalogue) -> tuple[TaskType, dict[str, Any]]:
    task = run.definition_of(state.name)
    inputs, type_name = task.inputs, task.type
    if state.on_fallback and task.fallback is not None:
        inputs, type_name = task.fallback.inputs, task.fallback.type
    task_type = catalogue.get(type_name)
    if task_type is None:
        raise TaskError("validation", f"This installation has no task type {type_name} any more.")
    if state.item is not None:
        lists.list_of(run, task.name)
    return task_type, render_inputs(inputs, task_type, scope_of(run, state))


def _without_input(run: Run, state: TaskState, missing: MissingThrough) -> None:
    """Skip the task; but a fallback that cannot stand in leaves it failed, as its own tries did."""
    reason = lists.lacks_input(missing)
    if state.on_fallback:
        reason = f"The fallback cannot run. {reason}"
        run.move(state, TaskStatus.FAILED, reason=reason, data={"error": state.error})
    else:
        run.move(state, TaskStatus.SKIPPED, reason=reason)


def _start(run: Run, state: TaskState, task_type: TaskType, inputs: Mapping[str, Any], worker: str) -> Claim:
    task = run.definition_of(state.name)
    run.move(
        state,
        TaskStatus.RUNNING,
        attempt=state.attempt + 1,
        timeout=task.timeout if task.timeout is not None else task_type.timeout,
        repeatable=task_type.is_repeatable(inputs),
        worker=worker,
        started_at=state.started_at or run.now,
        attempt_started_at=run.now,
        lease_until=run.now + timedelta(seconds=LEASE_SECONDS),
        due_at=None,
        waiting={"for": "resume", **kept} if (kept := carried(state)) and not state.on_fallback else None,
        reason=state.reason if state.on_fallback else "",
    )
    return _claim(run, run.tasks[state.name], task_type, inputs)


def _claim(run: Run, state: TaskState, task_type: TaskType, inputs: Mapping[str, Any]) -> Claim:
    task = run.definition_of(state.name)
    return Claim(
        execution_id=run.id,
        task=state.name,
        attempt=state.attempt,
        type=task_type.name,
        inputs=inputs,
        timeout=state.timeout if state.timeout is not None else task_type.timeout,
        renames=task.renames,
        stands_in_for=task.type if state.on_fallback else "",
        is_last_chance=is_last_chance(state),
        resumed=carried(state) or None,
        secrets=run.secrets,
    )
