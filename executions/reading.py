"""Rows of models by prepared statements, for the reads that every request makes: Django's own cost a multiple."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from django.db import connection, models
from django.db.models.base import ModelState

from dataflow.lib.fields import JsonField
from executions.database import moment, rows_of
from executions.models import Execution, TaskRun
from workflows.models import Workflow

Row = TypeVar("Row", bound=models.Model)
_PLACES = ("?",) * 9, ("%s",) * 9
_ONE = "id = {0} AND workflow_id = {1}"
_TASKS = "execution_id = {0} AND item IS NULL ORDER BY position"
#: What an answer tells of a task run; the others are read when they are asked for.
_SHOWN = (
    "id", "name", "items", "waiting", "child", "type", "status", "attempt", "worker", "lease_until", "due_at",
    "started_at", "attempt_started_at", "completed_at", "inputs", "outputs", "stored", "error", "reason", "progress",
    "progress_message", "usage", "log",
)  # fmt: skip


def read(model: type[Row], condition: str, values: Sequence[Any]) -> list[Row]:
    """The whole rows of ``model`` for which ``condition`` holds: SQL with ``{0}``, ``{1}`` … where ``values`` go."""
    plan = _plan(model)
    places = _PLACES[connection.vendor == "postgresql"]
    found = rows_of(plan.select + condition.format(*places), values)
    return [_made(model, plan.names, plan.converted(row)) for row in found]


def read_execution(workflow_id: str, execution_id: str) -> Execution | None:
    """An execution of a workflow."""
    found = read(Execution, _ONE, [execution_id, workflow_id])
    return found[0] if found else None


def read_tasks(execution_id: str) -> list[TaskRun]:
    """The task runs of an execution without those of items, in the order of the definition."""
    return read(TaskRun, _TASKS, [execution_id])


def read_shown(workflow_id: str, execution_id: str) -> tuple[Execution, list[TaskRun]] | None:
    """What ``read_execution`` and ``read_tasks`` give: on PostgreSQL one query, which tells of the archive as well."""
    if connection.vendor != "postgresql":
        execution = read_execution(workflow_id, execution_id)
        return None if execution is None else (execution, read_tasks(execution_id))
    shown = _shown_plan()
    found = rows_of(shown.select, [execution_id, workflow_id])
    if not found:
        return None
    *row, archived_at, runs = found[0]
    execution = _made(Execution, shown.execution.names, shown.execution.converted(row))
    execution.workflow = _made(Workflow, ("id", "archived_at"), (execution.workflow_id, moment(archived_at)))
    return execution, [_made(TaskRun, _SHOWN, shown.runs.converted(run)) for run in runs or ()]


def _made(model: type[Row], names: Sequence[str], values: Sequence[Any]) -> Row:
    """A stored row as ``from_db`` makes it, without the signals: nobody listens, and they cost more than the row."""
    made = model.__new__(model)
    made._state = state = ModelState()  # noqa: SLF001 - as Django makes it
    state.db, state.adding = "default", False
    made.__dict__.update(zip(names, values, strict=True))
    return made


@dataclass(frozen=True, slots=True)
class _Plan:
    """How the rows of a model are read."""

    select: str
    names: Sequence[str]
    converters: list[tuple[int, Callable[[Any], Any]]]

    def converted(self, row: Sequence[Any]) -> list[Any]:
        values = list(row)
        for place, convert in self.converters:
            if values[place] is not None:
                values[place] = convert(values[place])
        return values


@cache
def _plan(model: type[models.Model]) -> _Plan:
    meta = model._meta  # noqa: SLF001 - `_meta` is Django's documented API
    fields = meta.concrete_fields
    columns = ", ".join(f'"{field.column}"' for field in fields)
    converters = [(place, found) for place, field in enumerate(fields) if (found := _converter(field))]
    # Made of a model's own names only.
    select = f'SELECT {columns} FROM "{meta.db_table}" WHERE '  # noqa: S608
    return _Plan(select, [field.attname for field in fields], converters)


@dataclass(frozen=True, slots=True)
class _ShownPlan:
    """How an execution is read with its task runs."""

    select: str
    execution: _Plan
    runs: _Plan


@cache
def _shown_plan() -> _ShownPlan:
    """Task runs come as one list in JSON: the large columns of the execution would be in each row of a join."""
    execution = _plan(Execution)
    fields = [TaskRun._meta.get_field(name) for name in _SHOWN]  # noqa: SLF001 - as above
    columns = ", ".join(f"{field.name}::json" if isinstance(field, JsonField) else field.name for field in fields)
    # Made of the models' own names only.
    select = f"""
SELECT {", ".join(f"e.{field.column}" for field in Execution._meta.concrete_fields)},
  (SELECT archived_at FROM workflows_workflow WHERE id = e.workflow_id),
  (SELECT json_agg(json_build_array({columns}) ORDER BY position)
   FROM executions_taskrun WHERE execution_id = e.id AND item IS NULL)
FROM executions_execution e WHERE e.id = %s AND e.workflow_id = %s
"""  # noqa: S608, SLF001
    converters = [(place, found) for place, field in enumerate(fields) if (found := _from_json(field))]
    return _ShownPlan(select, execution, _Plan("", _SHOWN, converters))


def _from_json(field: Any) -> Callable[[Any], Any] | None:
    """What makes Python's value of a value in JSON, where the two differ: 1.0 is written 1 there."""
    if isinstance(field, models.FloatField):
        return float
    return moment if isinstance(field, models.DateTimeField) else None


def _value(text: str) -> Any:
    """A JSON value; most columns of most rows are empty."""
    return {} if text == "{}" else [] if text == "[]" else json.loads(text)


def _converter(field: models.Field[Any, Any]) -> Callable[[Any], Any] | None:
    """What makes Python's value of the database's, where the two differ on any database."""
    if isinstance(field, JsonField):
        return _value
    if isinstance(field, models.DateTimeField):
        return moment
    return bool if isinstance(field, models.BooleanField) else None
