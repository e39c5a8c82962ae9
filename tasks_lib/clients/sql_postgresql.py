"""PostgreSQL by psycopg: one statement in a transaction of its own, row by row, cancelled on the server."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from tasks_lib.clients.deadlines import interrupting
from tasks_lib.clients.sql_statement import Statement, place

if TYPE_CHECKING:  # slow
    import psycopg
    from sqlalchemy import URL

#: Seconds to connect, for the server to hear that it must stop, and then to stop before the line is cut.
CONNECT_TIMEOUT, CANCEL_TIMEOUT, GRACE = 10, 3.0, 2.0
#: Milliseconds that the server is given beyond the deadline; it ends the statement should this process be gone.
_MARGIN = 5_000
#: Where no file can be: no password is taken from one of the account that runs this.
_NO_FILE = f"{os.devnull}/none"
#: By SQLSTATE, the longest beginning that fits: code, and whether another try could help.
_STATES: dict[str, tuple[str, bool]] = {
    "08": ("communication", True),
    "0A": ("validation", False),
    "22": ("validation", False),
    "23": ("validation", False),
    "25": ("validation", False),
    "25006": ("authorization", False),
    "28": ("authentication", False),
    "2D": ("validation", False),
    "3D": ("validation", False),
    "3F": ("validation", False),
    "40": ("communication", True),
    "42": ("validation", False),
    "42501": ("authorization", False),
    "53": ("communication", True),
    "53300": ("rate_limited", True),
    "54": ("too_large", False),
    "55P03": ("communication", True),
    "57014": ("timeout", True),
    "57P": ("communication", True),
}
#: A failed connection has no SQLSTATE, only the words of the server or of libpq.
_REFUSED_LOGIN = re.compile(
    r"password authentication failed|no password supplied|role .* does not exist|authentication failed"
    r"|no pg_hba\.conf entry|not permitted to log in|certificate verify failed",
    re.IGNORECASE,
)
#: What a statement begins with that a read-only transaction holds, behind space, brackets, semicolons and comments (not
#: nested ones). It does not hold COPY, DO and LOAD: with them a superuser runs programs on the server.
_HELD = re.compile(
    r"(?:[\s(;]|--[^\r\n]*|/\*(?:(?!/\*|\*/).)*\*/)*+"
    r"(?:SELECT|WITH|VALUES|TABLE|SHOW|EXPLAIN|INSERT|UPDATE|DELETE|MERGE|CREATE|DROP|TRUNCATE)\b",
    re.IGNORECASE | re.DOTALL | re.ASCII,
)
#: Tables that together only the platform's own database has, and whether it is that.
_OWN_TABLES = ["executions_taskrun", "workflows_workflowversion"]
_OWN = "SELECT count(DISTINCT relname) = 2 FROM pg_catalog.pg_class WHERE relname = ANY(%s) AND relkind IN ('r', 'p')"
_REFUSED_DATABASE = re.compile(r"database .* does not exist", re.IGNORECASE)


class _Rows:
    """``columns`` are known once the first row is read, or the end is reached."""

    def __init__(self, cursor: Any, statement: str, parameters: Sequence[Any], cancellation: Cancellation) -> None:
        self._cursor = cursor
        self._arguments = (statement, parameters)
        self._cancellation = cancellation
        self.rows = self._read()

    @property
    def columns(self) -> Sequence[str]:
        return [str(column.name) for column in self._cursor.description or ()]

    @property
    def affected(self) -> int | None:
        return self._cursor.affected  # type: ignore[no-any-return]  # of the class made below

    def _read(self) -> Generator[Sequence[Any], None, None]:
        with _interruptible(self._cursor.connection, self._cancellation):
            yield from self._cursor.stream(*self._arguments)


class PostgreSQL:
    """How PostgreSQL is asked."""

    lists = True

    @contextmanager
    def answering(self, url: URL, statement: Statement, cancellation: Cancellation, *, write: bool) -> Iterator[_Rows]:
        """Run the statement; see ``sql.Backend``."""
        if not write and not _HELD.match(statement.written):
            message = "Without `write`, a statement is a SELECT, or VALUES, TABLE, SHOW, EXPLAIN or WITH of one."
            raise TaskError("validation", message)
        compiled = statement.clause.compile(dialect=_dialect())
        parameters = [compiled.params[name] for name in compiled.positiontup or ()]
        sent = str(compiled)
        with _translated(statement, sent, write=write), _connected(url, cancellation) as connection:
            cancellation.check()
            _begin(connection, cancellation, write=write)
            answer = _Rows(_streaming_cursor(connection), sent, parameters, cancellation)
            with contextlib.closing(answer.rows):
                yield answer
                for _ in answer.rows if write else ():
                    pass  # a statement that gives rows is done when they are read
            if write:
                with _interruptible(connection, cancellation):
                    connection.commit()
            else:
                connection.rollback()


def _dialect() -> Any:
    from sqlalchemy.dialects.postgresql import psycopg as dialect  # only databases need it

    # ``$1`` for parameters: the server takes what is sent as it is, so it can say where an error stands.
    return dialect.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]  # of SQLAlchemy


@contextmanager
def _connected(url: URL, cancellation: Cancellation) -> Iterator[psycopg.Connection[Any]]:
    import psycopg  # slow, and only databases need it

    if not url.host and "host" not in url.query:
        raise TaskError("validation", "The URL of the connection names no host.")
    left = cancellation.remaining()
    limit = CONNECT_TIMEOUT if left is None else max(2, min(CONNECT_TIMEOUT, int(left) + 1))  # libpq's least is 2
    defaults = {"connect_timeout": limit, "application_name": "dataflow", "passfile": _NO_FILE}
    options: dict[str, Any] = {name: value for name, value in defaults.items() if name not in url.query}
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        connection = psycopg.connect(address, client_encoding="utf-8", **options)
    except psycopg.OperationalError as error:
        raise _connect_error(error) from None
    with contextlib.closing(connection):
        yield connection


def _begin(connection: psycopg.Connection[Any], cancellation: Cancellation, *, write: bool) -> None:
    """Begin the transaction. After its first query it cannot be made to write any more."""
    left = cancellation.remaining()
    with _interruptible(connection, cancellation):
        if not write:
            connection.execute("SET TRANSACTION READ ONLY")
        limit = "0" if left is None else str(int(left * 1000) + _MARGIN)
        connection.execute(
            "SELECT set_config('statement_timeout', %s, true), set_config('TimeZone', 'UTC', true)", [limit]
        )
        own = connection.execute(_OWN, [_OWN_TABLES]).fetchone()
    if own and own[0]:
        raise TaskError("authorization", "The connection leads to the platform's own database, which no task may read.")


def _streaming_cursor(connection: psycopg.Connection[Any]) -> Any:
    """A cursor that reads row by row, and knows the columns of no rows and how many rows were changed."""
    import psycopg  # slow, and only databases need it
    from psycopg.generators import fetch  # the same
    from psycopg.pq import ExecStatus  # the same

    class Cursor(psycopg.RawCursor[Any]):
        affected: int | None = None

        def _stream_fetchone_gen(self, first: bool) -> Any:  # noqa: FBT001  as psycopg has it
            """As psycopg's own, but it keeps what the end of the rows says, and takes statements without rows."""
            result = yield from fetch(self._pgconn)
            if result is None:
                return None
            if result.status in (ExecStatus.SINGLE_TUPLE, ExecStatus.TUPLES_CHUNK):
                self.pgresult = result
                self._tx.set_pgresult(result, set_loaders=first)
                if first:
                    self._make_row = self._make_row_maker()
                return result
            if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
                return self._raise_for_result(result)
            self.affected = result.command_tuples
            if first:
                self.pgresult = result
            while result is not None:
                result = yield from fetch(self._pgconn)
            return None

    return Cursor(connection)


