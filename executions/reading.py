"""Rows of models by prepared statements, for the reads that every request makes: Django's own cost a multiple."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from django.db import connection, models

from dataflow.lib.fields import JsonField
from executions.database import moment, rows_of

Row = TypeVar("Row", bound=models.Model)
_PLACES = ("?",) * 9, ("%s",) * 9


def read(model: type[Row], condition: str, values: Sequence[Any]) -> list[Row]:
    """The whole rows of ``model`` for which ``condition`` holds: SQL with ``{0}``, ``{1}`` … where ``values`` go."""
    plan = _plan(model)
    places = _PLACES[connection.vendor == "postgresql"]
    found = rows_of(plan.select + condition.format(*places), values)
    return [model.from_db("default", plan.names, plan.converted(row)) for row in found]


@dataclass(frozen=True, slots=True)
class _Plan:
    """How the rows of a model are read."""

    select: str
    names: list[str]
    converters: list[tuple[int, Callable[[Any], Any]]]

    def converted(self, row: tuple[Any, ...]) -> list[Any]:
        values = list(row)
        for place, convert in self.converters:
            if values[place] is not None:
                values[place] = convert(values[place])
        return values


@cache
def _plan(model: type[models.Model]) -> _Plan:
    meta = model._meta  # noqa: SLF001 - `_meta` is Django's documented API
    fields = meta.concrete_fields
    columns = ", ".join(f'"{field.column}"' for field in fields)
    converters = [(place, found) for place, field in enumerate(fields) if (found := _converter(field))]
    # Made of a model's own names only.
    select = f'SELECT {columns} FROM "{meta.db_table}" WHERE '  # noqa: S608
    return _Plan(select, [field.attname for field in fields], converters)


def _value(text: str) -> Any:
    """A JSON value; most columns of most rows are empty."""
    return {} if text == "{}" else [] if text == "[]" else json.loads(text)


def _converter(field: models.Field[Any, Any]) -> Callable[[Any], Any] | None:
    """What makes Python's value of the database's, where the two differ on any database."""
    if isinstance(field, JsonField):
        return _value
    if isinstance(field, models.DateTimeField):
        return moment
    return bool if isinstance(field, models.BooleanField) else None
