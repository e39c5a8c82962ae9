"""What expressions of a run can see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dataflow.lib.times import rfc3339
from executions.engine.run import Run


class _Tasks(Mapping[str, Any]):
    """``tasks`` in expressions: status and outputs of each task of the definition."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._names = [task.name for task in run.definition.tasks]

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        self._run.place_of(name)
        state = self._run.task(name)
        return {"status": state.status.value, "outputs": state.outputs}

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def scope_of(run: Run) -> dict[str, Any]:
    """The roots of expressions by name (1-definition.md, Expressions)."""
    started = run.started_at or run.now
    return {
        "inputs": run.inputs,
        "tasks": _Tasks(run),
        "execution": {"id": run.id, "started_at": rfc3339(started)},
        "workflow": {"id": run.workflow_id},
        "secrets": {},
        "outputs": {},
    }
