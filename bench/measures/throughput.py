"""Three durable steps, 20 at a time, in turn with a bare psycopg loop of as many commits; and where the CPU goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.database import PostgresDatabase
from bench.figures import Figure, at_least, figure
from bench.floor import bare_loop
from bench.installation import Installation
from bench.session import Session

CLIENTS = 20


@dataclass(slots=True)
class _Rounds:
    per_second: list[float] = field(default_factory=list)
    commits: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    cpu: list[dict[str, float]] = field(default_factory=list)


def measure(session: Session) -> Iterator[Figure]:
    """Executions a second and what they cost; the bare loop only on PostgreSQL."""
    running = session.plain
    path = session.three_steps(running)
    rounds = _Rounds()
    for _ in range(session.sizes.rounds):
        _round(running, path, session.sizes.throughput, rounds)
    target = at_least(170 if session.postgresql else 60)
    yield figure("throughput, 3 durable steps, 20 at a time", rounds.per_second, "/s", target)
    if rounds.commits:
        yield figure("commits of an execution (transactions that write)", rounds.commits)
        yield figure("bare psycopg, as many commits, 20 at a time", rounds.floor, "/s")
        ratios = [ours / bare for ours, bare in zip(rounds.per_second, rounds.floor, strict=True)]
        yield figure("ratio to bare psycopg in the same run", ratios, "", at_least(0.25))
    for part in rounds.cpu[0]:
        yield figure(f"CPU of an execution: {part}", [one[part] for one in rounds.cpu], "ms")
    yield figure("CPU of an execution: all but the client", [_without_client(one) for one in rounds.cpu], "ms")


def _round(running: Installation, path: str, number: int, rounds: _Rounds) -> None:
    database = running.database
    before = running.cpu()
    counted = database.counters() if isinstance(database, PostgresDatabase) else None
    outcome = running.run(f"{path}?wait=60", number=number, clients=CLIENTS, ended=True)
    spent = {part: used - before[part] for part, used in running.cpu().items()} | {"client": outcome.cpu}
    rounds.per_second.append(outcome.per_second)
    rounds.cpu.append({part: seconds * 1000 / number for part, seconds in spent.items()})
    if isinstance(database, PostgresDatabase) and counted is not None:
        commits = (database.counters() - counted).commits / number
        rounds.commits.append(commits)
        bare = bare_loop(database.url, executions=number * 2, clients=CLIENTS, commits=max(1, round(commits)))
        rounds.floor.append(bare)


def _without_client(cpu: dict[str, float]) -> float:
    return sum(spent for part, spent in cpu.items() if part != "client")
