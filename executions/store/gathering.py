"""Puts the outputs of a ``for_each`` task's items together: each output becomes a list, in the order of the items."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from heapq import merge
from typing import Any

from dataflow.lib.errors import TaskError
from dataflow.lib.sizes import json_size
from executions import files
from executions.engine.outcomes import MAX_OUTPUT_BYTES
from executions.engine.state import TaskState, TaskStatus, task_of
from executions.models import TaskRun
from executions.store.rows import Loaded
from tasks_lib import registry
from workflows.definition import Task

#: Rows read at a time.
_CHUNK = 500
_OfItem = tuple[int, Mapping[str, Any] | None]


def gather(loaded: Loaded, name: str) -> files.LazyOutputs:
    """The lists of outputs of a task whose items have ended. Raises ``TaskError('too_large')`` over 100 MiB together.

    What the present step changed counts before what is stored.
    """
    task = loaded.run.definition_of(name)
    assert task.for_each is not None
    dropping = task.for_each.on_item_failure == "drop"
    collected: dict[str, list[Any]] = {output: [] for output in _outputs_of(task)}
    count, size, knows = 0, 0, False
    for outputs in _outputs_in_order(loaded, name):
        if outputs is None and dropping:
            continue
        size += json_size(outputs, MAX_OUTPUT_BYTES)
        if size > MAX_OUTPUT_BYTES:
            limit = MAX_OUTPUT_BYTES // 2**20
            raise TaskError("too_large", f"The outputs of all items are over {limit} MiB together.")
        knows = knows or outputs is not None
        for output in outputs or ():
            collected.setdefault(output, [None] * count)
        for output, values in collected.items():
            values.append(None if outputs is None else outputs.get(output))
        count += 1
    if not knows:  # of a type that gives what another workflow does, nobody said what that is
        collected = {output: [None] * count for output in loaded.run.definition.outputs_read_of(name)} | collected
    return files.LazyOutputs(*files.keep_large(collected, execution_id=loaded.run.id, task=name))


def _outputs_of(task: Task) -> list[str]:
    """The names of a task's outputs, also where no item gave any."""
    task_type = registry.get(task.type)
    own = [] if task_type is None else [field.name for field in task_type.outputs]
    return [*own, *(rename.name for rename in task.renames)]


def _outputs_in_order(loaded: Loaded, name: str) -> Iterator[Mapping[str, Any] | None]:
    """The outputs of each item, ``None`` for one that failed."""
    unsaved = {
        state.item: state
        for state in loaded.run.tasks.values()
        if state.item is not None and task_of(state.name) == name
    }
    fresh = ((item, _of_state(state)) for item, state in sorted(unsaved.items()))
    both = merge(fresh, _stored_outputs(loaded, name, unsaved), key=lambda pair: pair[0])
    return (outputs for _, outputs in both)


def _stored_outputs(loaded: Loaded, name: str, but: Container[int]) -> Iterator[_OfItem]:
    # Not by the beginning of the name: SQLite's LIKE does not tell "a" from "A".
    position = loaded.run.place_of(name)
    stored = TaskRun.objects.filter(execution_id=loaded.run.id, position=position, item__isnull=False).order_by("item")
    for item, status, outputs, kept in stored.values_list("item", "status", "outputs", "stored").iterator(_CHUNK):
        if item is not None and item not in but:
            completed = status == TaskStatus.COMPLETED
            yield item, dict(files.LazyOutputs(outputs or {}, kept)) if completed else None


def _of_state(state: TaskState) -> Mapping[str, Any] | None:
    return None if state.outputs is None else dict(state.outputs)
