"""``for_each`` over 10,000 trivial items: seconds, and whether the workers' memory stays flat."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.figures import Figure, at_most, figure
from bench.installation import Installation, post, until
from bench.processes import memory
from bench.session import Session
from bench.workflows import FOR_EACH

#: What "flat" allows: the list itself, its outputs and a batch, in MB.
_FLAT = 50.0


def measure(session: Session) -> Iterator[Figure]:
    """Seconds; MB before, at the worst, and the difference."""
    running = session.plain
    number = session.sizes.items
    path = running.workflow(FOR_EACH)
    _round(running, path, 10)
    before = memory(running.worker_pids, kind="rss")
    with _worst_memory(running) as seen:
        times = [_round(running, path, number) for _ in range(session.sizes.rounds)]
    seconds, growth = (at_most(15), at_most(_FLAT)) if session.postgresql else (None, None)
    name = f"for_each over {number:,} items"
    yield figure(name, times, "s", seconds)
    yield Figure(name=f"{name}: memory of the workers before (RSS)", value=before, unit="MB")
    yield Figure(name=f"{name}: at the worst", value=max(seen), unit="MB")
    yield Figure(name=f"{name}: growth", value=max(seen) - before, unit="MB", target=growth)


def _round(running: Installation, path: str, number: int) -> float:
    start = time.perf_counter()
    texts = [f"item {place}" for place in range(number)]
    started = post(running, path, {"inputs": {"texts": texts}})["url"]
    until(lambda: not running.alive(path), seconds=180, what=started)
    seconds = time.perf_counter() - start
    if (status := running.call("GET", started)["status"]) != "COMPLETED":
        raise RuntimeError(f"{started} is {status}")
    return seconds


@contextmanager
def _worst_memory(running: Installation) -> Iterator[list[float]]:
    """Looks at the workers' memory five times a second."""
    over = threading.Event()
    seen: list[float] = []

    def look() -> None:
        while not over.is_set():
            seen.append(memory(running.worker_pids, kind="rss"))
            time.sleep(0.2)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
