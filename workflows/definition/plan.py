"""The plan that ``POST /workflows/validate`` shows."""

from __future__ import annotations

from typing import Any

from workflows.definition.graph import in_order, stages
from workflows.definition.model import Definition


def plan_of(definition: Definition) -> dict[str, Any]:
    """The tasks in an order in which they can run, what each waits for, and the stages that can run together."""
    graph = {task.name: task.dependencies for task in definition.tasks}
    tasks = {task.name: task for task in definition.tasks}
    ordered = [tasks[name] for name in in_order(graph)]
    return {
        "tasks": [{"name": one.name, "type": one.type, "waits_for": list(one.dependencies)} for one in ordered],
        "stages": stages(graph),
    }
