"""The measures of ../shared/spec/7-performance.md, in the order they are taken. One file each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from bench.figures import Figure
from bench.measures import (
    counts,
    files,
    for_each,
    growth,
    idle,
    latency,
    lists,
    machines,
    peer,
    requests,
    steps,
    throughput,
    waiting,
)
from bench.session import Session

#: Whatever fills tables or starts a second installation stands at the end.
MEASURES: Mapping[str, Callable[[Session], Iterable[Figure]]] = {
    "throughput": throughput.measure,
    "latency": latency.measure,
    "counts": counts.measure,
    "requests": requests.measure,
    "steps": steps.measure,
    "idle": idle.measure,
    "waiting": waiting.measure,
    "for_each": for_each.measure,
    "files": files.measure,
    "machines": machines.measure,
    "peer": peer.measure,
    "lists": lists.measure,
    "growth": growth.measure,
}
