"""What a file of 512 MiB costs on its way through a workflow, in memory above all."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.figures import Figure, at_most
from bench.files import LIMIT_MB, through_a_workflow
from bench.session import Session


def measure(session: Session) -> Iterator[Figure]:
    """Seconds for all of it, and the peak of the largest process of each kind."""
    running, size = session.plain, session.sizes.file_mebibytes
    roots = {"web": running.web_pids[0], "worker": running.worker_pids[0]}
    start = time.perf_counter()
    peaks = through_a_workflow(running.port, roots, size)
    yield Figure(name=f"files: {size} MiB through a workflow", value=time.perf_counter() - start, unit="s")
    for name, peak in peaks.items():
        yield Figure(name=f"files: {name}, largest process (RSS)", value=peak, unit="MB", target=at_most(LIMIT_MB))