@contextmanager
def _interruptible(connection: psycopg.Connection[Any], cancellation: Cancellation) -> Iterator[None]:
    """End what runs on ``connection`` when the task has to end: by a word to the server, else by cutting the line."""
    import psycopg  # slow, and only databases need it

    over = threading.Event()
    line = socket.socket(fileno=os.dup(connection.fileno()))

    def end() -> None:
        with contextlib.suppress(psycopg.Error, OSError):  # it has ended by itself
            connection.cancel_safe(timeout=CANCEL_TIMEOUT)
        if not over.wait(GRACE):
            with contextlib.suppress(OSError):  # it is closed
                line.shutdown(socket.SHUT_RDWR)

    def cut() -> None:
        threading.Thread(target=end, name="sql-cancel", daemon=True).start()

    with contextlib.closing(line), interrupting(cancellation, cut):
        try:
            yield
        finally:
            over.set()


@contextmanager
def _translated(statement: Statement, sent: str, *, write: bool) -> Iterator[None]:
    """Turn what psycopg raises into a ``TaskError``."""
    import psycopg  # slow, and only databases need it

    try:
        yield
    except psycopg.Error as error:
        raise _task_error(error, statement, sent, write=write) from None


def _task_error(error: psycopg.Error, statement: Statement, sent: str, *, write: bool) -> TaskError:
    state = error.sqlstate
    if state is None:  # it comes from this side
        return _own_error(error, write=write)
    code, retryable = next((_STATES[state[:n]] for n in (5, 3, 2) if state[:n] in _STATES), ("provider_error", False))
    said = error.diag.message_primary or str(error)
    details: dict[str, Any] = {"sqlstate": state}
    where = ""
    if (position := error.diag.statement_position or "").isdecimal():
        line, column = place(statement, sent, int(position))
        details |= {"line": line, "column": column}
        where = f" at line {line}, column {column}"
    hint = ". To write, the task needs `write`, and the connection must not be read-only" if state == "25006" else ""
    # A transaction that the server rolled back (class 40) or never began is safe to try again, whatever it writes.
    lost = write and retryable and state.startswith(("08", "57P"))
    if lost:
        details["unsure"] = True
    message = f"PostgreSQL says{where}: {said[:500]}{hint}."
    return TaskError(code, message + _unsure(lost=lost), retryable and not lost, details=details)


