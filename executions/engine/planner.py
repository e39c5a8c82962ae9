"""What an execution does next, by an ordered list of small rules.

``plan`` applies every rule that changes the run without work, until none does, and returns the names of the tasks and
items that can start now, in order. ``prepare`` turns one of them into a claim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import chain
from typing import Any

from dataflow.lib.errors import TaskError
from dataflow.lib.sizes import json_size
from executions.engine import waits
from executions.engine.outcomes import (
    LEASE_SECONDS,
    MAX_OUTPUT_BYTES,
    carried,
    complete,
    error_as_json,
    is_last_chance,
    lose,
)
from executions.engine.run import Run
from executions.engine.scope import scope_of
from executions.engine.state import ExecutionStatus, Items, TaskState, TaskStatus, item_name, task_of
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
    items_of,
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
    names = sorted(_ready(run), key=lambda name: (run.place_of(name), run.task(name).item or 0))
    return names + [name for task in sorted(run.spread, key=run.place_of) for name in _new_items(run, task)]


def can_start(run: Run) -> bool:
    """Whether anything could start now."""
    if run.status.ended:
        return False
    new = (name for task in run.spread for name in _new_items(run, task))
    return next(chain(_ready(run), new), None) is not None


def _ready(run: Run) -> Iterator[str]:
    """What is PENDING and waits for nothing, or whose retry is due; in no order."""
    due = (name for name in run.waiting if waits.retry_is_due(run, run.tasks[name]))
    return (name for name in chain(run.pending, due) if not _begins_items(run, name) and not _is_held_back(run, name))


def _is_held_back(run: Run, name: str) -> bool:
    return run.holds_back and is_last_chance(run.task(name))


def _begins_items(run: Run, name: str) -> bool:
    state = run.task(name)
    return state.item is None and run.definition_of(name).for_each is not None


def _new_items(run: Run, task: str) -> Iterable[str]:
    """The items that were never claimed and have room among those under way."""
    items, for_each = run.tasks[task].items, run.definition_of(task).for_each
    if items is None or for_each is None:
        return ()
    room = for_each.concurrency - len(run.live_items.get(task, ()))
    return (item_name(task, item) for item in range(items.next, min(items.total, items.next + max(0, room))))


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
    if not run.is_fresh:  # its own leases were renewed since it was read
        return False
    expired = [state for name in run.running if _has_expired(run, state := run.tasks[name])]
    for state in expired:
        lose(run, state)
    return bool(expired)


def _has_expired(run: Run, state: TaskState) -> bool:
    return state.lease_until is not None and state.lease_until < run.now


def _wait_over(run: Run) -> bool:
    over = [state for name in run.waiting if waits.is_over(run, state := run.tasks[name])]
    for state in sorted(over, key=lambda state: (run.place_of(state.name), state.item or 0)):
        waits.end(run, state)
    return bool(over)


def _condition_decides(run: Run) -> bool:
    found = False
    for name in sorted(run.pending, key=run.place_of):
        task, state = run.definition_of(name), run.task(name)
        if task.condition is not None and state.attempt == 0 and state.item is None:
            found = _unless_true(run, task, state) or found
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
            run.move(state, TaskStatus.FAILED, error=error_as_json(_expression_failure(error, "condition")))
    else:
        run.move(state, TaskStatus.SKIPPED, reason="Its condition is false.")
    return True


def _items_begin(run: Run) -> bool:
    """Take a ``for_each`` task whose turn has come to RUNNING: from then on its items can start."""
    names = [name for name in run.pending if _begins_items(run, name)]
    for name in sorted(names, key=run.place_of):
        state = run.task(name)
        run.begin()
        try:
            total = len(_list_of(run, name))
        except MissingThrough as missing:
            reason = f"Its list comes from task {missing.task_name}, which gave no outputs."
            run.move(state, TaskStatus.SKIPPED, reason=reason)
        except (ExpressionError, TaskError) as error:
            failure = error if isinstance(error, TaskError) else _expression_failure(error, "for_each")
            run.move(state, TaskStatus.FAILED, error=error_as_json(failure))
        else:
            run.move(
                state, TaskStatus.RUNNING, attempt=state.attempt + 1, items=state.items or Items(total=total),
                started_at=state.started_at or run.now, attempt_started_at=run.now, data={"items": total},
            )  # fmt: skip
    return bool(names)


def _list_of(run: Run, name: str) -> list[Any]:
    """The list of a ``for_each`` task, worked out once."""
    for_each = run.definition_of(name).for_each
    assert for_each is not None
    if name not in run.lists:
        run.lists[name] = items_of(for_each, scope_of(run))
    return run.lists[name]


def _items_end(run: Run) -> bool:
    """Complete a ``for_each`` task whose items have all ended, or fail it with the item that failed."""
    found = False
    for name in sorted(run.spread, key=run.place_of):
        items, for_each = run.tasks[name].items, run.definition_of(name).for_each
        assert items is not None
        assert for_each is not None
        if items.failed and for_each.on_item_failure == "fail":
            _fail_with_item(run, name)
        elif items.done:
            _collect(run, name)
        else:
            continue
        found = True
    return found


def _fail_with_item(run: Run, name: str) -> None:
    ended = (state for state in run.tasks.values() if state.item is not None and task_of(state.name) == name)
    first = next((state for state in ended if state.status in (TaskStatus.FAILED, TaskStatus.SKIPPED)), None)
    why = (first.error or {"code": "dependency_failed", "message": first.reason}) if first else {"code": "runtime"}
    place = f"Item {first.item}: " if first else "An item failed. "
    error = {**why, "message": f"{place}{why.get('message', '')}", "item": first.item if first else None}
    run.cancel_items(name, "another item failed")
    run.move(run.tasks[name], TaskStatus.FAILED, error=error, data={"error": error})


def _collect(run: Run, name: str) -> None:
    state = run.tasks[name]
    try:
        outputs = run.gather(name)
    except TaskError as error:
        shown = error_as_json(error)
        run.move(state, TaskStatus.FAILED, error=shown, data={"error": shown})
    else:
        complete(run, state, outputs)


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
    _items_begin,
    _items_end,
    _all_ended,
)


def prepare(run: Run, name: str, catalogue: Catalogue, *, worker: str = "") -> Claim | None:
    """Claim a startable task or item for ``worker``: render its inputs and take it to RUNNING under a lease.

    ``None`` when it was skipped or failed instead; then the caller plans again.
    """
    state = _state_to_start(run, name)
    run.begin()
    try:
        task_type, inputs = _rendered(run, state, catalogue)
    except MissingThrough as missing:
        _without_input(run, state, missing)
        return None
    except (ExpressionError, TaskError) as error:
        failure = error if isinstance(error, TaskError) else _expression_failure(error, "inputs")
        run.move(state, TaskStatus.FAILED, error=error_as_json(failure))
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
        _list_of(run, task.name)
    return task_type, render_inputs(inputs, task_type, scope_of(run, state))


def _without_input(run: Run, state: TaskState, missing: MissingThrough) -> None:
    """Skip the task; but a fallback that cannot stand in leaves it failed, as its own tries did."""
    reason = f"Its input {missing.input_name} comes from task {missing.task_name}, which gave no outputs."
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
        reason="",
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


def _expression_failure(error: ExpressionError, place: str) -> TaskError:
    return TaskError(error.code, f"{place}: {error.message}")
