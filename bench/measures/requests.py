"""Starts a second, and reads of a status a second."""

from __future__ import annotations

from collections.abc import Iterator

from bench.figures import Figure, at_least, figure
from bench.installation import Installation, post, until
from bench.session import Session
from bench.slow_server import slow_server
from bench.workflows import waits_on

_CLIENTS = 20


def measure(session: Session) -> Iterator[Figure]:
    """Requests a second, 20 at a time. The workers work at what is started meanwhile."""
    running = session.plain
    path = session.three_steps(running)
    starts = []
    for _ in range(session.sizes.rounds):
        starts.append(running.run(path, number=session.sizes.requests, clients=_CLIENTS).per_second)
        until(lambda: not running.alive(path), seconds=120, what="what was started")
    few, many = (at_least(250), at_least(600)) if session.postgresql else (None, None)
    yield figure("start requests, 20 at a time", starts, "/s", few)
    finished = post(running, f"{path}?wait=60")["url"]
    yield figure("status reads of a finished execution, 20 at a time", _reads(session, running, finished), "/s", many)
    with slow_server() as url:
        started = post(running, running.workflow(waits_on(f"{url}/45")))["url"]
        until(lambda: running.call("GET", started)["status"] == "RUNNING", seconds=30, what="a running execution")
        yield figure("status reads of a running execution, 20 at a time", _reads(session, running, started), "/s", many)
        post(running, f"{started}/cancel")


def _reads(session: Session, running: Installation, url: str) -> list[float]:
    number, rounds = session.sizes.requests, session.sizes.rounds
    return [running.run(url, method="GET", number=number, clients=_CLIENTS).per_second for _ in range(rounds)]
