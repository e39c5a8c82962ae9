"""``sql.query`` against real databases: an SQLite file, and the PostgreSQL of this run where there is one."""

from __future__ import annotations

import os
import socket
import sqlite3
import struct
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from tasks_lib import registry
from tests.stubs.context import StubContext, run

QUERY = registry.load().types["sql.query"]
CANARY = "canary-p4ssw0rd"
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) AS c FROM n"
TABLE = [
    "CREATE TABLE people (id integer PRIMARY KEY, name text NOT NULL)",
    "INSERT INTO people VALUES (1, 'Ann'), (2, 'Bob'), (3, 'Çem')",
]

Settings = dict[str, Any]


def sqlite_settings(tmp_path: Path) -> Settings:
    path = tmp_path / "shop ?.db"
    connection = sqlite3.connect(path)
    for statement in TABLE:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return {"url": f"sqlite:///{str(path).replace('?', '%3F')}"}


def postgresql_url() -> str:
    url = os.environ["DATABASE_URL"]
    if not url:
        pytest.skip("needs --database=postgresql")
    return url


@pytest.fixture
def schema() -> Iterator[str]:
    """The URL of a schema of the test's own in the PostgreSQL of this run, with its table."""
    url, name = postgresql_url(), f"s{os.urandom(6).hex()}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        connection.execute(f"SET search_path = {name}")
        for statement in TABLE:
            connection.execute(statement)
        yield f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3D{name}"
        connection.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """A connection to a database with the table ``people``."""
    return sqlite_settings(tmp_path) if request.param == "sqlite" else {"url": request.getfixturevalue("schema")}


def context_for(tmp_path: Path, settings: Settings, **parts: Any) -> StubContext:
    return StubContext(tmp_path / "files", connections={"main": ("sql", settings)}, **parts)


def ask(tmp_path: Path, settings: Settings, query: str, **inputs: Any) -> Mapping[str, Any]:
    return run(QUERY, context_for(tmp_path, settings), connection="main", query=query, **inputs)


def failure(tmp_path: Path, settings: Settings, query: str, **inputs: Any) -> TaskError:
    with pytest.raises(TaskError) as raised:
        ask(tmp_path, settings, query, **inputs)
    return raised.value


def test_it_works(tmp_path: Path, settings: Settings) -> None:
    outputs = ask(
        tmp_path, settings, "SELECT id, name FROM people WHERE id > :least ORDER BY id", parameters={"least": 1}
    )
    assert outputs == {
        "rows": [{"id": 2, "name": "Bob"}, {"id": 3, "name": "Çem"}],
        "columns": ["id", "name"],
        "row_count": 2,
        "truncated": False,
        "affected": None,
    }


def test_the_example_runs(tmp_path: Path, settings: Settings) -> None:
    outputs = run(QUERY, context_for(tmp_path, settings), **QUERY.example)
    assert outputs["rows"] == [{"word": "hello"}]


def test_a_parameter_is_never_part_of_the_statement(tmp_path: Path, settings: Settings) -> None:
    value = "x'; DROP TABLE people; --"
    outputs = ask(tmp_path, settings, "SELECT name FROM people WHERE name = :name", parameters={"name": value})
    assert (outputs["rows"], outputs["columns"]) == ([], ["name"])
    assert ask(tmp_path, settings, "SELECT count(*) AS n FROM people")["rows"] == [{"n": 3}]


def test_parameters_must_fit_the_statement(tmp_path: Path, settings: Settings) -> None:
    lacking = failure(tmp_path, settings, "SELECT :one, :two", parameters={"one": 1})
    unused = failure(tmp_path, settings, "SELECT 1", parameters={"other": 1})
    assert (lacking.code, unused.code) == ("validation", "validation")
    assert "two" in lacking.message
    assert "other" in unused.message


def test_more_rows_than_wanted_are_left_out_and_said(tmp_path: Path, settings: Settings) -> None:
    context = context_for(tmp_path, settings)
    outputs = run(QUERY, context, connection="main", query="SELECT id FROM people ORDER BY id", max_rows=2)
    assert (outputs["rows"], outputs["truncated"], outputs["row_count"]) == ([{"id": 1}, {"id": 2}], True, 2)
    assert context.logs[0][0] == "warning"
    assert not ask(tmp_path, settings, "SELECT id FROM people", max_rows=3)["truncated"]


