"""What an execution of three steps asks of PostgreSQL, web server and workers together."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.database import PostgresDatabase
from bench.figures import Figure, at_most
from bench.session import Session

_COUNTED = ("transactions", "commits", "statements")


def measure(session: Session) -> Iterator[Figure]:
    """Transactions, statements and commits of an execution, 20 at a time and one at a time; nothing on SQLite."""
    if not session.postgresql:
        return
    number = session.sizes.counted
    for clients in (20, 1):
        counted = _count(session, number, clients)
        name = f"of an execution, {clients} at a time"
        # A worker's sign of life more or less is no commit of an execution.
        yield Figure(name=f"commits {name}", value=round(counted["commits"], 1), target=at_most(6))
        yield Figure(name=f"transactions {name}, reads included", value=counted["transactions"])
        yield Figure(name=f"statements {name}, but BEGIN and COMMIT", value=counted["statements"])


def _count(session: Session, number: int, clients: int) -> dict[str, float]:
    """By execution, without what the idle system does in the same time."""
    running = session.plain
    database = running.database
    assert isinstance(database, PostgresDatabase)
    path = session.three_steps(running)
    database.count_statements(on=True)
    try:
        settle = session.sizes.settle_seconds
        time.sleep(settle)
        looks = [(time.perf_counter(), database.counters())]
        time.sleep(settle)
        looks.append((time.perf_counter(), database.counters()))
        running.run(f"{path}?wait=60", number=number, clients=clients, ended=True)
        time.sleep(settle)  # the transactions come late
        looks.append((time.perf_counter(), database.counters()))
        (start, first), (middle, second), (end, third) = looks
        idle, busy, share = second - first, third - second, (end - middle) / (middle - start)
        totals = {name: getattr(busy, name) - getattr(idle, name) * share for name in _COUNTED}
        return {name: total / number for name, total in totals.items()}
    finally:
        database.count_statements(on=False)
