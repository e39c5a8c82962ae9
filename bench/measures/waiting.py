"""Many executions that each wait 2 s on the network, with two worker processes."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.figures import Figure, at_most, figure
from bench.installation import Installation, until
from bench.session import Session
from bench.slow_server import slow_server
from bench.workflows import waits_on


def measure(session: Session) -> Iterator[Figure]:
    """Seconds from the first start until the last has ended; the default number of threads."""
    number = session.sizes.waiting
    with slow_server() as url:
        path = session.plain.workflow(waits_on(f"{url}/2"))
        times = [_round(session.plain, path, number) for _ in range(session.sizes.rounds)]
    target = at_most(6) if session.postgresql else None
    yield figure(f"{number} executions that wait 2 s, 2 worker processes", times, "s", target)


def _round(running: Installation, path: str, number: int) -> float:
    start = time.perf_counter()
    running.run(path, number=number, clients=20)
    until(lambda: not running.alive(path), seconds=180, what="the executions that wait")
    seconds = time.perf_counter() - start
    if failed := running.call("GET", f"{path}?status=FAILED")["executions"]:
        raise RuntimeError(f"{failed[0]['url']} is FAILED")
    return seconds