def test_an_endless_answer_is_read_no_further_than_wanted(tmp_path: Path, settings: Settings) -> None:
    statement = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000) SELECT i FROM n"
    assert ask(tmp_path, settings, statement, max_rows=3)["rows"] == [{"i": 1}, {"i": 2}, {"i": 3}]


def test_columns_of_the_same_name_are_kept_apart(tmp_path: Path, settings: Settings) -> None:
    outputs = ask(tmp_path, settings, 'SELECT 1 AS a, 2 AS a, 3 AS "a_2"')
    assert outputs["rows"] == [{"a": 1, "a_3": 2, "a_2": 3}]


def test_too_many_bytes_are_refused(tmp_path: Path, settings: Settings) -> None:
    long = ", ".join(f":text || :text AS c{number}" for number in range(30))
    error = failure(tmp_path, settings, f"SELECT {long}", parameters={"text": "x" * 200_000})
    assert error.code == "too_large"


def test_nothing_is_written_unless_the_task_says_so(tmp_path: Path, settings: Settings) -> None:
    settings["read_only"] = False
    for statement in ["DELETE FROM people", "DROP TABLE people", "INSERT INTO people VALUES (9, 'x') RETURNING id"]:
        assert failure(tmp_path, settings, statement).code == "authorization"
    assert ask(tmp_path, settings, "SELECT count(*) AS n FROM people")["rows"] == [{"n": 3}]


def test_nothing_is_written_by_a_connection_that_only_reads(tmp_path: Path, settings: Settings) -> None:
    error = failure(tmp_path, settings, "DELETE FROM people", write=True)
    assert error.code == "authorization"
    assert "read-only" in error.message


def test_writing(tmp_path: Path, settings: Settings) -> None:
    settings["read_only"] = False
    outputs = ask(
        tmp_path, settings, "UPDATE people SET name = :name WHERE id > 1", parameters={"name": "-"}, write=True
    )
    assert (outputs["affected"], outputs["rows"], outputs["columns"]) == (2, [], [])
    statement = "INSERT INTO people VALUES (7, 'a'), (8, 'b') RETURNING id"
    outputs = ask(tmp_path, settings, statement, write=True, max_rows=1)
    assert (outputs["rows"], outputs["truncated"]) == ([{"id": 7}], True)
    assert ask(tmp_path, settings, "SELECT count(*) AS n FROM people")["rows"] == [{"n": 5}]


def test_what_fails_writes_nothing(tmp_path: Path, settings: Settings) -> None:
    settings["read_only"] = False
    error = failure(tmp_path, settings, "INSERT INTO people VALUES (7, 'a'), (1, 'again')", write=True)
    assert (error.code, error.retryable) == ("validation", False)
    assert ask(tmp_path, settings, "SELECT count(*) AS n FROM people")["rows"] == [{"n": 3}]


@pytest.mark.parametrize(
    "statement", ["SELECT 1; SELECT 2", "COMMIT; DELETE FROM people", "SELECT 1; DROP TABLE people"]
)
def test_one_statement_only(statement: str, tmp_path: Path, settings: Settings) -> None:
    settings["read_only"] = False
    assert failure(tmp_path, settings, statement).code == "validation"
    assert failure(tmp_path, settings, statement, write=True).code == "validation"
    assert ask(tmp_path, settings, "SELECT count(*) AS n FROM people")["rows"] == [{"n": 3}]


def test_a_syntax_error(tmp_path: Path, settings: Settings) -> None:
    error = failure(tmp_path, settings, "SELECT id\nFORM people")
    assert (error.code, error.retryable) == ("validation", False)
    assert "people" in error.message or "FORM" in error.message
    assert failure(tmp_path, settings, "  ").code == "validation"
    assert failure(tmp_path, settings, "SELECT nothing FROM people").code == "validation"


def test_only_what_reads_may_be_run_twice() -> None:
    assert QUERY.is_repeatable({"query": "SELECT 1"})
    assert not QUERY.is_repeatable({"query": "SELECT 1", "write": True})


def test_the_deadline_ends_a_statement(tmp_path: Path, settings: Settings) -> None:
    context = context_for(tmp_path, settings, cancellation=Cancellation(0.3))
    with pytest.raises(TaskError) as raised:
        run(QUERY, context, connection="main", query=ENDLESS)
    assert (raised.value.code, raised.value.retryable) == ("timeout", True)


