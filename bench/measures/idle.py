"""What the system costs while nobody asks anything of it.

What the load before left to the database (dead rows, dirty pages) is cleaned up first: autovacuum and the checkpointer
would do it within the next minutes, in bursts of a few per cent of a core, which are the load's and not the rest's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.database import PostgresDatabase
from bench.figures import Figure, at_most
from bench.processes import memory
from bench.session import Session


def measure(session: Session) -> Iterator[Figure]:
    """CPU share of a core, statements and transactions a second, and memory."""
    running = session.plain
    database = running.database
    limit = at_most if session.postgresql else lambda _: None
    counting = database if isinstance(database, PostgresDatabase) else None
    if counting is not None:
        counting.clean_up()
        counting.count_statements(on=True)
    time.sleep(session.sizes.settle_seconds)
    counted = counting.counters() if counting is not None else None
    before, start = running.cpu(), time.perf_counter()
    time.sleep(session.sizes.idle_seconds)
    seconds = time.perf_counter() - start
    shares = {part: (used - before[part]) * 100 / seconds for part, used in running.cpu().items()}
    yield Figure(name="idle: CPU", value=sum(shares.values()), unit="% core", target=limit(1))
    for part, share in shares.items():
        yield Figure(name=f"idle: CPU, {part}", value=share, unit="% core")
    if counting is not None and counted is not None:
        done = counting.counters() - counted
        counting.count_statements(on=False)
        yield Figure(name="idle: statements", value=done.statements / seconds, unit="/s", target=at_most(2))
        yield Figure(name="idle: transactions", value=done.transactions / seconds, unit="/s")
        yield Figure(name="idle: commits", value=done.commits / seconds, unit="/s")
    ours = [*running.web_pids, *running.worker_pids]
    yield Figure(name="idle: memory, web and 2 workers (PSS)", value=memory(ours), unit="MB", target=limit(300))
    yield Figure(name="idle: memory, web (PSS)", value=memory(running.web_pids), unit="MB")
