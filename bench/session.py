"""One run of the bench on one kind of database: its sizes, and the installations that the measures share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from bench.database import CountedSqlite, Database, PostgresServer, SqliteDatabase
from bench.installation import ROOT, Installation
from bench.seed import seed
from bench.workflows import THREE_STEPS

#: What makes a process count what it asks of SQLite.
COUNTS = Path(__file__).resolve().parent / "sqlite_counts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is done in one round of each measure."""

    rounds: int
    #: Finished executions in the tables, for lists and growth.
    rows: int
    throughput: int = 500
    latency: int = 100
    requests: int = 1000
    counted: int = 200
    sequences: int = 5
    waiting: int = 500
    items: int = 10_000
    machines: int = 120
    file_mebibytes: int = 512
    idle_seconds: float = 20.0
    #: PostgreSQL's idle sessions tell their transactions that much late.
    settle_seconds: float = 11.0


def quick(*, rounds: int, rows: int) -> Sizes:
    """Enough to see that everything works; the figures mean nothing."""
    small = {"throughput": 40, "latency": 10, "requests": 50, "counted": 20, "sequences": 1, "waiting": 20, "items": 50}
    return Sizes(rounds=rounds, rows=rows, machines=8, file_mebibytes=8, idle_seconds=2.0, settle_seconds=1.0, **small)


class Session:
    """Starts installations when a measure first asks for them, and ends them all."""

    def __init__(self, folder: Path, kind: str, sizes: Sizes, *, peer: str | None = None) -> None:
        self.kind = kind
        self.sizes = sizes
        self.peer = peer
        self._folder = folder
        self._ends = ExitStack()
        self._made = 0
        self._shared: dict[str, Installation] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    @property
    def postgresql(self) -> bool:
        """Whether this is PostgreSQL, for which the targets are."""
        return self.kind == "postgresql"

    @property
    def plain(self) -> Installation:
        """The usual installation, warmed up."""
        return self._installation("plain")

    @property
    def full(self) -> Installation:
        """Another one, with ``sizes.rows`` finished executions in its tables."""
        return self._installation("full")

    def three_steps(self, running: Installation) -> str:
        """The address under which three steps are started there."""
        return running.workflow(THREE_STEPS)

    def database(self) -> Database:
        """A new one."""
        self._made += 1
        if self.postgresql:
            database: Database = self._server.database(f"bench_{self._made}")
        else:
            database = SqliteDatabase(self._folder / f"bench_{self._made}.sqlite3")
        self._ends.callback(database.close)
        return database

    @contextmanager
    def counting(self) -> Iterator[Installation]:
        """One on SQLite of its own, which counts what it asks of the database; warmed up."""
        self._made += 1
        database = CountedSqlite(self._folder / f"bench_{self._made}.sqlite3")
        path = f"{COUNTS}{os.pathsep}{ROOT}"
        environment = {"BENCH_SQLITE_COUNTS": str(database.counts), "PYTHONPATH": path}
        running = Installation(self._folder / f"data-{self._made}", database, environment)
        try:
            running.start()
            running.run(f"{self.three_steps(running)}?wait=60", number=40, clients=10, ended=True)
            yield running
        finally:
            running.stop()

    def restart(self) -> None:
        """Give up the usual installation: what a failed measure left in it must not spoil the next one."""
        if (running := self._shared.pop("plain", None)) is not None:
            running.stop()

    def _installation(self, name: str) -> Installation:
        if name not in self._shared:
            database = self.database()
            running = Installation(self._folder / f"data-{self._made}", database)
            with ExitStack() as started:
                started.callback(running.stop)
                running.start()
                path = self.three_steps(running)
                if name == "full":
                    seed(running, path, rows=self.sizes.rows)
                running.run(f"{path}?wait=60", number=40, clients=10, ended=True)
                self._ends.push(started.pop_all())
            self._shared[name] = running
        return self._shared[name]

    @cached_property
    def _server(self) -> PostgresServer:
        server = PostgresServer(self._folder / "postgresql")
        self._ends.callback(server.close)
        return server