def test_a_cancelled_task_ends_its_statement(tmp_path: Path, settings: Settings) -> None:
    context = context_for(tmp_path, settings, cancellation=Cancellation(120))
    timer = threading.Timer(0.3, context.cancellation.stop, [TaskError("cancelled", "Cancelled.")])
    timer.start()
    with pytest.raises(TaskError) as raised:
        run(QUERY, context, connection="main", query=ENDLESS)
    timer.join()
    assert raised.value.code == "cancelled"


# --- SQLite -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///shop.db",
        "sqlite:////nowhere/shop.db",
        "sqlite:////dev/zero",
        "sqlite:////",
    ],
)
def test_sqlite_opens_files_that_are_there_and_makes_none(url: str, tmp_path: Path) -> None:
    assert failure(tmp_path, {"url": url}, "SELECT 1").code == "validation"
    assert not Path("shop.db").exists()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "passwd"
    path.write_text("root:x:0:0\n" * 100)
    error = failure(tmp_path, {"url": f"sqlite:///{path}"}, "SELECT 1")
    assert error.code == "validation"


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize(
    "statement",
    [
        "ATTACH DATABASE '{folder}/other.db' AS other",
        "VACUUM INTO '{folder}/other.db'",
        "PRAGMA query_only = OFF",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA writable_schema = ON",
        "SELECT load_extension('{folder}/x')",
        "SELECT readfile('/etc/passwd')",
    ],
)
def test_sqlite_reaches_nothing_but_its_file(statement: str, write: bool, tmp_path: Path) -> None:
    settings = sqlite_settings(tmp_path) | {"read_only": False}
    error = failure(tmp_path, settings, statement.format(folder=tmp_path), write=write)
    assert error.code in {"authorization", "validation"}
    assert [path.name for path in tmp_path.glob("*.db")] == ["shop ?.db"]


def test_sqlite_tells_its_tables(tmp_path: Path) -> None:
    outputs = ask(tmp_path, sqlite_settings(tmp_path), "SELECT name FROM pragma_table_info('people')")
    assert outputs["rows"] == [{"name": "id"}, {"name": "name"}]


def test_the_platforms_own_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE executions_taskrun (id)")
    connection.execute("CREATE TABLE workflows_workflowversion (id)")
    connection.close()
    error = failure(tmp_path, {"url": f"sqlite:///{path}"}, "SELECT * FROM executions_taskrun")
    assert error.code == "authorization"


@pytest.mark.django_db
def test_its_tables_are_called_so() -> None:
    from django.db import connection  # noqa: PLC0415 - nothing else here needs Django

    from tasks_lib.clients.sql_sqlite import _OWN_TABLES  # noqa: PLC0415 - the same

    assert set(_OWN_TABLES) <= set(connection.introspection.table_names())


def test_values_of_sqlite(tmp_path: Path) -> None:
    statement = "SELECT 1.5 AS f, x'00ff' AS b, NULL AS n, 9e999 AS i, :yes AS y, json_extract(:o, '$.a') AS o"
    outputs = ask(tmp_path, sqlite_settings(tmp_path), statement, parameters={"yes": True, "o": {"a": [1]}})
    assert outputs["rows"] == [{"f": 1.5, "b": "AP8=", "n": None, "i": "Infinity", "y": 1, "o": "[1]"}]


def test_odd_values_of_sqlite(tmp_path: Path) -> None:
    settings = sqlite_settings(tmp_path)
    assert failure(tmp_path, settings, "SELECT CAST(x'ff' AS TEXT)").code == "output_invalid"
    assert failure(tmp_path, settings, "SELECT :n", parameters={"n": 2**63}).code == "validation"
    assert failure(tmp_path, settings, "SELECT zeroblob(1000000000)").code == "too_large"
    assert failure(tmp_path, settings, "SELECT :t", parameters={"t": "a\0b"}).code == "validation"


# --- PostgreSQL ---------------------------------------------------------------------------------------------------
def test_values_of_postgresql(tmp_path: Path, schema: str) -> None:
    statement = """
        SELECT 12.50::numeric AS money, 0.1234567890123456789::numeric AS exact, 'NaN'::float8 AS nan,
               '2026-01-02 03:04:05+02'::timestamptz AS moment, '2026-01-02 03:04:05'::timestamp AS local,
               '2026-01-02'::date AS day, interval '90 s' AS span, '\\:x'::bytea AS raw,
               '6f1b1f3c-0000-4000-8000-000000000000'::uuid AS uuid, '{"a": [1, null]}'::jsonb AS doc,
               ARRAY[1, 2] AS list, true AS yes, '10.0.0.0/8'::cidr AS net, int4range(1, 5) AS range,
               9223372036854775808::numeric AS huge
    """
    assert ask(tmp_path, {"url": schema}, statement)["rows"] == [
        {
            "money": 12.5,
            "exact": "0.1234567890123456789",
            "nan": "NaN",
            "moment": "2026-01-02T01:04:05Z",
            "local": "2026-01-02T03:04:05",
            "day": "2026-01-02",
            "span": 90.0,
            "raw": "Ong=",
            "uuid": "6f1b1f3c-0000-4000-8000-000000000000",
            "doc": {"a": [1, None]},
            "list": [1, 2],
            "yes": True,
            "net": "10.0.0.0/8",
            "range": "[1, 5)",
            "huge": "9223372036854775808",
        }
    ]


