"""What one step costs in a sequence of 100."""

from __future__ import annotations

from collections.abc import Iterator

from bench.database import PostgresDatabase
from bench.figures import Figure, at_most, figure
from bench.session import Session
from bench.workflows import sequence

_STEPS = 100


def measure(session: Session) -> Iterator[Figure]:
    """CPU of workers and database, and commits, by step; one execution at a time."""
    running = session.plain
    database = running.database
    path = running.workflow(sequence(_STEPS))
    running.run(f"{path}?wait=60", number=1, ended=True)
    number = session.sizes.sequences
    cpu, commits, times = [], [], []
    for _ in range(session.sizes.rounds):
        before = running.cpu()
        counted = database.counters() if isinstance(database, PostgresDatabase) else None
        outcome = running.run(f"{path}?wait=60", number=number, ended=True)
        spent = {part: used - before[part] for part, used in running.cpu().items()}
        cpu.append((spent["worker"] + spent.get("database", 0.0)) * 1000 / number / _STEPS)
        times.append(outcome.seconds * 1000 / number / _STEPS)
        if isinstance(database, PostgresDatabase) and counted is not None:
            commits.append((database.counters() - counted).commits / number / _STEPS)
    target = at_most(1.5) if session.postgresql else None
    yield figure("a step in a sequence of 100: CPU, worker and database", cpu, "ms", target)
    if commits:
        # The execution's own start is no step: 1.05 is "1 commit".
        yield figure("a step in a sequence of 100: commits", commits, "", at_most(1.05))
    yield figure("a step in a sequence of 100: time", times, "ms")
