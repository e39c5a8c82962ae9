"""What databases give, as JSON. Nothing is rounded: what JSON cannot hold as it is becomes text."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from types import NoneType
from typing import Any

from dataflow.lib.jsonvalues import LARGEST_INTEGER, SMALLEST_INTEGER
from tasks_lib.base import JsonValue

#: What one value that is no text counts for in bytes.
_SMALL = 8


def as_json(value: object) -> JsonValue:
    """One value of a row.

    Decimals are numbers where that keeps every digit, else text. Moments are RFC 3339 in UTC, without a zone where
    the database keeps none. Bytes are base64, spans of time are seconds, NaN and the infinities are text.
    """
    for types, made in _MAKERS:
        if isinstance(value, types):
            return made(value)
    return str(value)  # ranges, network addresses and identifiers and whatever else: as the database writes it


def size(value: JsonValue) -> int:
    """About how many bytes a JSON value takes."""
    match value:
        case str():
            return len(value.encode("utf-8", "replace"))
        case dict():
            return sum(size(name) + size(inner) for name, inner in value.items()) + _SMALL
        case list():
            return sum(size(inner) for inner in value) + _SMALL
        case _:
            return _SMALL


def unique_names(names: list[str]) -> list[str]:
    """Column names of which none comes twice: the second ``id`` is ``id_2``."""
    given: dict[str, None] = {}
    for name in names:
        chosen, number = name, 2
        while chosen in given or (number > 2 and chosen in names):
            chosen, number = f"{name}_{number}", number + 1
        given[chosen] = None
    return list(given)


def _decimal(value: Decimal) -> int | float | str:
    if not value.is_finite():
        return _not_finite(float("nan") if value.is_nan() else float(value))
    if value == value.to_integral_value() and SMALLEST_INTEGER <= value <= LARGEST_INTEGER:
        return int(value)
    near = float(value)
    return near if math.isfinite(near) and Decimal(repr(near)) == value else str(value)


def _moment(value: date | time | timedelta) -> str | float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime) and value.tzinfo is not None:
        try:
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        except OverflowError:  # the first and the last day of the calendar
            return value.isoformat()
    return value.isoformat()


def _float(value: float) -> float | str:
    return value if math.isfinite(value) else _not_finite(value)


def _integer(value: int) -> int | str:
    return value if SMALLEST_INTEGER <= value <= LARGEST_INTEGER else str(value)


def _bytes(value: bytes | bytearray | memoryview) -> str:
    return base64.b64encode(bytes(value)).decode()


def _same(value: JsonValue) -> JsonValue:
    return value


def _not_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


#: What is made of a value of one of these types; the first that fits.
_MAKERS: tuple[tuple[tuple[type, ...], Callable[[Any], JsonValue]], ...] = (
    ((NoneType, bool, str), _same),
    ((int,), _integer),
    ((float,), _float),
    ((Decimal,), _decimal),
    ((datetime, date, time, timedelta), _moment),
    ((bytes, bytearray, memoryview), _bytes),
    ((Mapping,), lambda value: {str(name): as_json(inner) for name, inner in value.items()}),
    ((list, tuple, set, frozenset), lambda value: [as_json(inner) for inner in value]),
)
