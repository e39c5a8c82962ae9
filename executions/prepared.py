"""Prepared statements on PostgreSQL by libpq's own calls: psycopg's way of many steps costs twice as much.

Values and rows go through psycopg's adapters as ever, and its errors are raised.
"""

from __future__ import annotations

import re
import select
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import count
from typing import Any, cast
from weakref import WeakKeyDictionary

import psycopg
from psycopg import pq
from psycopg.abc import Buffer
from psycopg.abc import Transformer as AnyTransformer
from psycopg.adapt import AdaptersMap, Loader, PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq.abc import PGresult

_Connection = psycopg.Connection[Any]
#: A statement and the types of its parameters.
_Key = tuple[str, Any]
_PLACE = re.compile(r"%(?:\((\w+)\)s|s|%)")


class _TimeLoader(Loader):
    """Times in UTC, which is the zone of Django's connections."""

    def load(self, data: Buffer) -> datetime:
        return datetime.fromisoformat(bytes(data).decode())


_ADAPTERS = AdaptersMap(psycopg.adapters)
_ADAPTERS.register_loader("timestamptz", _TimeLoader)


@dataclass(frozen=True, slots=True)
class _Context:
    """By what values are adapted: psycopg's own adapters, not the slower ones that Django gives a connection."""

    connection: _Connection
    adapters: AdaptersMap = _ADAPTERS


@dataclass(frozen=True, slots=True)
class _Statement:
    """A statement as PostgreSQL takes it, with ``$1`` for its first parameter; ``names`` are theirs, if any."""

    text: bytes
    names: tuple[str, ...]
    formats: tuple[PyFormat, ...]

    def in_order(self, values: Mapping[str, Any] | Sequence[Any]) -> Sequence[Any]:
        if isinstance(values, Mapping):
            return [values[name] for name in self.names]
        if len(values) != len(self.formats):
            raise psycopg.ProgrammingError(f"The statement has {len(self.formats)} parameters, not {len(values)}.")
        return values


@dataclass(frozen=True, slots=True)
class _Bound:
    """A statement with its values as PostgreSQL takes them, and what it is prepared for."""

    statement: _Statement
    transformer: AnyTransformer
    parameters: Sequence[bytes]
    key: _Key


#: What is prepared on each connection: the name of a statement by its text and the types of its parameters.
_prepared: WeakKeyDictionary[_Connection, dict[_Key, bytes]] = WeakKeyDictionary()
_numbers = count()


class Pipeline:
    """Statements under way on a connection in autocommit, each a transaction: nobody waits for one to send the next.

    Nothing else may be asked of the connection until ``receive``. The answers wait in its socket; where that is full,
    PostgreSQL waits too. https://www.postgresql.org/docs/current/libpq-pipeline-mode.html
    """

    def __init__(self, connection: _Connection) -> None:
        self._connection, self._server = connection, connection.pgconn
        self._sent: list[_Bound] = []
        self._poll = select.poll()
        self._poll.register(self._server.socket)

    def send(self, statement: str, values: Mapping[str, Any] | Sequence[Any]) -> None:
        """Send a statement, with values as ``rows_of_prepared`` takes them. Raises psycopg's errors."""
        bound, names = _bind(self._connection, statement, values), _names_on(self._connection)
        if not self._sent:
            self._server.enter_pipeline_mode()
        if (name := names.get(bound.key)) is None:
            name = _new_name()
            self._server.send_prepare(name, bound.statement.text, bound.transformer.types)
        self._server.send_query_prepared(name, bound.parameters, bound.transformer.formats)
        names[bound.key] = name
        self._sent.append(bound)
        self._server.pipeline_sync()

    def receive(self) -> list[list[tuple[Any, ...]]]:
        """Wait until all is done: the rows that each statement gave.

        Raises the error of the first that failed, once the others are done, and psycopg's ``OperationalError`` where
        the connection is lost.
        """
        sent, self._sent = self._sent, []
        found: list[list[tuple[Any, ...]]] = []
        failed: psycopg.Error | None = None
        for bound in sent:
            try:
                found.append(self._rows_of_next(bound.transformer))
            except psycopg.Error as error:
                # As in `rows_of_prepared`: it may have been prepared for tables that were changed since.
                _names_on(self._connection).pop(bound.key, None)
                if self._server.status == pq.ConnStatus.BAD:
                    raise
                failed = failed or error
        if sent:
            self._server.exit_pipeline_mode()
        if failed is not None:
            raise failed
        return found

    def _rows_of_next(self, transformer: AnyTransformer) -> list[tuple[Any, ...]]:
        """The rows of the statement that comes next, with all that its answer consists of taken away."""
        rows: list[tuple[Any, ...]] = []
        failed: PGresult | None = None
        while (result := self._next_result()) is None or result.status != pq.ExecStatus.PIPELINE_SYNC:
            if result is None:  # the end of one of its results, unless the connection is lost
                if self._server.status == pq.ConnStatus.BAD:
                    raise psycopg.OperationalError(self._server.get_error_message())
            elif result.status == pq.ExecStatus.TUPLES_OK:
                transformer.set_pgresult(result)
                rows = transformer.load_rows(0, result.ntuples, tuple)
            elif result.status != pq.ExecStatus.COMMAND_OK:
                failed = failed or result
        if failed is not None:
            _checked(self._connection, failed)
        return rows

    def _next_result(self) -> PGresult | None:
        while self._server.is_busy():
            # What did not fit into the socket has to be sent yet: psycopg's connections do not wait for that.
            self._poll.modify(self._server.socket, select.POLLIN | (select.POLLOUT if self._server.flush() else 0))
            self._poll.poll()
            self._server.consume_input()
        return self._server.get_result()


