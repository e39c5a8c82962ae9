"""The dependency graph: order, stages, cycles. No recursion: a chain may have 500 tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heappop, heappush

Graph = Mapping[str, Sequence[str]]


def in_order(graph: Graph) -> list[str]:
    """Names so that each comes after all it depends on, else in the order of ``graph``.

    Those in or behind a cycle are left out. Names that ``graph`` does not have as keys are ignored.
    """
    position = {name: index for index, name in enumerate(graph)}
    names = list(graph)
    waiting: dict[str, int] = {}
    followers: dict[str, list[str]] = {name: [] for name in graph}
    for name, needed in graph.items():
        known = position.keys() & needed
        waiting[name] = len(known)
        for one in known:
            followers[one].append(name)
    ready = [position[name] for name in names if waiting[name] == 0]  # sorted, so it is a heap
    ordered = []
    while ready:
        name = names[heappop(ready)]
        ordered.append(name)
        for follower in followers[name]:
            waiting[follower] -= 1
            if waiting[follower] == 0:
                heappush(ready, position[follower])
    return ordered


def cycles(graph: Graph) -> list[list[str]]:
    """Cycles, each as the names along it: each depends on the next, the last on the first.

    Every group of tasks that cannot be ordered gives at least one.
    """
    ordered = set(in_order(graph))
    if len(ordered) == len(graph):
        return []
    stuck = [name for name in graph if name not in ordered]
    successor = {name: next(one for one in graph[name] if one in graph and one not in ordered) for name in stuck}
    seen: set[str] = set()
    found = []
    for start in stuck:
        walk: dict[str, None] = {}
        name = start
        while name not in seen and name not in walk:
            walk[name] = None
            name = successor[name]
        if name in walk:
            names = list(walk)
            found.append(names[names.index(name) :])
        seen.update(walk)
    return found


def stages(graph: Graph) -> list[list[str]]:
    """Lists of names that can run at the same time, each stage after the one before it. ``graph`` has no cycle."""
    level: dict[str, int] = {}
    grouped: list[list[str]] = []
    for name in in_order(graph):
        level[name] = max((level[one] + 1 for one in graph[name] if one in level), default=0)
        if level[name] == len(grouped):
            grouped.append([])
        grouped[level[name]].append(name)
    return grouped


def ancestors(graph: Graph) -> dict[str, int]:
    """For each name all that it depends on, directly or not, as bits in the order of ``graph``; no cycles."""
    bit = {name: 1 << index for index, name in enumerate(graph)}
    above: dict[str, int] = {}
    for name in in_order(graph):
        mask = 0
        for one in graph[name]:
            if one in above:
                mask |= bit[one] | above[one]
        above[name] = mask
    return above
