"""What an execution of three steps asks of the database, web server and workers together."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.database import CountedSqlite, Counters, PostgresDatabase
from bench.figures import Figure, at_most, figure
from bench.installation import Installation
from bench.session import Session


def measure(session: Session) -> Iterator[Figure]:
    """Transactions, statements and commits of an execution, 20 at a time and one at a time."""
    with _counted(session) as running:
        for clients in (20, 1):
            rounds = _rounds(session, running, clients)
            name = f"of an execution, {clients} at a time"
            # A worker's sign of life more or less is no commit of an execution.
            commits = [round(one.commits, 1) for one in rounds]
            yield figure(f"commits {name}", commits, target=at_most(6) if session.postgresql else None)
            if session.postgresql:
                yield figure(f"transactions {name}, reads included", [one.transactions for one in rounds])
            yield figure(f"statements {name}, but BEGIN and COMMIT", [one.statements for one in rounds])


@contextmanager
def _counted(session: Session) -> Iterator[Installation]:
    """An installation that counts: counting costs a little, so it is done nowhere else."""
    if session.postgresql:
        database = session.plain.database
        assert isinstance(database, PostgresDatabase)
        database.count_statements(on=True)
        try:
            yield session.plain
        finally:
            database.count_statements(on=False)
    else:
        with session.counting() as running:
            yield running


def _rounds(session: Session, running: Installation, clients: int) -> Sequence[Counters]:
    """By execution, without what the idle system does in the same time."""
    database, settle, number = running.database, session.sizes.settle_seconds, session.sizes.counted
    assert isinstance(database, (PostgresDatabase, CountedSqlite))
    path = session.three_steps(running)
    time.sleep(settle)
    start, before = time.perf_counter(), database.counters()
    time.sleep(settle)
    middle, after = time.perf_counter(), database.counters()
    idle = (after - before) * (1 / (middle - start))
    found = []
    for _ in range(session.sizes.rounds):
        running.run(f"{path}?wait=60", number=number, clients=clients, ended=True)
        time.sleep(settle)  # the transactions come late
        end, total = time.perf_counter(), database.counters()
        found.append((total - after - idle * (end - middle)) * (1 / number))
        middle, after = end, total
    return found
