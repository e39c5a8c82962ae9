"""The log lines of an execution's tasks, of all their tries and items, in the order of time.

They stand with the tries. The database takes them apart and sorts them, so that a page of those of 10,000 items is read
without the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection

from executions.engine.state import task_of

#: From the least to the most urgent.
LEVELS = ("debug", "info", "warning", "error")

#: The try that completed its task, or runs, is in the task run; those that did not are attempts (``present`` too).
_SOURCES = """
  SELECT name, item, attempt, log FROM executions_taskrun AS run
  WHERE execution_id = %(execution_id)s AND status IN ('RUNNING', 'COMPLETED') AND attempt > 0 AND log <> '[]'
    AND {of_task}
  UNION ALL
  SELECT run.name, run.item, tried.number, tried.log
  FROM executions_attempt AS tried JOIN executions_taskrun AS run ON run.id = tried.task_run_id
  WHERE run.execution_id = %(execution_id)s AND tried.log <> '[]' AND {of_task}
"""
#: Without its zone a time sorts as text: a whole second has no fraction.
_LINES = {
    "postgresql": """
  SELECT name, item, attempt, place, line.value::text AS line, line.value->>'level' AS level,
    rtrim(line.value->>'at', 'Z') COLLATE "C" AS at
  FROM source CROSS JOIN LATERAL json_array_elements(source.log::json) WITH ORDINALITY AS line(value, place)
""",
    "sqlite": """
  SELECT name, item, attempt, line.key + 1 AS place, line.value AS line, line.value->>'level' AS level,
    rtrim(line.value->>'at', 'Z') AS at
  FROM source, json_each(source.log) AS line
""",
}
_PAGE = """
WITH source AS ({sources}), line AS ({lines})
SELECT name, item, attempt, place, line, at FROM line WHERE {wanted} ORDER BY at, name, attempt, place LIMIT %(limit)s
"""
#: A task, all its items, or one item by its name.
_OF_TASK = (
    "(run.name = %(task)s OR (run.item IS NOT NULL AND substr(run.name, 1, length(%(task)s) + 1) = %(task)s || '['))"
)
_AFTER = "(at, name, attempt, place) > (%(at)s, %(name)s, %(number)s, %(place)s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a line stands among those of its execution."""

    at: str
    name: str
    number: int
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line as it is shown, and where it stands."""

    shown: Mapping[str, Any]
    place: Place


def lines_of(
    execution_id: str, *, limit: int, after: Place | None = None, task: str = "", level: str = LEVELS[0]
) -> list[Line]:
    """The first ``limit`` lines after ``after``, of ``task`` where it is given, of ``level`` or a more urgent one.

    ``task`` is the name of a task, whose items belong to it, or of one item, ``pages[3]``.
    """
    wanted = [", ".join(f"'{name}'" for name in LEVELS[LEVELS.index(level) :]).join(("level IN (", ")"))]
    values: dict[str, Any] = {"execution_id": execution_id, "limit": limit, "task": task}
    if after is not None:
        wanted.append(_AFTER)
        values |= {"at": after.at, "name": after.name, "number": after.number, "place": after.place}
    sources = _SOURCES.format(of_task=_OF_TASK if task else "%(task)s = ''")
    statement = _PAGE.format(sources=sources, lines=_LINES[connection.vendor], wanted=" AND ".join(wanted))
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return [_line(*row) for row in cursor.fetchall()]


def _line(name: str, item: int | None, attempt: int, place: int, text: str, at: str) -> Line:
    told = json.loads(text)
    shown = {key: told[key] for key in ("at", "level", "message")}
    shown |= {"task": task_of(name), "item": item, "attempt": attempt}
    return Line(shown=shown, place=Place(at=at, name=name, number=attempt, place=place))
