"""An execution as a step reads it: its row, and the run that the engine makes of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from executions import files
from executions.database import Clock, moment
from executions.definitions import DefinitionBroken, definition_of
from executions.engine.outcomes import Notes
from executions.engine.planner import Claim
from executions.engine.run import Run
from executions.engine.state import ExecutionStatus, Items, TaskState, TaskStatus, task_of
from executions.hidden import Hidden
from executions.models import Execution
from executions.store.statements import ROW_COLUMNS, STATE_COLUMNS
from workflows.definition import Definition, Task

logger = logging.getLogger(__name__)

#: Nobody minds that a try began so much later than its claim was decided on.
_SHORT = timedelta(seconds=0.1)
#: No task type has this name.
BROKEN_TYPE = "missing task type"


@dataclass(slots=True, kw_only=True)
class Row:
    """The columns of an execution that steps read and change; as ``executions.models.Execution`` names them."""

    id: str
    workflow_id: str
    version_id: int
    workflow_version: int
    status: str
    inputs: Mapping[str, Any]
    monitoring: Mapping[str, Any] | None
    sequence: int
    revision: int
    created_at: datetime
    started_at: datetime | None
    resumed_at: datetime | None
    concurrency_key: str
    concurrency_limit: int | None
    parent_id: str | None
    parent_task: str
    depth: int
    takes: int = 0
    completed_at: datetime | None = None
    error: Mapping[str, Any] | None = None
    outputs: Mapping[str, Any] | None = None
    stored: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Loaded:
    """An execution that a step works on: its row, its run, the database's clock, and what the step has to say.

    ``hidden`` is what nothing that is written may show.
    ``known`` names the task runs that have a row. ``notes`` are those of the tries that ended in this step, ``claims``
    the tries it starts, ``children`` the executions it starts.
    """

    row: Row
    run: Run
    clock: Clock
    hidden: Hidden
    known: set[str]
    notes: dict[str, Notes] = field(default_factory=dict)
    claims: dict[str, Claim] = field(default_factory=dict)
    children: list[Execution] = field(default_factory=list)
    #: Whether it waits for a slot: then nobody looks until one is free.
    is_parked: bool = False
    #: Why its definition cannot run here any more; empty where it can. Then it ends, and nothing is planned.
    broken: str = ""

    def tick(self) -> None:
        """Set the run's time to the database's present time."""
        self.run.now = self.clock.now()

    def begin_tries(self) -> None:
        """Count new tries and their leases from now: the save may have waited for its turn since they were claimed."""
        waited = self.clock.now() - self.run.now
        if waited < _SHORT:
            return
        for name in self.claims:
            state = self.run.tasks.get(name)
            if state is not None and state.lease_until is not None and state.attempt_started_at is not None:
                began = state.attempt_started_at + waited
                self.run.note(name, lease_until=state.lease_until + waited, attempt_started_at=began)


def row_of(values: Sequence[Any]) -> Row:
    """A row from what a hot statement gives of ``ROW_COLUMNS``."""
    named = dict(zip(ROW_COLUMNS, values, strict=True))
    for name in ("inputs", "monitoring"):
        named[name] = None if named[name] is None else json.loads(named[name])
    for name in ("created_at", "started_at", "resumed_at"):
        named[name] = moment(named[name])
    return Row(**named)


def state_of(values: Sequence[Any], execution_id: str) -> TaskState:
    """A state from what a hot statement gives of ``STATE_COLUMNS``; its outputs are read when they are asked for."""
    named = dict(zip(STATE_COLUMNS, values, strict=True))
    for name in ("error", "waiting", "items"):
        named[name] = None if named[name] is None else json.loads(named[name])
    for name in ("lease_until", "due_at", "started_at", "attempt_started_at", "completed_at"):
        named[name] = moment(named[name])
    for name in ("on_fallback", "repeatable"):
        named[name] = bool(named[name])
    named["status"] = TaskStatus(named["status"])
    named["items"] = None if named["items"] is None else Items(**named["items"])
    if named["status"] is TaskStatus.COMPLETED:
        named["outputs"] = files.LazyOutputs.of_task(execution_id, named["name"])
    return TaskState(**named)


def loaded_of(row: Row, states: Sequence[TaskState], now: datetime) -> Loaded:
    """A row and its task runs as the engine takes them."""
    definition, broken = _definition_of(row, states)
    hidden = Hidden(definition, row.inputs, row.parent_id)
    run = Run(
        id=row.id,
        workflow_id=row.workflow_id,
        definition=definition,
        status=ExecutionStatus(row.status),
        inputs=row.inputs,
        created_at=row.created_at,
        now=now,
        started_at=row.started_at,
        resumed_at=row.resumed_at,
        tasks={state.name: state for state in states},
        secrets=hidden,
    )
    known = {state.name for state in states}
    return Loaded(row=row, run=run, clock=Clock(now), hidden=hidden, known=known, broken=broken)


def _definition_of(row: Row, states: Sequence[TaskState]) -> tuple[Definition, str]:
    """The frozen definition; in place of one that cannot run here any more the tasks that are known, and why."""
    try:
        return definition_of(row.version_id), ""
    except DefinitionBroken as broken:
        logger.warning("%s: %s", row.id, broken)
        names = dict.fromkeys([*(task_of(state.name) for state in states), "definition"])
        tasks = tuple(Task(name=name, type=BROKEN_TYPE, spelled_type=BROKEN_TYPE, inputs={}) for name in names)
        return Definition(title="", description="", inputs=(), tasks=tasks, outputs=()), str(broken)
