"""What the system costs while nobody asks anything of it.

What the load before left to the database (dead rows, dirty pages) is cleaned up first: autovacuum and the checkpointer
would do it within the next minutes, in bursts of a few per cent of a core, which are the load's and not the rest's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench.database import Counters, PostgresDatabase
from bench.figures import Figure, at_most, figure
from bench.processes import memory
from bench.session import Session

_NOTHING = Counters(commits=0, statements=0)


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
    rounds = [_round(session, counting) for _ in range(session.sizes.rounds)]
    if counting is not None:
        counting.count_statements(on=False)
    yield figure("idle: CPU", [sum(one.shares.values()) for one in rounds], "% core", limit(1))
    for part in rounds[0].shares:
        yield figure(f"idle: CPU, {part}", [one.shares[part] for one in rounds], "% core")
    if counting is not None:
        yield figure("idle: statements", [one.done.statements for one in rounds], "/s", at_most(2))
        yield figure("idle: transactions", [one.done.transactions for one in rounds], "/s")
        yield figure("idle: commits", [one.done.commits for one in rounds], "/s")
    yield figure("idle: memory, web and 2 workers (PSS)", [one.memory for one in rounds], "MB", limit(300))
    yield figure("idle: memory, web (PSS)", [one.web for one in rounds], "MB")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    """CPU in % of a core by part, what was asked of the database a second, MB of all and of the web server."""

    shares: Mapping[str, float]
    done: Counters
    memory: float
    web: float


def _round(session: Session, counting: PostgresDatabase | None) -> _Round:
    running = session.plain
    counted = counting.counters() if counting is not None else _NOTHING
    before, start = running.cpu(), time.perf_counter()
    time.sleep(session.sizes.idle_seconds)
    seconds = time.perf_counter() - start
    shares = {part: (used - before[part]) * 100 / seconds for part, used in running.cpu().items()}
    done = (counting.counters() if counting is not None else _NOTHING) - counted
    both = memory([*running.web_pids, *running.worker_pids])
    return _Round(shares=shares, done=done * (1 / seconds), memory=both, web=memory(running.web_pids))
