"""Accepts executions: committed, in the order they are to begin, with their first event."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

from django.db import connection

from dataflow.lib.fields import dump_json
from executions import queue, references
from executions.database import database_now, rows_of, writing
from executions.models import Event, Execution
from executions.store import statements

_JSON = frozenset({"inputs", "outputs", "stored", "error", "labels", "monitoring"})


class ReadFirst(Exception):
    """Nothing was accepted: the workflow was only remembered, and has to be read first."""


def create(row: Execution, *, known_version: int | None = None, flushed: bool = True) -> None:
    """Insert an execution with its first event and tell the workers: one statement on PostgreSQL.

    ``row.wake_at`` may say when it is to begin. Among those that could begin, a higher ``priority`` goes first, then
    the earlier ``pick_at``: the time of arrival, later by a second for each execution of the same workflow that
    waits for a worker already. So a workflow with a thousand waiting does not hold up another's first.

    ``known_version`` says, on PostgreSQL, that the workflow was only remembered, with this current version. Raises
    ``ReadFirst``, with nothing written, where its row has another one by now, is archived, or is gone.

    Without ``flushed`` nobody waits for PostgreSQL's disk: until the execution has ended, or ``flush`` returned, a
    crash of the server may forget it, and nobody is to be told that it was accepted. No try begins before: its claim is
    a commit that is waited for. Quick tasks touch nothing outside; what they gave is waited for.
    """
    row.sequence = 1
    on_sqlite = connection.vendor == "sqlite"
    on_postgresql = partial(_insert_on_postgresql, known_version=known_version or 0, flushed=flushed)
    insert = _insert_on_sqlite if on_sqlite else on_postgresql
    file_ids = references.named_in(row.inputs)
    if file_ids or on_sqlite:
        with writing():
            insert(row)
            references.note(row.pk, file_ids)
    else:
        insert(row)
    row._state.adding = False  # noqa: SLF001 - as Model.save does
    row._state.db = connection.alias  # noqa: SLF001 - the same
    if not queue.notifies():
        queue.ring(row.pk)


def flush() -> None:
    """Return when what was committed before is on PostgreSQL's disk. On SQLite it is there already."""
    if connection.vendor != "sqlite":
        rows_of(statements.FLUSH_POSTGRESQL)


def _insert_on_postgresql(row: Execution, known_version: int, *, flushed: bool) -> None:
    values: dict[str, Any] = {}
    for name in statements.ACCEPTED_COLUMNS:
        value = getattr(row, name)
        values[name] = dump_json(value) if name in _JSON and value is not None else value
    values |= {"wake_at": row.wake_at, "channels": queue.channels(work=True, ended=False)}
    found = rows_of(statements.ACCEPT_POSTGRESQL, values | {"known_version": known_version, "flushed": flushed})
    if not found:
        raise ReadFirst
    row.created_at, row.wake_at, row.pick_at = found[0][:3]


def _insert_on_sqlite(row: Execution) -> None:
    now = database_now()
    rank = rows_of(statements.COUNT_RANK, [row.workflow_id])[0][0]
    row.created_at = now
    row.pick_at = row.wake_at or now + timedelta(seconds=rank)
    row.wake_at = row.wake_at or now
    row.save(force_insert=True)
    Event.objects.create(execution=row, sequence=1, type="execution.created", at=now)
