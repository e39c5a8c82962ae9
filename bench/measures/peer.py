"""The same work by another system, in turn with us: A B A B on the same PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench.client import Job, Outcome
from bench.database import PostgresDatabase
from bench.figures import Figure, at_least, at_most, figure
from bench.installation import run_client
from bench.measures.throughput import CLIENTS
from bench.peer.runner import Peer, dbos
from bench.session import Session

_READS = 400


def measure(session: Session) -> Iterator[Figure]:
    """Throughput and latency of both and their ratios, and the peer's other figures; nothing without ``--peer``."""
    if session.peer is None:
        return
    running = session.plain
    path = f"{session.three_steps(running)}?wait=60"
    database = session.database()
    assert isinstance(database, PostgresDatabase)
    with dbos(database) as peer:
        _run(peer, path="/run", number=20, clients=10, ended=True)
        found: dict[str, list[float]] = {"our rate": [], "their rate": [], "our time": [], "their time": []}
        for _ in range(session.sizes.rounds):
            many = {"number": session.sizes.throughput, "clients": CLIENTS, "ended": True}
            few = {"number": session.sizes.latency, "ended": True}
            found["our rate"].append(running.run(path, **many).per_second)
            found["their rate"].append(_run(peer, path="/run", **many).per_second)
            found["our time"].append(running.run(path, **few).percentile(0.5))
            found["their time"].append(_run(peer, path="/run", **few).percentile(0.5))
        yield from _compared(found, peer.name)
        yield from _others(session, peer)


def _compared(found: dict[str, list[float]], name: str) -> Iterator[Figure]:
    yield figure("throughput in turn: ours", found["our rate"], "/s")
    yield figure(f"throughput in turn: {name}", found["their rate"], "/s")
    rates = [ours / theirs for ours, theirs in zip(found["our rate"], found["their rate"], strict=True)]
    yield figure(f"throughput: ratio to {name}", rates, "×", at_least(3))
    yield figure("latency p50 in turn: ours", found["our time"], "ms")
    yield figure(f"latency p50 in turn: {name}", found["their time"], "ms")
    times = [ours / theirs for ours, theirs in zip(found["our time"], found["their time"], strict=True)]
    yield figure(f"latency: ratio to {name}", times, "×", at_most(0.6))


def _others(session: Session, peer: Peer) -> Iterator[Figure]:
    sizes = session.sizes
    polls = _run(peer, path="/start", number=sizes.latency, poll=0.005)
    yield Figure(name=f"{peer.name}: latency, start and poll, p50", value=polls.percentile(0.5), unit="ms")
    starts = _run(peer, path="/start", number=min(sizes.requests, _READS), clients=CLIENTS)
    yield Figure(name=f"{peer.name}: start requests, 20 at a time", value=starts.per_second, unit="/s")
    url = peer.finished()
    reads = _run(peer, path=url, method="GET", number=min(sizes.requests, _READS), clients=CLIENTS)
    yield Figure(name=f"{peer.name}: status reads, 20 at a time", value=reads.per_second, unit="/s")
    yield Figure(name=f"{peer.name}: memory (PSS)", value=peer.memory(), unit="MB")


def _run(peer: Peer, *, path: str, **job: Any) -> Outcome:
    return run_client(Job(port=peer.port, path=path, **job))
