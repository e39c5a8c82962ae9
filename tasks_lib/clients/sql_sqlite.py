"""SQLite files: only one that is there, only it, and not the platform's own."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from tasks_lib.clients.sql_statement import Statement

if TYPE_CHECKING:  # slow
    from sqlalchemy import URL

#: Bytes of one value, seconds to wait for another writer's lock, steps of the machine between two looks at the clock.
MAX_VALUE, LOCK_WAIT, STEPS = 10 * 1024 * 1024, 5.0, 10_000
#: Tables that together only the platform's own database has.
_OWN_TABLES = ("executions_taskrun", "workflows_workflowversion")
_READING = frozenset({"table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list"})
_REFUSED = frozenset({sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH})
_CODES: dict[int, tuple[str, bool]] = {
    sqlite3.SQLITE_BUSY: ("communication", True),
    sqlite3.SQLITE_LOCKED: ("communication", True),
    sqlite3.SQLITE_READONLY: ("authorization", False),
    sqlite3.SQLITE_AUTH: ("authorization", False),
    sqlite3.SQLITE_PERM: ("authorization", False),
    sqlite3.SQLITE_CANTOPEN: ("communication", False),
    sqlite3.SQLITE_NOTADB: ("validation", False),
    sqlite3.SQLITE_ERROR: ("validation", False),
    sqlite3.SQLITE_CONSTRAINT: ("validation", False),
    sqlite3.SQLITE_MISMATCH: ("validation", False),
    sqlite3.SQLITE_RANGE: ("validation", False),
    sqlite3.SQLITE_TOOBIG: ("too_large", False),
}


class _Rows:
    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor
        self.columns: Sequence[str] = [str(column[0]) for column in cursor.description or ()]
        self.rows = self._read()

    @property
    def affected(self) -> int | None:
        return self._cursor.rowcount if self._cursor.rowcount >= 0 else None

    def _read(self) -> Generator[Sequence[Any], None, None]:
        with _translated():
            yield from self._cursor


class SQLite:
    """How an SQLite file is asked."""

    lists = False

    @contextmanager
    def answering(self, url: URL, statement: Statement, cancellation: Cancellation, *, write: bool) -> Iterator[_Rows]:
        """Run the statement on the file; see ``sql.Backend``."""
        from sqlalchemy.dialects import sqlite  # only databases need it

        compiled = statement.clause.compile(dialect=sqlite.dialect(paramstyle="named"))
        with _translated(), closing(_opened(_file(url), write=write)) as connection:
            _confine(connection, cancellation)
            with closing(connection.cursor()) as cursor:
                cursor.execute(str(compiled), compiled.params)
                answer = _Rows(cursor)
                with closing(answer.rows):
                    yield answer
                    for _ in answer.rows if write else ():
                        pass  # a statement that gives rows is done when they are read
            connection.commit()


def _file(url: URL) -> Path:
    """The file that the URL names. Raises ``validation`` for what is none."""
    path = Path(url.database or "")
    if not path.is_absolute() or url.query or url.host:
        message = "The connection must name an SQLite file by its whole path: sqlite:////data/shop.db (four slashes)."
        raise TaskError("validation", message)
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        is_file = False
    if not is_file:
        raise TaskError("validation", "The SQLite file of the connection is not there. None is created.")
    return path


def _opened(path: Path, *, write: bool) -> sqlite3.Connection:
    mode = "rw" if write else "ro"
    address = f"file:{quote(str(path))}?mode={mode}"
    # Cursors may end in the thread of another one where an answer is left behind.
    connection = sqlite3.connect(address, uri=True, timeout=LOCK_WAIT, check_same_thread=False)
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA temp_store = MEMORY")
        if not write:
            connection.execute("PRAGMA query_only = ON")
        _refuse_own(connection)
    except BaseException:  # whatever ends it, the file is closed; it goes on
        connection.close()
        raise
    return connection


def _refuse_own(connection: sqlite3.Connection) -> None:
    found = connection.execute(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN (?, ?)", _OWN_TABLES
    ).fetchone()
    if found[0] == len(_OWN_TABLES):
        raise TaskError("authorization", "The connection leads to the platform's own database, which no task may read.")


def _confine(connection: sqlite3.Connection, cancellation: Cancellation) -> None:
    """No other file (ATTACH, VACUUM INTO), no pragma that changes anything, and an end in time."""

    def allowed(action: int, first: str | None, *_: object) -> int:
        changing = action == sqlite3.SQLITE_PRAGMA and (first or "").lower() not in _READING
        return sqlite3.SQLITE_DENY if changing or action in _REFUSED else sqlite3.SQLITE_OK

    connection.set_authorizer(allowed)
    connection.set_progress_handler(lambda: int(cancellation.error is not None), STEPS)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what ``sqlite3`` raises into a ``TaskError``."""
    try:
        yield
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise _task_error(error) from None
    except OverflowError:
        raise TaskError("validation", "A number in `parameters` is beyond the 64 bits that SQLite holds.") from None
    except UnicodeError:
        raise TaskError("output_invalid", "A text in the database is not UTF-8. Ask for hex(column) instead.") from None


def _task_error(error: Exception) -> TaskError:
    said = str(error)[:500]
    primary = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if "UTF-8" in said:
        return TaskError("output_invalid", "A text in the database is not UTF-8. Ask for hex(column) instead.")
    code, retryable = _CODES.get(primary, ("provider_error", False))
    hint = ""
    if primary == sqlite3.SQLITE_READONLY:
        hint = ". To write, the task needs `write`, and the connection must not be read-only"
    return TaskError(code, f"SQLite says: {said}{hint}.", retryable)
