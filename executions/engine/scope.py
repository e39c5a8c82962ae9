"""What expressions of a run can see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dataflow.lib.times import rfc3339
from executions.engine.run import Run
from executions.engine.state import TaskState, task_of


class _Tasks(Mapping[str, Any]):
    """``tasks`` in expressions: status and outputs of each task of the definition."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        if name not in self._run.definition.places:
            raise KeyError(name)
        state = self._run.task(name)
        return {"status": state.status.value, "outputs": state.outputs}

    def __iter__(self) -> Iterator[str]:
        return iter(self._run.definition.places)

    def __len__(self) -> int:
        return len(self._run.definition.places)


def scope_of(run: Run, state: TaskState | None = None) -> dict[str, Any]:
    """The roots of expressions by name (1-definition.md, Expressions), for an item with ``item`` and ``index``."""
    scope: dict[str, Any] = {
        "inputs": run.inputs,
        "tasks": _Tasks(run),
        "execution": {"id": run.id, "started_at": rfc3339(run.started_at or run.now)},
        "workflow": {"id": run.workflow_id},
        "secrets": run.secrets,
        "outputs": {},
    }
    if state is not None and state.item is not None:
        scope |= {"item": run.lists[task_of(state.name)][state.item], "index": state.item}
    return scope
