"""``python -m bench.floor``: executions by bare psycopg, with nothing around them: what database and disk allow.

Either the same commits as those of a durable execution, one to accept it and one for each step, each of them a single
statement as ours are. They write the rows of
one that really ran, into copies of the tables with their indexes but without their foreign keys; like a start with
``?wait``, the first of them does not wait for the disk, where the next one does. Or the leanest thing
that can be called durable: four commits of one small row. There are no claims, no notifications, no HTTP and no
decisions. Two such processes with ten callers each stand against our two worker processes.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import psycopg
from psycopg.rows import dict_row

PROCESSES = 2
#: The columns of an execution that a step writes; the others stay as they were accepted.
_CHANGED = (
    "status", "sequence", "revision", "takes", "wake_at", "started_at", "completed_at", "error", "outputs", "stored",
    "secrets",
)  # fmt: skip
_TABLES = ("execution", "taskrun", "event")
_LEAN_COMMITS = 4
_LEAN_TABLE = "CREATE TABLE bench_floor_lean (id text PRIMARY KEY, step int NOT NULL, state jsonb NOT NULL)"
_LEAN_STATE = json.dumps({"status": "RUNNING", "outputs": {"text": "!dlrow ,olleH"}})

Row = Mapping[str, Any]
#: One execution, from its start to its end.
Execute = Callable[[psycopg.Connection], None]


def same_commits(url: str, *, like: str, executions: int, clients: int) -> float:
    """Executions a second that write what the finished execution ``like`` consists of."""
    tables = [f"bench_floor_{name} (LIKE executions_{name} INCLUDING ALL)" for name in _TABLES]
    return _measured(url, [f"CREATE TABLE {table}" for table in tables], executions, clients, like)


def lean_commits(url: str, *, executions: int, clients: int) -> float:
    """Executions a second of ``_LEAN_COMMITS`` commits of one small row."""
    return _measured(url, [_LEAN_TABLE], executions, clients, "")


def _measured(url: str, tables: Sequence[str], executions: int, clients: int, like: str) -> float:
    with psycopg.connect(url, autocommit=True) as connection:
        for table in tables:
            connection.execute(table.encode())
        try:
            return _run(url, executions // PROCESSES, clients // PROCESSES, like)
        finally:
            # Autovacuum would clean them up in the middle of a later measure.
            for table in tables:
                connection.execute(f"DROP TABLE {table.split()[2]}".encode())


def _run(url: str, executions: int, clients: int, like: str) -> float:
    command = [sys.executable, "-m", "bench.floor", url, str(executions), str(clients), like]
    here = Path(__file__).resolve().parents[1]
    loops = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=here)
        for _ in range(PROCESSES)
    ]
    for loop in loops:
        _pipe(loop.stdout).readline()
    for loop in loops:
        _pipe(loop.stdin).write("go\n")
        _pipe(loop.stdin).flush()
    seconds = max(float(loop.communicate()[0]) for loop in loops)
    return executions * PROCESSES / seconds


def _pipe(end: IO[str] | None) -> IO[str]:
    assert end is not None
    return end


@dataclass(frozen=True, slots=True, kw_only=True)
class _Write:
    """A statement with its values, but for the execution's id and the time, which are each execution's own."""

    statement: bytes
    values: Row
    ids: tuple[str, ...]
    times: tuple[str, ...]

    def send(self, connection: psycopg.Connection, key: str) -> None:
        own = dict.fromkeys(self.ids, key) | dict.fromkeys(self.times, datetime.now(UTC))
        connection.execute(self.statement, {**self.values, **own}, prepare=True)


def _together(*writes: tuple[str, Row], unflushed: bool) -> _Write:
    """Several as one statement, hence one round trip and one commit."""
    parts = ", ".join(f"part{place} AS ({statement} RETURNING 1)" for place, (statement, _) in enumerate(writes))
    told = "set_config('synchronous_commit', 'off', true)" if unflushed else "1"
    values = {name: value for _, one in writes for name, value in one.items()}
    return _Write(
        statement=f"WITH {parts} SELECT {told}".encode(),
        values=values,
        ids=tuple(name for name in values if name.startswith(("id_", "execution_id_"))),
        times=tuple(name for name, value in values.items() if isinstance(value, datetime)),
    )


def _insert(table: str, rows: Sequence[Row]) -> tuple[str, Row]:
    columns = list(rows[0])
    values = {f"{name}_{table}{place}": row[name] for place, row in enumerate(rows) for name in columns}
    places = ", ".join(
        f"({', '.join(f'%({name}_{table}{place})s' for name in columns)})" for place, _ in enumerate(rows)
    )
    return f"INSERT INTO bench_floor_{table} ({', '.join(columns)}) VALUES {places}", values


def _update(changes: Row) -> tuple[str, Row]:
    values = {f"{name}_": value for name, value in changes.items()}
    settings = ", ".join(f"{name} = %({name}_)s" for name in changes)
    return f"UPDATE bench_floor_execution SET {settings} WHERE id = %(id_)s", values | {"id_": ""}


def _rows(connection: psycopg.Connection, query: str, like: str) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode(), [like]).fetchall()


def _commits(connection: psycopg.Connection, like: str) -> list[_Write]:
    """What each commit of the finished execution ``like`` wrote: its row and first event, then step after step."""
    (ended,) = _rows(connection, "SELECT * FROM executions_execution WHERE id = %s", like)
    runs = _rows(connection, "SELECT * FROM executions_taskrun WHERE execution_id = %s ORDER BY position", like)
    events = _rows(connection, "SELECT * FROM executions_event WHERE execution_id = %s ORDER BY sequence", like)
    for row in (*runs, *events):
        del row["id"]  # the database's own number
    at = ended["created_at"]
    accepted = ended | {"status": "PENDING", "sequence": 1, "revision": 0, "wake_at": at}
    accepted |= {"started_at": None, "completed_at": None, "outputs": None}
    commits = [_together(_insert("execution", [accepted]), _insert("event", events[:1]), unflushed=True)]
    told = 1
    for run in runs:
        changes = {name: ended[name] for name in _CHANGED}
        first, told = told, len(events)
        if run is not runs[-1]:
            told = max(place for place, event in enumerate(events, 1) if event["task"] == run["name"])
            changes |= {"status": "RUNNING", "sequence": told, "wake_at": at, "completed_at": None, "outputs": None}
        writes = _update(changes), _insert("taskrun", [run]), _insert("event", events[first:told])
        commits.append(_together(*writes, unflushed=False))
    return commits


def _same(connection: psycopg.Connection, like: str) -> Execute:
    commits = _commits(connection, like)

    def execute(connection: psycopg.Connection) -> None:
        key = f"we-{uuid.uuid4().hex}"
        for write in commits:
            write.send(connection, key)

    return execute


def _lean(connection: psycopg.Connection) -> None:
    key = uuid.uuid4().hex
    connection.execute("INSERT INTO bench_floor_lean VALUES (%s, 0, %s)", [key, _LEAN_STATE], prepare=True)
    for step in range(1, _LEAN_COMMITS):
        statement = "UPDATE bench_floor_lean SET step = step + 1, state = %s WHERE id = %s AND step = %s"
        connection.execute(statement, [_LEAN_STATE, key, step - 1], prepare=True)


def _loop(url: str, executions: int, clients: int, like: str) -> None:
    connections = [psycopg.connect(url, autocommit=True) for _ in range(clients)]
    execute = _same(connections[0], like) if like else _lean
    numbers = itertools.count()

    def caller(connection: psycopg.Connection) -> None:
        while next(numbers) < executions:
            execute(connection)

    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(caller, connections))
    print(time.perf_counter() - start)


if __name__ == "__main__":
    _loop(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
