"""Takes executions whose time has come, and reads what steps decide on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

from django.db import connection

from executions import files
from executions.database import moment, rows_of, writing
from executions.engine.run import EndedChild
from executions.engine.state import ExecutionStatus, TaskState
from executions.models import ALIVE, UNENDED, Event, Execution
from executions.queue import RING_AGAIN
from executions.store import statements
from executions.store.gathering import gather
from executions.store.rows import Loaded, Row, loaded_of, row_of, state_of

_STATES = ", ".join(statements.STATE_COLUMNS)
_ROW = ", ".join(statements.ROW_COLUMNS)
_CURRENT = ", ".join(f"'{status}'" for status in UNENDED)
_STATES_OF = (
    f"SELECT {_STATES} FROM executions_taskrun WHERE execution_id = {{id}} "  # noqa: S608 - made of constants only
    f"AND (item IS NULL OR status IN ({_CURRENT}))"
)
_LOCK_POSTGRESQL = (
    f"SELECT {_ROW}, clock_timestamp() FROM executions_execution "  # noqa: S608 - made of constants only
    "WHERE id = %(id)s FOR UPDATE"
)
_READ_SQLITE = (
    f"SELECT {_ROW}, STRFTIME('%Y-%m-%dT%H:%M:%f+00:00', 'NOW') "  # noqa: S608 - made of constants only
    "FROM executions_execution WHERE id = :id"
)


def take(limit: int) -> list[Loaded]:
    """Take up to ``limit`` executions whose time has come: nobody else does for a while.

    What runs goes before what is new; the rest is the order of ``pick_at``. One statement on PostgreSQL.
    """
    again = RING_AGAIN.total_seconds()
    if connection.vendor == "sqlite":
        found = _take_sqlite(limit, again)
    else:
        placed = rows_of(statements.TAKE_POSTGRESQL, {"limit": limit, "again": again})
        found = [values[1:] for values in sorted(placed, key=lambda values: values[0])]
    return [_loaded(row_of(values[:-1]), moment(values[-1])) for values in found]


def seconds_to_next() -> float | None:
    """Seconds until an execution is due (below 0: it is); ``None`` when none will be."""
    statement = statements.NEXT_DUE_SQLITE if connection.vendor == "sqlite" else statements.NEXT_DUE_POSTGRESQL
    found: float | None = rows_of(statement)[0][0]
    return found


def load(execution_id: str) -> Loaded | None:
    """Lock an execution and read it with its tasks; ``None`` where there is none. Within ``database.writing()``."""
    statement = _READ_SQLITE if connection.vendor == "sqlite" else _LOCK_POSTGRESQL
    found = rows_of(statement, {"id": execution_id})
    return _loaded(row_of(found[0][:-1]), moment(found[0][-1])) if found else None


def load_unless_locked(execution_id: str) -> Loaded | None:
    """As ``load``; but ``None`` for one that somebody is stepping at the moment."""
    free = Execution.objects.select_for_update(skip_locked=True).filter(pk=execution_id)
    return load(execution_id) if free.values_list("pk", flat=True).first() is not None else None


def _take_sqlite(limit: int, again: float) -> list[tuple[Any, ...]]:
    # Looking needs no lock; most of the time there is nothing.
    due = rows_of(statements.FIND_DUE_SQLITE, {"limit": limit})
    if not due:
        return []
    with writing():
        return [values for (key,) in due for values in rows_of(statements.TAKE_SQLITE, {"id": key, "again": again})]


def _loaded(row: Row, now: datetime | None) -> Loaded:
    assert now is not None
    loaded = loaded_of(row, _states_of(row), now)
    loaded.run.gather = partial(gather, loaded)
    loaded.run.children = _ended_children(loaded)
    loaded.run.begun_at = _begun_at(loaded)
    return loaded


def _states_of(row: Row) -> list[TaskState]:
    if row.started_at is None and row.sequence == 1:
        return []  # accepted and nothing else
    place = ":id" if connection.vendor == "sqlite" else "%(id)s"
    return [state_of(values, row.id) for values in rows_of(_STATES_OF.format(id=place), {"id": row.id})]


def _begun_at(loaded: Loaded) -> datetime | None:
    """When an execution that was resumed began again, which its log knows; asked for where a timeout counts from it."""
    run = loaded.run
    if run.resumed_at is None or run.definition.timeout is None or run.status is not ExecutionStatus.RUNNING:
        return None
    begun = Event.objects.filter(execution_id=run.id, type="execution.started").order_by("-sequence")
    return begun.values_list("at", flat=True).first()


def _ended_children(loaded: Loaded) -> Mapping[str, EndedChild]:
    """How the executions ended that tasks wait for, by their ids."""
    states = (loaded.run.tasks[name] for name in loaded.run.waiting)
    waited_for = [state.child for state in states if state.waits_for == "child"]
    if not waited_for:
        return {}
    ended = Execution.objects.filter(pk__in=waited_for).exclude(status__in=ALIVE)
    return {
        child.pk: EndedChild(
            status=ExecutionStatus(child.status),
            outputs=None if child.outputs is None else files.LazyOutputs(child.outputs, child.stored),
            error=child.error,
        )
        for child in ended.only("id", "status", "outputs", "stored", "error")
    }
