"""Three durable steps, 20 at a time, in turn with bare psycopg loops; and where the CPU goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.database import PostgresDatabase
from bench.figures import Figure, at_least, figure
from bench.floor import lean_commits, same_commits
from bench.installation import Installation
from bench.session import Session

CLIENTS = 20


@dataclass(slots=True)
class _Rounds:
    per_second: list[float] = field(default_factory=list)
    commits: list[float] = field(default_factory=list)
    #: By bare psycopg: the commits that such an execution needs, and the least that four commits can be.
    same: list[float] = field(default_factory=list)
    lean: list[float] = field(default_factory=list)
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
        yield figure("bare psycopg, the same 4 commits, 20 at a time", rounds.same, "/s")
        ratios = [ours / bare for ours, bare in zip(rounds.per_second, rounds.same, strict=True)]
        yield figure("ratio to bare psycopg of the same commits in the same run", ratios, "", at_least(0.25))
        yield figure("bare psycopg, 4 one-row commits, 20 at a time", rounds.lean, "/s")
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
        rounds.commits.append((database.counters() - counted).commits / number)
        bare = {"executions": number * 2, "clients": CLIENTS}
        rounds.same.append(same_commits(database.url, like=_one_of(database, path), **bare))
        rounds.lean.append(lean_commits(database.url, **bare))


def _one_of(database: PostgresDatabase, path: str) -> str:
    """A finished execution of the workflow of ``path``."""
    query = "SELECT id FROM executions_execution WHERE workflow_id = %s AND status = 'COMPLETED' LIMIT 1"
    return str(database.rows(query, [path.split("/")[2]])[0][0])


def _without_client(cpu: dict[str, float]) -> float:
    return sum(spent for part, spent in cpu.items() if part != "client")