def test_parameters_of_postgresql(tmp_path: Path, schema: str) -> None:
    statement = "SELECT id FROM people WHERE id = ANY(:ids) AND :doc ->> 'a' = '1' AND name LIKE '%n%'"
    outputs = ask(
        tmp_path,
        {"url": schema},
        statement.replace(":doc", "CAST(:doc AS jsonb)"),
        parameters={"ids": [1, 2], "doc": {"a": 1}},
    )
    assert outputs["rows"] == [{"id": 1}]


def test_a_value_that_python_cannot_hold(tmp_path: Path, schema: str) -> None:
    error = failure(tmp_path, {"url": schema}, "SELECT 'infinity'::timestamptz AS t")
    assert error.code == "output_invalid"
    assert "text" in error.message


@pytest.mark.parametrize(
    ("statement", "line", "column"),
    [
        ("SELECT id\nFORM people", 2, 6),
        ("SELECT :a_long_name::int,\n  :b::int, nothing", 2, 12),
        ("SELECT ünknown", 1, 8),
    ],
)
def test_postgresql_says_where(statement: str, line: int, column: int, tmp_path: Path, schema: str) -> None:
    parameters = {name: 1 for name in ("a_long_name", "b") if f":{name}" in statement}
    error = failure(tmp_path, {"url": schema}, statement, parameters=parameters)
    assert (error.code, error.details["line"], error.details["column"]) == ("validation", line, column)
    assert f"line {line}, column {column}" in error.message


@pytest.mark.parametrize(
    "statement",
    [
        "SET TRANSACTION READ WRITE",
        "DO $$ BEGIN SET TRANSACTION READ WRITE; DELETE FROM people; END $$",
        "DO $$ BEGIN COMMIT; DELETE FROM people; END $$",
        "SELECT set_config('transaction_read_only', 'off', false)",
        "WITH gone AS (DELETE FROM people RETURNING id) SELECT * FROM gone",
        "SELECT id FROM people FOR UPDATE",
    ],
)
def test_reading_only_cannot_be_undone(statement: str, tmp_path: Path, schema: str) -> None:
    assert failure(tmp_path, {"url": schema}, statement).code in {"authorization", "validation"}
    assert ask(tmp_path, {"url": schema}, "SELECT count(*) AS n FROM people")["rows"] == [{"n": 3}]


def test_the_transaction_cannot_be_ended_to_write(tmp_path: Path, schema: str) -> None:
    assert failure(tmp_path, {"url": schema}, "COMMIT").code == "validation"
    assert ask(tmp_path, {"url": schema}, "SHOW transaction_read_only")["rows"] == [{"transaction_read_only": "on"}]


