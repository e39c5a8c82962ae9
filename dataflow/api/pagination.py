"""Cursor paging of lists that are ordered by ``-created_at, -id``: as fast on page 10,000 as on page 1."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from django.db.models import AutoField, Model, Q, QuerySet
from django.http import QueryDict

from dataflow.lib.errors import ApiProblem, Problem, invalid

DEFAULT_LIMIT = 50
MAX_LIMIT = 200

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Row]):
    """One page of a list; ``next_cursor`` is ``None`` on the last one."""

    rows: list[Row]
    next_cursor: str | None


def page_of(rows: QuerySet[Row], query: Mapping[str, str]) -> Page[Row]:
    """The page that ``limit`` and ``cursor`` ask for. Raises ``ApiProblem`` 400 for bad ones."""
    limit = _limit(query.get("limit", ""))
    if cursor := query.get("cursor", ""):
        key = rows.model._meta.pk  # noqa: SLF001 - `_meta` is Django's documented API
        rows = rows.filter(_after(cursor, numbered=isinstance(key, AutoField)))
    found = list(rows[: limit + 1])
    more = len(found) > limit
    return Page(rows=found[:limit], next_cursor=_cursor_of(found[limit - 1]) if more else None)


def next_link(path: str, query: QueryDict, cursor: str | None, *, name: str = "cursor") -> dict[str, str]:
    """The ``Link`` header to the next page, if there is one; a parameter given several times stays so."""
    if cursor is None:
        return {}
    following = query.copy()
    following[name] = cursor
    return {"Link": f'<{path}?{following.urlencode()}>; rel="next"'}


def bad_parameter(name: str, detail: str) -> ApiProblem:
    """A 400 for a parameter of the query string."""
    return invalid(detail, [Problem(pointer=f"/{name}", code="invalid_parameter", detail=detail)])


def _limit(text: str) -> int:
    if not text:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= MAX_LIMIT):
        raise bad_parameter("limit", f"`limit` is a whole number from 1 to {MAX_LIMIT}.")
    return int(text)


def _cursor_of(row: Any) -> str:
    return write_cursor(row.created_at.isoformat(), row.pk)


def _after(cursor: str, *, numbered: bool) -> Q:
    at: datetime | None
    try:
        moment, key = read_cursor(cursor, parts=2)
        at = moment_of(moment)
    except ValueError:
        at, key = None, ""
    # A key of another list must not reach a column of numbers: it would be an error of the server.
    if at is None or not (key.isdigit() and len(key) <= 18 if numbered else is_key(key)):
        raise bad_parameter("cursor", "`cursor` is not one that a list gave as `next_cursor`.")
    # The first half alone is what an index can be entered by: without it, page 10,000 would read all before it.
    return Q(created_at__lte=at) & (Q(created_at__lt=at) | Q(pk__lt=key))


def write_cursor(*parts: str | int) -> str:
    """An opaque text that tells a place in a list."""
    return base64.urlsafe_b64encode("~".join(map(str, parts)).encode()).decode().rstrip("=")


def read_cursor(cursor: str, *, parts: int) -> list[str]:
    """What ``write_cursor`` was given. Raises ``ValueError`` where it made no such text of so many parts."""
    found = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii").split("~")
    if len(found) != parts:
        raise ValueError(cursor)
    return found


def moment_of(text: str) -> datetime:
    """The moment in UTC that a part of a cursor tells. Raises ``ValueError``."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(text)
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(text) from error


def is_key(text: str) -> bool:
    """Whether a part of a cursor may be an id such as ``we-…``."""
    return text.replace("-", "").isalnum()
