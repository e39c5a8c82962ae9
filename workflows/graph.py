"""The tasks of a definition as a drawing: layers from left to right, made on the server, read by a template as SVG."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks_lib import registry
from workflows.definition import Definition, check

#: Beyond that a drawing helps nobody; the list of tasks remains.
_MOST_TASKS = 120
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 190, 52, 56, 18, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A task in the drawing; ``x`` and ``y`` are its upper left corner in pixels."""

    name: str
    type: str
    x: int
    y: int
    after: tuple[str, ...]
    shown_name: str
    shown_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """All boxes and the curves between them, in pixels."""

    width: int
    height: int
    box_width: int
    box_height: int
    boxes: tuple[Box, ...]
    curves: tuple[str, ...]


def drawing_of(document: Mapping[str, Any]) -> Drawing | None:
    """The drawing of a definition; ``None`` for one that this installation cannot read or that is too large."""
    definition = check(document, registry).definition
    if definition is None or not 0 < len(definition.tasks) <= _MOST_TASKS:
        return None
    return _draw(definition)


def _draw(definition: Definition) -> Drawing:
    needed = {task.name: _direct(definition, task.name) for task in definition.tasks}
    depth = _depths(definition, needed)
    layers: dict[int, list[str]] = defaultdict(list)
    for task in definition.tasks:
        layers[depth[task.name]].append(task.name)
    rows = _rows(layers, needed)
    tallest = max(len(names) for names in layers.values())
    places = {name: _place(depth[name], rows[name], len(layers[depth[name]]), tallest) for name in depth}
    boxes = tuple(
        Box(
            name=task.name,
            type=task.type,
            x=places[task.name][0],
            y=places[task.name][1],
            after=needed[task.name],
            shown_name=_fit(task.name, 22),
            shown_type=_fit(task.type, 28),
        )
        for task in definition.tasks
    )
    return Drawing(
        width=len(layers) * (_WIDTH + _GAP_X) - _GAP_X + 2 * _MARGIN,
        height=tallest * (_HEIGHT + _GAP_Y) - _GAP_Y + 2 * _MARGIN,
        box_width=_WIDTH,
        box_height=_HEIGHT,
        boxes=boxes,
        curves=tuple(_curve(places[other], places[name]) for name in places for other in needed[name]),
    )


def _direct(definition: Definition, name: str) -> tuple[str, ...]:
    """What a task waits for, without what it waits for anyway through another."""
    waits = {task.name: set(task.dependencies) for task in definition.tasks}
    behind: set[str] = set()
    for other in waits[name]:
        stack = list(waits[other])
        while stack:
            if (found := stack.pop()) not in behind:
                behind.add(found)
                stack.extend(waits[found])
    return tuple(sorted(waits[name] - behind))


def _depths(definition: Definition, needed: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """The longest way to each task from a task that waits for nothing."""
    depth: dict[str, int] = {}

    def ready(name: str) -> bool:
        return all(other in depth for other in needed[name])

    left = [task.name for task in definition.tasks]
    while left:
        next_layer = [name for name in left if ready(name)]
        depth |= {name: 1 + max((depth[other] for other in needed[name]), default=-1) for name in next_layer}
        left = [name for name in left if name not in depth]
    return depth


def _rows(layers: Mapping[int, list[str]], needed: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """The row of each task in its layer, near the middle of what it waits for."""
    rows: dict[str, int] = {}
    for layer in sorted(layers):
        names = layers[layer]
        middle = {name: sum(rows[other] for other in needed[name]) / max(1, len(needed[name])) for name in names}
        rows |= {name: row for row, name in enumerate(sorted(names, key=middle.__getitem__))}
    return rows


def _place(depth: int, row: int, in_layer: int, tallest: int) -> tuple[int, int]:
    lower = (tallest - in_layer) * (_HEIGHT + _GAP_Y) // 2
    return _MARGIN + depth * (_WIDTH + _GAP_X), _MARGIN + lower + row * (_HEIGHT + _GAP_Y)


def _curve(start: tuple[int, int], end: tuple[int, int]) -> str:
    x1, y1 = start[0] + _WIDTH, start[1] + _HEIGHT // 2
    x2, y2 = end[0] - 5, end[1] + _HEIGHT // 2
    bend = min(_GAP_X, (x2 - x1)) // 2
    return f"M{x1} {y1} C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"


def _fit(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
