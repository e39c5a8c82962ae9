"""One execution in memory while a step decides: its tasks, and what the step changed.

The store loads a ``Run``, the planner and the functions of ``outcomes`` change it, the store writes what changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from executions.engine.state import (
    EXECUTION_TRANSITIONS,
    TASK_TRANSITIONS,
    Event,
    ExecutionStatus,
    TaskState,
    TaskStatus,
)
from workflows.definition import Definition, Task

_TASK_EVENTS = {
    TaskStatus.RUNNING: "task.started",
    TaskStatus.COMPLETED: "task.completed",
    TaskStatus.FAILED: "task.failed",
    TaskStatus.SKIPPED: "task.skipped",
    TaskStatus.CANCELLED: "task.cancelled",
    TaskStatus.WAITING: "task.waiting",
    TaskStatus.PENDING: "task.requeued",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedTry:
    """A try that ended without completing its task."""

    task: str
    attempt: int
    error: Mapping[str, Any] | None


@dataclass(slots=True, kw_only=True)
class Run:
    """An execution and its tasks. ``now`` is the database's clock at the start of the step."""

    id: str
    workflow_id: str
    definition: Definition
    status: ExecutionStatus
    inputs: Mapping[str, Any]
    created_at: datetime
    now: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    outputs: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    tasks: dict[str, TaskState] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    events: list[Event] = field(default_factory=list)
    ended_tries: list[EndedTry] = field(default_factory=list)
    _places: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self._places = {task.name: place for place, task in enumerate(self.definition.tasks)}

    def place_of(self, name: str) -> int:
        """Where a task stands in the definition, from 0. ``KeyError`` where it has none of that name."""
        return self._places[name]

    def definition_of(self, name: str) -> Task:
        """A task of the definition."""
        return self.definition.tasks[self._places[name]]

    def task(self, name: str) -> TaskState:
        """The state of a task; PENDING where nothing was said yet."""
        return self.tasks.get(name) or TaskState(name=name)

    def states(self) -> Iterator[tuple[Task, TaskState]]:
        """Every task of the definition, in order, with its state."""
        for task in self.definition.tasks:
            yield task, self.task(task.name)

    @property
    def deadline(self) -> datetime | None:
        """When the workflow's ``timeout`` ends it."""
        if self.definition.timeout is None or self.started_at is None:
            return None
        return self.started_at + timedelta(seconds=self.definition.timeout)

    def move(self, name: str, status: TaskStatus, *, data: Mapping[str, Any] | None = None, **changes: Any) -> None:
        """Take a task to ``status`` with ``changes`` to its state, and log it.

        Raises ``ValueError`` for a step that the table of states does not have.
        """
        before = self.task(name)
        if status not in TASK_TRANSITIONS[before.status]:
            raise ValueError(f"task {name}: {status} cannot follow {before.status}")
        if status.ended:
            changes = {"completed_at": self.now, "lease_until": None, "due_at": None} | changes
        if before.status is TaskStatus.RUNNING and status is not TaskStatus.COMPLETED:
            self.ended_tries.append(EndedTry(task=name, attempt=before.attempt, error=changes.get("error")))
        after = replace(before, status=status, **changes)
        self.tasks[name] = after
        self.changed.add(name)
        self.events.append(Event(type=_TASK_EVENTS[status], task=name, attempt=after.attempt, data=data))

    def begin(self) -> None:
        """PENDING → RUNNING, once."""
        if self.status is ExecutionStatus.PENDING:
            self._become(ExecutionStatus.RUNNING)
            self.started_at = self.now

    def end(
        self,
        status: ExecutionStatus,
        *,
        outputs: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
        because: str = "",
    ) -> None:
        """End the execution; whatever has not ended is CANCELLED, and says ``because`` of what."""
        for task, state in self.states():
            if not state.status.ended:
                verb = "Stopped" if state.attempt else "Not run"
                self.move(task.name, TaskStatus.CANCELLED, reason=f"{verb} because {because}.")
        self._become(status)
        self.completed_at = self.now
        self.outputs = outputs
        self.error = error

    def _become(self, status: ExecutionStatus) -> None:
        if status not in EXECUTION_TRANSITIONS[self.status]:
            raise ValueError(f"execution {self.id}: {status} cannot follow {self.status}")
        self.status = status
        name = "started" if status is ExecutionStatus.RUNNING else status.lower()
        self.events.append(Event(type=f"execution.{name}"))
