"""Fills the tables with finished executions, by copying one that really ran: whatever the columns are."""

from __future__ import annotations

from bench.database import Database, PostgresDatabase
from bench.installation import Installation, post

_BATCH = 50_000
#: Ids that lie scattered in the index as real ones do: an odd factor keeps them apart.
_SCATTERED = "((n.n * 2654435761) & 4294967295)"


def seed(running: Installation, path: str, *, rows: int) -> None:
    """Add ``rows`` copies of a finished execution of ``path``, one a second into the past, with tasks and events."""
    template = post(running, f"{path}?wait=60")["url"].rsplit("/", 1)[1]
    database = running.database
    for first in range(1, rows + 1, _BATCH):
        last = min(first + _BATCH - 1, rows)
        _copy(database, "executions_execution", "id", template, first, last)
        for table in ("executions_taskrun", "executions_event"):
            _copy(database, table, "execution_id", template, first, last)
    if isinstance(database, PostgresDatabase):
        database.clean_up()


def _copy(database: Database, table: str, key: str, template: str, first: int, last: int) -> None:
    new = _new_values(database)
    columns = [name for name in database.columns(table) if key == "id" or name != "id"]
    values = ", ".join(new.get(name, f't."{name}"') for name in columns)
    names = ", ".join(f'"{name}"' for name in columns)
    database.change(
        f"INSERT INTO {table} ({names}) {_numbers(database, first, last)} SELECT {values} FROM n, {table} t"
        f" WHERE t.{key} = %s",
        [template],
    )


def _numbers(database: Database, first: int, last: int) -> str:
    if isinstance(database, PostgresDatabase):
        return f"WITH n AS (SELECT generate_series({first}::bigint, {last}) AS n)"
    return f"WITH RECURSIVE n(n) AS (VALUES ({first}) UNION ALL SELECT n + 1 FROM n WHERE n < {last})"


def _new_values(database: Database) -> dict[str, str]:
    if isinstance(database, PostgresDatabase):
        key, at = f"to_hex({_SCATTERED})", "t.created_at - n.n * interval '1 second'"
    else:
        # As Django writes a moment there.
        key = f"printf('%x', {_SCATTERED})"
        at = "strftime('%Y-%m-%d %H:%M:%f', t.created_at, '-' || n.n || ' seconds') || '000'"
    return {"id": f"'we-' || {key}", "execution_id": f"'we-' || {key}", "created_at": at}
