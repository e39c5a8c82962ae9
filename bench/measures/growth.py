"""Throughput with many finished executions in the tables against that with none, in turn."""

from __future__ import annotations

from collections.abc import Iterator

from bench.figures import Figure, at_least, figure
from bench.measures.throughput import CLIENTS
from bench.session import Session


def measure(session: Session) -> Iterator[Figure]:
    """The ratio; both installations are up, and one of them is idle at a time."""
    paths = {running: session.three_steps(running) for running in (session.plain, session.full)}
    found: dict[object, list[float]] = {running: [] for running in paths}
    for _ in range(session.sizes.rounds):
        for running, path in paths.items():
            outcome = running.run(f"{path}?wait=60", number=session.sizes.throughput, clients=CLIENTS, ended=True)
            found[running].append(outcome.per_second)
    few, many = found.values()
    rows = session.sizes.rows
    yield figure("throughput with no finished executions, in turn", few, "/s")
    yield figure(f"throughput with {rows:,} finished executions, in turn", many, "/s")
    ratios = [full / empty for empty, full in zip(few, many, strict=True)]
    yield figure("growth: the ratio of the two", ratios, "", at_least(0.9) if session.postgresql else None)
