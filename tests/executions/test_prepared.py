"""Prepared statements by libpq's own call behave as psycopg's do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, NotSupportedError, OperationalError, connection, connections, transaction

from executions.database import rows_of
from executions.prepared import Pipeline

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def table() -> Iterator[None]:
    """A table to write to, on PostgreSQL."""
    if connection.vendor == "sqlite":
        pytest.skip("needs --database=postgresql")
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE prepared_try (number int)")
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE prepared_try")


@pytest.mark.parametrize(
    ("statement", "values", "expected"),
    [
        ("SELECT 1", (), (1,)),
        ("SELECT %s::int, %s::text", [1, None], (1, None)),
        ("SELECT %(a)s::text || %(b)s || %(a)s, '%%'", {"a": "x", "b": "ü", "more": 1}, ("xüx", "%")),
        ("SELECT array_length(%(list)s::text[], 1)", {"list": ["a", "b"]}, (2,)),
        ("SELECT %s::bigint + 1", [2**40], (2**40 + 1,)),
        ("SELECT %s::json", ['{"a": [1.5]}'], ({"a": [1.5]},)),
    ],
)
def test_values(statement: str, values: Any, expected: tuple[Any, ...]) -> None:
    for _ in range(2):
        assert rows_of(statement, values) == [expected]


@pytest.mark.parametrize("microsecond", [0, 120_000, 1])
def test_times_are_in_utc(microsecond: int) -> None:
    moment = datetime(2026, 11, 23, 8, 0, 1, microsecond, tzinfo=UTC)
    ((found,),) = rows_of("SELECT %s::timestamptz", [moment])
    assert (found, found.tzinfo) == (moment, UTC)


@pytest.mark.parametrize(
    ("statement", "values"), [("SELECT %s::int", []), ("SELECT %s::int", ["x\0"]), ("SELECT nothing", [])]
)
def test_what_is_wrong_is_an_error_of_the_database(statement: str, values: Any) -> None:
    for _ in range(2):
        with pytest.raises(DatabaseError):
            rows_of(statement, values)
    assert rows_of("SELECT 1") == [(1,)]


def test_it_is_part_of_the_transaction() -> None:
    with transaction.atomic():
        assert rows_of("INSERT INTO prepared_try VALUES (%s)", [1]) == []
        transaction.set_rollback(True)
    assert rows_of("SELECT count(*) FROM prepared_try") == [(0,)]
    rows_of("INSERT INTO prepared_try VALUES (%s)", [1])
    assert rows_of("SELECT count(*) FROM prepared_try") == [(1,)]


def test_a_changed_table_is_read_at_the_second_try() -> None:
    assert rows_of("SELECT * FROM prepared_try") == []
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE prepared_try ADD COLUMN more int")
        cursor.execute("INSERT INTO prepared_try VALUES (1, 2)")
    with pytest.raises(NotSupportedError, match="cached plan"):
        rows_of("SELECT * FROM prepared_try")
    assert rows_of("SELECT * FROM prepared_try") == [(1, 2)]


def terminate(server: int) -> None:
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [server])
    finally:
        other.close()


def test_a_lost_connection_says_so() -> None:
    ((own,),) = rows_of("SELECT pg_backend_pid()")
    terminate(own)
    with pytest.raises(OperationalError):
        rows_of("SELECT 1")
    connection.close()
    assert rows_of("SELECT 1") == [(1,)]


@pytest.fixture
def pipeline() -> Pipeline:
    connection.ensure_connection()
    return Pipeline(connection.connection)


INSERT = "INSERT INTO prepared_try VALUES (%s) RETURNING number"


def test_several_are_under_way_and_answered_in_their_order(pipeline: Pipeline) -> None:
    for number in range(3):
        pipeline.send(INSERT, [number])
        pipeline.send("SELECT %(a)s::text || 'x'", {"a": str(number)})
    assert pipeline.receive() == [[(0,)], [("0x",)], [(1,)], [("1x",)], [(2,)], [("2x",)]]
    assert pipeline.receive() == []
    assert rows_of("SELECT count(DISTINCT xmin::text) FROM prepared_try") == [(3,)]
    pipeline.send(INSERT, [4])
    assert pipeline.receive() == [[(4,)]]


def test_what_is_larger_than_the_socket_is_sent_and_answered(pipeline: Pipeline) -> None:
    large = "x" * 2**22
    for number in range(4):
        pipeline.send("SELECT length(%s::text), %s::text", [large, large if number == 1 else str(number)])
    assert pipeline.receive() == [[(2**22, "0")], [(2**22, large)], [(2**22, "2")], [(2**22, "3")]]


def test_one_that_fails_takes_no_other_with_it(pipeline: Pipeline) -> None:
    wrong = "SELECT 1 / %s::int"
    pipeline.send(INSERT, [1])
    for number in (0, 0):
        pipeline.send(wrong, [number])
    pipeline.send("SELECT nothing", ())
    pipeline.send(INSERT, [2])
    with pytest.raises(psycopg.errors.DivisionByZero):
        pipeline.receive()
    assert rows_of("SELECT number FROM prepared_try ORDER BY 1") == [(1,), (2,)]
    pipeline.send(wrong, [1])
    assert pipeline.receive() == [[(1,)]]


def test_a_connection_lost_under_way_says_so(pipeline: Pipeline) -> None:
    ((own,),) = rows_of("SELECT pg_backend_pid()")
    pipeline.send(INSERT, [1])
    pipeline.send("SELECT pg_sleep(%s)", [30])
    terminate(own)
    with pytest.raises(psycopg.OperationalError):
        pipeline.receive()
    connection.close()
    assert rows_of("SELECT 1") == [(1,)]


def test_a_connection_closed_under_way_says_so(pipeline: Pipeline) -> None:
    pipeline.send(INSERT, [1])
    connection.close()
    with pytest.raises(psycopg.OperationalError):
        pipeline.receive()
    with pytest.raises(psycopg.OperationalError):
        pipeline.send(INSERT, [1])