def _own_error(error: psycopg.Error, *, write: bool) -> TaskError:
    import psycopg  # slow, and only databases need it

    said = " ".join(str(error).split())[:300]
    if isinstance(error, psycopg.OperationalError):
        message = f"The connection to PostgreSQL was lost: {said}.{_unsure(lost=write)}"
        return TaskError("communication", message, not write, details={"unsure": True} if write else {})
    if isinstance(error, psycopg.DataError):
        message = (
            f"PostgreSQL gave a value that cannot be read ({said}), or was sent one. Cast it to text in the query."
        )
        return TaskError("output_invalid", message)
    return TaskError("validation", f"The statement cannot be run: {said}.")


def _unsure(*, lost: bool) -> str:
    return " Whether the statement was carried out is not known, so it is not tried again." if lost else ""


def _connect_error(error: psycopg.OperationalError) -> TaskError:
    said = " ".join(str(error).split())[:300]
    if error.sqlstate is not None and error.sqlstate[:2] == "28":
        return TaskError("authentication", f"PostgreSQL refused the login: {said}")
    if _REFUSED_LOGIN.search(said):
        return TaskError("authentication", f"PostgreSQL refused the login: {said}")
    if _REFUSED_DATABASE.search(said):
        return TaskError("validation", f"PostgreSQL has no such database: {said}")
    return TaskError("communication", f"PostgreSQL cannot be reached: {said}", retryable=True)
