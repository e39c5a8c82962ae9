"""From POST to COMPLETED, one at a time: by ``?wait=``, and by asking for the status every 5 ms."""

from __future__ import annotations

from collections.abc import Iterator

from bench.figures import Figure, at_most, figure
from bench.session import Session


def measure(session: Session) -> Iterator[Figure]:
    """Milliseconds; the targets are for PostgreSQL."""
    running = session.plain
    path = session.three_steps(running)
    number = session.sizes.latency
    waits, polls = [], []
    for _ in range(session.sizes.rounds):
        waits.append(running.run(f"{path}?wait=60", number=number, ended=True))
        polls.append(running.run(path, number=number, poll=0.005))
    middle, worst = (at_most(15), at_most(40)) if session.postgresql else (None, None)
    yield figure("latency, POST with ?wait, one at a time, p50", [one.percentile(0.5) for one in waits], "ms", middle)
    yield figure("latency, POST with ?wait, one at a time, p95", [one.percentile(0.95) for one in waits], "ms", worst)
    yield figure("latency, POST and poll, one at a time, p50", [one.percentile(0.5) for one in polls], "ms")
    yield figure("latency, POST and poll, one at a time, p95", [one.percentile(0.95) for one in polls], "ms")