def rows_of_prepared(
    connection: _Connection, statement: str, values: Mapping[str, Any] | Sequence[Any]
) -> list[tuple[Any, ...]]:
    """The rows that ``statement`` gives, with psycopg's ``%s`` or ``%(name)s`` where ``values`` go."""
    if connection.pgconn.pipeline_status != pq.PipelineStatus.OFF:
        raise psycopg.ProgrammingError("A pipeline is under way on this connection.")
    bound, names = _bind(connection, statement, values), _names_on(connection)
    transformer = bound.transformer
    if not connection.autocommit and connection.pgconn.transaction_status == pq.TransactionStatus.IDLE:
        # As psycopg does before the first statement of a transaction.
        _checked(connection, connection.pgconn.exec_(b"BEGIN"))
    # Known again once it succeeded: one that fails may have been prepared for tables that were changed since.
    name = names.pop(bound.key, None) or _prepare(connection, bound.statement, transformer.types)
    result = _checked(connection, connection.pgconn.exec_prepared(name, bound.parameters, transformer.formats))
    names[bound.key] = name
    if result.status != pq.ExecStatus.TUPLES_OK:
        return []
    transformer.set_pgresult(result)
    rows: list[tuple[Any, ...]] = transformer.load_rows(0, result.ntuples, tuple)
    return rows


def _names_on(connection: _Connection) -> dict[_Key, bytes]:
    return _prepared.setdefault(connection, {})


def _bind(connection: _Connection, statement: str, values: Mapping[str, Any] | Sequence[Any]) -> _Bound:
    parsed, transformer = _statement(statement), Transformer(_Context(connection))
    # A value may be None, for NULL; the types of `exec_prepared` know nothing of that.
    parameters = cast("Sequence[bytes]", transformer.dump_sequence(parsed.in_order(values), parsed.formats))
    return _Bound(parsed, transformer, parameters, (statement, transformer.types))


def _new_name() -> bytes:
    return b"hot_%d" % next(_numbers)


def _prepare(connection: _Connection, statement: _Statement, types: Sequence[int] | None) -> bytes:
    """Prepare a statement under a new name."""
    name = _new_name()
    _checked(connection, connection.pgconn.prepare(name, statement.text, types))
    return name


def _checked(connection: _Connection, result: PGresult) -> PGresult:
    """The result of what succeeded. Raises psycopg's errors; its ``OperationalError`` where the connection is lost."""
    if result.status in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
        return result
    if connection.pgconn.status == pq.ConnStatus.BAD:
        raise psycopg.OperationalError(connection.pgconn.get_error_message())
    raise error_from_result(result)


@cache
def _statement(text: str) -> _Statement:
    numbers: dict[str, int] = {}

    def number(place: re.Match[str]) -> str:
        if place[0] == "%%":
            return "%"
        return f"${numbers.setdefault(place[1] or str(len(numbers)), len(numbers) + 1)}"

    numbered = _PLACE.sub(number, text).encode()
    has_names = "%(" in text
    return _Statement(numbered, tuple(numbers) if has_names else (), (PyFormat.AUTO,) * len(numbers))
