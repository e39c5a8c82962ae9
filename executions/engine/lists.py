"""Tasks that run once for each item of a list (``for_each``): the rules for their begin and end, and their items."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dataflow.lib.errors import TaskError
from executions.engine.outcomes import complete, error_as_json, expression_failure
from executions.engine.run import Run
from executions.engine.scope import scope_of
from executions.engine.state import Items, TaskState, TaskStatus, item_name, task_of
from workflows.definition import ExpressionError, MissingThrough, Task, items_of, render_inputs


def list_of(run: Run, name: str) -> list[Any]:
    """The list of a ``for_each`` task, worked out once."""
    for_each = run.definition_of(name).for_each
    assert for_each is not None
    if name not in run.lists:
        run.lists[name] = items_of(for_each, scope_of(run))
    return run.lists[name]


def new_items(run: Run, task: str) -> Iterable[str]:
    """The items that were never claimed and have room among those under way."""
    items, for_each = run.tasks[task].items, run.definition_of(task).for_each
    if items is None or for_each is None:
        return ()
    room = for_each.concurrency - len(run.live_items.get(task, ()))
    return (item_name(task, item) for item in range(items.next, min(items.total, items.next + max(0, room))))


def begin(run: Run) -> bool:
    """Take a ``for_each`` task whose turn has come to RUNNING: from then on its items can start."""
    names = sorted(run.unspread, key=run.place_of)
    for name in names:
        state = run.task(name)
        run.begin()
        try:
            _begin_one(run, state, list_of(run, name))
        except MissingThrough as missing:
            reason = f"Its list comes from task {missing.task_name}, which gave no outputs."
            run.move(state, TaskStatus.SKIPPED, reason=reason)
        except (ExpressionError, TaskError) as error:
            failure = error if isinstance(error, TaskError) else expression_failure(error, "for_each")
            run.move(state, TaskStatus.FAILED, error=error_as_json(failure))
    return bool(names)


def end(run: Run) -> bool:
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


def lacks_input(missing: MissingThrough) -> str:
    """The reason of a task that is skipped since a required input of it comes from a task without outputs."""
    return f"Its input {missing.input_name} comes from task {missing.task_name}, which gave no outputs."


def _begin_one(run: Run, state: TaskState, items: Sequence[Any]) -> None:
    # Of one that is resumed, items may have run.
    missing = _lacking_in_all(run, run.definition_of(state.name), items) if state.items is None else None
    if missing is not None:
        run.move(state, TaskStatus.SKIPPED, reason=lacks_input(missing))
        return
    total = len(items)
    run.move(
        state, TaskStatus.RUNNING, attempt=state.attempt + 1, items=state.items or Items(total=total),
        started_at=state.started_at or run.now, attempt_started_at=run.now, data={"items": total},
    )  # fmt: skip


def _lacking_in_all(run: Run, task: Task, items: Sequence[Any]) -> MissingThrough | None:
    """What the first item lacks, where no item can run since each lacks an input that a task without outputs gives.

    Inputs are rendered only where the task depends on such a one: elsewhere this costs nothing.
    """
    task_type = run.catalogue.get(task.type)
    if task_type is None or all(run.task(name).outputs is not None for name in task.dependencies):
        return None
    first, scope = None, scope_of(run)
    for index, item in enumerate(items):
        try:
            render_inputs(task.inputs, task_type, scope | {"item": item, "index": index})
        except MissingThrough as missing:
            first = first or missing
            if not task.inputs[missing.input_name].chooses_by_item:
                break
        except (ExpressionError, TaskError):  # it fails with that when its turn comes
            return None
        else:
            return None
    return first


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
