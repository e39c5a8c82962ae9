"""Databases by any other driver that is installed and SQLAlchemy knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from tasks_lib.clients.sql_statement import Statement

if TYPE_CHECKING:  # slow
    from sqlalchemy import URL, Connection, CursorResult, Engine, TextClause

#: Databases that can be told to write nothing, and how.
_READ_ONLY = {"mysql": "SET TRANSACTION READ ONLY", "mariadb": "SET TRANSACTION READ ONLY"}


class _Rows:
    def __init__(self, result: CursorResult[Any]) -> None:
        self._result = result
        self.columns: Sequence[str] = list(result.keys()) if result.returns_rows else []
        self.rows = self._read() if result.returns_rows else iter(())

    @property
    def affected(self) -> int | None:
        return self._result.rowcount if self._result.rowcount >= 0 else None

    def _read(self) -> Iterator[Sequence[Any]]:
        yield from self._result


class Other:
    """How the database is asked."""

    lists = False

    @contextmanager
    def answering(self, url: URL, statement: Statement, cancellation: Cancellation, *, write: bool) -> Iterator[_Rows]:
        """Run the statement; see ``sql.Backend``. Cancelled, it goes on until its next row."""
        from sqlalchemy.exc import SQLAlchemyError  # only databases need it

        engine = _engine(url)
        read_only = _READ_ONLY.get(engine.dialect.name)
        if not write and read_only is None:
            message = (
                f"Reading only cannot be enforced for {engine.dialect.name}. Where the database's user may only read, "
                "set the connection's `read_only` to false and the task's `write` to true."
            )
            raise TaskError("validation", message)
        try:
            with engine.connect() as connection:
                cancellation.check()
                yield _answer(connection, statement.clause, None if write else read_only)
                if write:
                    connection.commit()
        except SQLAlchemyError as error:
            raise _task_error(error, write=write) from None
        finally:
            engine.dispose()


def _engine(url: URL) -> Engine:
    from sqlalchemy import create_engine  # only databases need it
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError  # the same
    from sqlalchemy.pool import NullPool  # the same

    try:
        return create_engine(url, poolclass=NullPool, hide_parameters=True)
    except (NoSuchModuleError, ImportError, ArgumentError):
        message = f"There is no driver for {url.drivername!r} here. PostgreSQL and SQLite need none."
        raise TaskError("validation", message) from None


def _answer(connection: Connection, statement: TextClause, first: str | None) -> _Rows:
    if first is not None:
        connection.exec_driver_sql(first)
    return _Rows(connection.execution_options(stream_results=True, max_row_buffer=100).execute(statement))


def _task_error(error: Exception, *, write: bool) -> TaskError:
    from sqlalchemy import exc  # only databases need it

    said = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
    message = f"The database says: {said}."
    if isinstance(error, (exc.ProgrammingError, exc.DataError, exc.IntegrityError, exc.NotSupportedError)):
        return TaskError("validation", message)
    if isinstance(error, (exc.OperationalError, exc.InterfaceError)):
        return TaskError("communication", message, retryable=not write)
    return TaskError("provider_error", message)
