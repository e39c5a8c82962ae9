"""Cursor paging of lists that are ordered by ``-created_at, -id``: as fast on page 10,000 as on page 1."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from django.db.models import Model, Q, QuerySet

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
        rows = rows.filter(_after(cursor))
    found = list(rows[: limit + 1])
    more = len(found) > limit
    return Page(rows=found[:limit], next_cursor=_cursor_of(found[limit - 1]) if more else None)


def next_link(path: str, query: Mapping[str, str], cursor: str | None) -> dict[str, str]:
    """The ``Link`` header to the next page, if there is one."""
    if cursor is None:
        return {}
    return {"Link": f'<{path}?{urlencode({**query, "cursor": cursor})}>; rel="next"'}


def bad_parameter(name: str, detail: str) -> ApiProblem:
    """A 400 for a parameter of the query string."""
    return invalid(detail, [Problem(pointer=f"/{name}", code="invalid_parameter", detail=detail)])


def _limit(text: str) -> int:
    if not text:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_LIMIT):
        raise bad_parameter("limit", f"`limit` is a whole number from 1 to {MAX_LIMIT}.")
    return int(text)


def _cursor_of(row: Any) -> str:
    return base64.urlsafe_b64encode(f"{row.created_at.isoformat()}~{row.pk}".encode()).decode().rstrip("=")


def _after(cursor: str) -> Q:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        moment, key = text.split("~")
        at = datetime.fromisoformat(moment)
    except (binascii.Error, ValueError):
        at, key = None, ""
    if at is None or at.tzinfo is None or not key.replace("-", "").isalnum():
        raise bad_parameter("cursor", "`cursor` is not one that a list gave as `next_cursor`.")
    return Q(created_at__lt=at) | Q(created_at=at, pk__lt=key)
