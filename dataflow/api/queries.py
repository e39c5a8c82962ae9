"""Reading parameters of the query string, refusing what no database takes."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from django.http import QueryDict
from django.utils.dateparse import parse_datetime

from dataflow.api.pagination import bad_parameter


def text_parameter(query: QueryDict, name: str, *, max_length: int = 200) -> str:
    """A text, empty when it was not given."""
    text = query.get(name, "")
    if len(text) > max_length or "\0" in text:
        raise bad_parameter(name, f"`{name}` is a text of at most {max_length} characters.")
    return text


def choices_parameter(query: QueryDict, name: str, known: Collection[str]) -> list[str]:
    """Values out of ``known``, given several times or separated by commas, without regard to case."""
    given = [value.strip().upper() for text in query.getlist(name) for value in text.split(",")]
    chosen = [value for value in given if value]
    if unknown := [value for value in chosen if value not in known]:
        raise bad_parameter(name, f"`{name}` is one of {', '.join(known)}, not {unknown[0][:40]}.")
    return chosen


def time_parameter(query: QueryDict, name: str) -> datetime | None:
    """A moment, RFC 3339 with its zone; ``None`` when it was not given."""
    text = query.get(name, "")
    if not text:
        return None
    try:
        moment = parse_datetime(text.replace(" ", "+"))
        # Times at the very ends of the calendar have no equal in UTC.
        moment = moment.astimezone(UTC) if moment is not None and moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        raise bad_parameter(name, f"`{name}` is a time such as 2026-11-23T08:00:00Z.")
    return moment


def number_parameter(query: QueryDict, name: str, *, maximum: float) -> float:
    """A number from 0 to ``maximum``, 0 when it was not given."""
    text = query.get(name, "0")
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= maximum:
        raise bad_parameter(name, f"`{name}` is a number from 0 to {maximum:g}.")
    return number