@pytest.mark.parametrize("before", ["", " ;\n(", "/* a /* b */ SELECT */ ", "-- a\rSELECT\r", "/* SELECT */", "--\n"])
@pytest.mark.parametrize("how", ["COPY {}", "DO $$ BEGIN EXECUTE $a$COPY {}$a$; END $$"])
def test_reading_runs_no_program_on_the_server(before: str, how: str, tmp_path: Path, schema: str) -> None:
    """A read-only transaction lets a superuser do that, and that of the tests is one."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        mark = Path(folder) / "mark"
        statement = how.format(f"(SELECT 1) TO PROGRAM 'cat > {mark}'")  # one that reads what it is given
        assert failure(tmp_path, {"url": schema}, before + statement).code == "validation"
        assert not mark.exists()
        ask(tmp_path, {"url": schema, "read_only": False}, statement, write=True)
        assert mark.exists()


@pytest.mark.parametrize("statement", ["-- a\n SELECT 1", "/* a\nb */ values (1)", "(SELECT 1) UNION (SELECT 2)"])
def test_what_may_stand_before_a_statement_that_reads(statement: str, tmp_path: Path, schema: str) -> None:
    assert ask(tmp_path, {"url": schema}, statement)["rows"]


def test_postgresql_refuses_the_platforms_own_database(tmp_path: Path, schema: str) -> None:
    with psycopg.connect(schema, autocommit=True) as connection:
        connection.execute("CREATE TABLE executions_taskrun (id int)")
        assert ask(tmp_path, {"url": schema}, "SELECT 1 AS n")["rows"] == [{"n": 1}]
        connection.execute("CREATE TABLE workflows_workflowversion (id int)")
    error = failure(tmp_path, {"url": schema, "read_only": False}, "SELECT 1 AS n", write=True)
    assert (error.code, "own database" in error.message) == ("authorization", True)


def test_a_deadlock_is_tried_again(tmp_path: Path, schema: str) -> None:
    statement = "DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$"
    error = failure(tmp_path, {"url": schema, "read_only": False}, statement, write=True)
    assert (error.code, error.retryable, error.details["sqlstate"]) == ("communication", True, "40P01")


def test_a_lost_connection_is_tried_again_unless_it_wrote(tmp_path: Path, schema: str) -> None:
    settings = {"url": schema, "read_only": False}
    statement = "SELECT pg_terminate_backend(pg_backend_pid())"
    reading = failure(tmp_path, settings, statement)
    writing = failure(tmp_path, settings, statement, write=True)
    assert (reading.code, reading.retryable) == ("communication", True)
    assert (writing.code, writing.retryable) == ("communication", False)
    assert "not known" in writing.message


def test_a_commit_that_takes_for_ever_is_ended_too(tmp_path: Path, schema: str) -> None:
    settings = {"url": schema, "read_only": False}
    made = "AS $$ BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$"
    ask(tmp_path, settings, f"CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql {made}", write=True)
    trigger = "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON people DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
    ask(tmp_path, settings, f"{trigger} EXECUTE FUNCTION late()", write=True)
    context = context_for(tmp_path, settings, cancellation=Cancellation(0.5))
    with pytest.raises(TaskError) as raised:
        run(QUERY, context, connection="main", query="INSERT INTO people VALUES (9, 'x')", write=True)
    assert (raised.value.code, raised.value.retryable) == ("timeout", True)
    assert ask(tmp_path, settings, "SELECT count(*) AS n FROM people")["rows"] == [{"n": 3}]


def test_a_cancelled_statement_has_ended_on_the_server(tmp_path: Path, schema: str) -> None:
    context = context_for(tmp_path, {"url": schema}, cancellation=Cancellation(120))
    timer = threading.Timer(0.3, context.cancellation.stop, [TaskError("cancelled", "Cancelled.")])
    timer.start()
    with pytest.raises(TaskError, match="Cancelled"):
        run(QUERY, context, connection="main", query="SELECT pg_sleep(60) /* here-i-am */")
    timer.join()
    with psycopg.connect(postgresql_url()) as connection:
        activity = (
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%/* here-i-' || 'am */%' AND state = 'active'"
        )
        assert connection.execute(activity).fetchone() == (0,)


# --- Connecting ---------------------------------------------------------------------------------------------------
@pytest.fixture
def refusing_server() -> Iterator[tuple[int, list[bytes]]]:
    """A PostgreSQL that asks for the password and refuses it, saying it; what it was sent."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                while True:
                    (length,) = struct.unpack("!I", client.recv(4, socket.MSG_WAITALL))
                    body = client.recv(length - 4, socket.MSG_WAITALL)
                    if body[:4] in (b"\x04\xd2\x16\x2f", b"\x04\xd2\x16\x30"):  # SSL, GSS
                        client.sendall(b"N")
                        continue
                    break
                client.sendall(b"R" + struct.pack("!II", 8, 3))
                kind = client.recv(1)
                (length,) = struct.unpack("!I", client.recv(4, socket.MSG_WAITALL))
                heard.append(kind + client.recv(length - 4, socket.MSG_WAITALL))
                said = f"password authentication failed: {CANARY}".encode()
                fields = b"SFATAL\0VFATAL\0C28P01\0M" + said + b"\0\0"
                client.sendall(b"E" + struct.pack("!I", len(fields) + 4) + fields)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], heard
        thread.join(5)


