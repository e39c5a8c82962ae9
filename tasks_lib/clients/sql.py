"""Asks a database in SQL: one statement, with parameters, within limits of time, rows and bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from tasks_lib.base import JsonValue
from tasks_lib.clients import sql_other, sql_postgresql, sql_sqlite
from tasks_lib.clients.sql_statement import Statement, bound
from tasks_lib.sql_values import as_json, size, unique_names

if TYPE_CHECKING:  # a third of a second
    from sqlalchemy import URL

#: Bytes of all rows as JSON.
MAX_BYTES = 10 * 1024 * 1024
_POSTGRESQL = frozenset({"postgresql", "postgres"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One statement with ``:name`` parameters. Without ``write`` it cannot change anything."""

    statement: str
    parameters: Mapping[str, JsonValue]
    max_rows: int
    write: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What came back. ``affected`` counts the rows that a writing statement changed, where the database says so."""

    columns: Sequence[str]
    rows: Sequence[Mapping[str, JsonValue]]
    truncated: bool
    affected: int | None


class Answer(Protocol):
    """An answer that is being read."""

    @property
    def columns(self) -> Sequence[str]:
        """Names, known once the first row is read or there is none; empty for a statement that gives no rows."""

    @property
    def rows(self) -> Iterator[Sequence[Any]]:
        """The rows, as they come."""

    @property
    def affected(self) -> int | None:
        """Rows changed, known once ``rows`` are read."""


class Backend(Protocol):
    """How one kind of database is asked."""

    @property
    def lists(self) -> bool:
        """Whether lists are parameters as they are; else they are sent as JSON, as objects are."""

    def answering(
        self, url: URL, statement: Statement, cancellation: Cancellation, *, write: bool
    ) -> AbstractContextManager[Answer]:
        """Run the statement; the block reads the answer. What was written is committed when the block ends well.

        Raises ``TaskError``, here and while rows are read.
        """


def ask(url_text: str, query: Query, cancellation: Cancellation) -> Table:
    """Run ``query`` on the database at ``url_text``. Raises ``TaskError``; drivers may show parts of the URL."""
    cancellation.check()
    url = _url(url_text)
    backend = _backend(url)
    statement = bound(query.statement, query.parameters, lists=backend.lists)
    try:
        with backend.answering(url, statement, cancellation, write=query.write) as answer:
            return _table(answer, query, cancellation)
    except TaskError as error:
        stopped = cancellation.error  # what was interrupted shows as an error of the database
        if stopped is None or (stopped.retryable and error.details.get("unsure")):
            raise
        raise stopped from None


def _url(text: str) -> URL:
    from sqlalchemy import make_url  # only databases need it
    from sqlalchemy.exc import ArgumentError  # the same

    try:
        return make_url(text)
    except (ArgumentError, ValueError):  # the second for a port that is no number
        message = "The URL of the connection cannot be read: write postgresql://user:password@host:5432/database."
        raise TaskError("validation", message) from None


def _backend(url: URL) -> Backend:
    name = url.drivername.split("+")[0]
    if name in _POSTGRESQL:
        return sql_postgresql.PostgreSQL()
    return sql_sqlite.SQLite() if name == "sqlite" else sql_other.Other()


def _table(answer: Answer, query: Query, cancellation: Cancellation) -> Table:
    rows: list[dict[str, JsonValue]] = []
    columns: list[str] = []
    seen, truncated = 0, False
    for row in answer.rows:
        cancellation.check()
        columns = columns or unique_names(list(answer.columns))
        if len(rows) == query.max_rows:
            truncated = True
            break
        made = dict(zip(columns, map(as_json, row), strict=True))
        seen += size(made)
        if seen > MAX_BYTES:
            message = f"The rows are larger than {MAX_BYTES // 1024**2} MiB. Ask for fewer columns or rows."
            raise TaskError("too_large", message)
        rows.append(made)
    return Table(
        columns=columns or unique_names(list(answer.columns)),
        rows=rows,
        truncated=truncated,
        affected=answer.affected if query.write else None,
    )
