"""Two worker machines on one database against one, when tasks take 50 ms of CPU.

Two cores: a machine is one ``manage.py worker`` with one process (WORKERS=1), which Python keeps on one core.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.figures import Figure, at_least, figure
from bench.installation import Installation, until
from bench.session import Session
from bench.workflows import extracts
from tasks_lib import web_text

_CPU_SECONDS = 0.05


def measure(session: Session) -> Iterator[Figure]:
    """Executions a second of one and of two machines, in turn, and the ratio."""
    running = session.plain
    html, cost = _page_of_cpu_time()
    path = running.workflow(extracts(html))
    found: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(session.sizes.rounds):
        for machines, values in found.items():
            with running.other_workers(machines, processes=1):
                _round(running, path, machines * 4)  # imports and first connections
                values.append(_round(running, path, session.sizes.machines))
    yield Figure(name="CPU of the task (web.extract_text on a made page)", value=cost * 1000, unit="ms")
    yield figure("one worker machine, tasks of 50 ms of CPU", found[1], "/s")
    yield figure("two worker machines, tasks of 50 ms of CPU", found[2], "/s")
    ratios = [two / one for one, two in zip(found[1], found[2], strict=True)]
    yield figure("two worker machines against one", ratios, "", at_least(1.6) if session.postgresql else None)


def _round(running: Installation, path: str, number: int) -> float:
    start = time.perf_counter()
    running.run(path, number=number, clients=4)
    until(lambda: not running.alive(path), seconds=180, what="tasks that use the CPU")
    return number / (time.perf_counter() - start)


def _page_of_cpu_time() -> tuple[str, float]:
    """A page that takes about 50 ms to extract, and the seconds it took here."""
    paragraphs = 100
    _extract(_page(paragraphs))  # the first call imports
    for _ in range(3):
        paragraphs = max(1, round(paragraphs * _CPU_SECONDS / _extract(_page(paragraphs))))
    return _page(paragraphs), _extract(_page(paragraphs))


def _page(paragraphs: int) -> str:
    words = "words follow words, " * 8
    said = "".join(f"<p>Paragraph {place} says that {words} as they do.</p>" for place in range(paragraphs))
    return f"<html><head><title>A page</title></head><body><article><h1>A page</h1>{said}</article></body></html>"


def _extract(html: str) -> float:
    start = time.process_time()
    web_text.extract(html, "balanced")
    return time.process_time() - start