def test_a_wrong_password(tmp_path: Path, refusing_server: tuple[int, list[bytes]]) -> None:
    port, heard = refusing_server
    error = failure(tmp_path, {"url": f"postgresql://reader:{CANARY}@127.0.0.1:{port}/shop"}, "SELECT 1")
    assert heard == [b"p" + CANARY.encode() + b"\0"]
    assert (error.code, error.retryable) == ("authentication", False)
    assert CANARY not in str(error)
    assert "***" in error.message


def test_an_unknown_user_and_database(tmp_path: Path, schema: str) -> None:
    url = psycopg.conninfo.conninfo_to_dict(postgresql_url())
    host, port = url["host"], url.get("port", 5432)
    base = {"url": f"postgresql://nobody_knows:{CANARY}@/postgres?host={host}&port={port}"}
    assert failure(tmp_path, base, "SELECT 1").code == "authentication"
    other = {"url": f"postgresql://{url['user']}:{CANARY}@/nowhere?host={host}&port={port}"}
    error = failure(tmp_path, other, "SELECT 1")
    assert error.code == "validation"
    assert CANARY not in str(error)


def test_no_server(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    error = failure(tmp_path, {"url": f"postgresql://reader:{CANARY}@127.0.0.1:{port}/shop"}, "SELECT 1")
    assert (error.code, error.retryable) == ("communication", True)
    assert CANARY not in str(error)


def test_a_server_that_says_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql://reader:{CANARY}@127.0.0.1:{server.getsockname()[1]}/shop"
        context = context_for(tmp_path, {"url": url}, cancellation=Cancellation(0.3))
        with pytest.raises(TaskError) as raised:
            run(QUERY, context, connection="main", query="SELECT 1")
    assert (raised.value.code, raised.value.retryable) == ("timeout", True)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://reader:{CANARY}@/shop",
        f"postgresql://reader:{CANARY}@host:port/shop",
        f"oracle://reader:{CANARY}@host/shop",
        f"nonsense://reader:{CANARY}@host/shop",
        CANARY,
        "",
    ],
)
def test_a_url_that_cannot_be_used(url: str, tmp_path: Path) -> None:
    error = failure(tmp_path, {"url": url}, "SELECT 1")
    assert error.code == "validation"
    assert CANARY not in str(error)
    assert CANARY not in repr(error.__cause__)


def test_no_error_shows_the_password(tmp_path: Path, schema: str) -> None:
    user = psycopg.conninfo.conninfo_to_dict(postgresql_url())["user"]
    url = schema.replace(f"//{user}:@", f"//{user}@").replace(f"//{user}@", f"//{user}:{CANARY}@")
    assert CANARY in url
    for query in ["SELEC", "SELECT 1/0", f"SELECT '{CANARY}'::int", "DELETE FROM people", "SELECT 1; SELECT 2"]:
        error = failure(tmp_path, {"url": url}, query)
        assert CANARY not in f"{error} {error.details}"


# --- Other drivers ------------------------------------------------------------------------------------------------
def test_a_database_by_sqlalchemys_own_driver(tmp_path: Path) -> None:
    """No other database is here: SQLAlchemy's SQLite stands in for one."""
    from sqlalchemy import make_url  # noqa: PLC0415 - nothing else here needs it

    from tasks_lib.clients.sql_other import Other  # noqa: PLC0415 - the same
    from tasks_lib.clients.sql_statement import bound  # noqa: PLC0415 - the same

    url = make_url(sqlite_settings(tmp_path)["url"].replace("%3F", "?").split("?")[0].replace("shop ", "other.db"))

    def answer(query: str, **values: Any) -> tuple[list[Any], list[str], int | None]:
        statement = bound(query, values, lists=False)
        with Other().answering(url, statement, Cancellation(10), write=True) as found:
            return [tuple(row) for row in found.rows], list(found.columns), found.affected

    answer("CREATE TABLE people (id integer PRIMARY KEY)")
    assert answer("INSERT INTO people VALUES (:id), (8)", id=7)[2] == 2
    assert answer("SELECT id AS n FROM people WHERE id > :least", least=7)[:2] == ([(8,)], ["n"])
    for wrong, code in [("SELEC", "communication"), ("INSERT INTO people VALUES (7)", "validation")]:
        with pytest.raises(TaskError) as raised:
            answer(wrong)
        assert (raised.value.code, raised.value.retryable) == (code, False)
    with pytest.raises(TaskError, match="cannot be enforced") as raised:
        with Other().answering(url, bound("SELECT 1", {}, lists=False), Cancellation(10), write=False):
            pass
    assert raised.value.code == "validation"
