"""The plan that ``POST /workflows/validate`` shows."""

from __future__ import annotations

from typing import Any

from workflows.definition.graph import in_order, stages
from workflows.definition.model import Definition, Task


def plan_of(definition: Definition) -> dict[str, Any]:
    """The tasks in an order in which they can run, what each waits for, and the stages that can run together.

    A task that runs over a list says which (``items``, as written; null where it is given whole), how many items there
    are (``count``, null while nobody knows), how many run at a time, and what becomes of an item that fails.
    """
    graph = {task.name: task.dependencies for task in definition.tasks}
    tasks = {task.name: task for task in definition.tasks}
    ordered = [tasks[name] for name in in_order(graph)]
    return {
        "tasks": [_planned(one) for one in ordered],
        "stages": stages(graph),
    }


def _planned(task: Task) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": task.name, "type": task.type, "waits_for": list(task.dependencies)}
    if task.for_each is not None:
        literal = task.for_each.items.literal
        shown["for_each"] = {
            "items": literal if isinstance(literal, str) else None,
            "count": len(literal) if isinstance(literal, list) else None,
            "concurrency": task.for_each.concurrency,
            "on_item_failure": task.for_each.on_item_failure,
        }
    return shown
