"""Moments that users give: RFC 3339."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def read_moment(text: str) -> datetime:
    """The moment in UTC. Raises ``ValueError`` for what is not RFC 3339 with a time zone, or is no date."""
    if not _RFC3339.fullmatch(text):
        raise ValueError("it is not a time with a zone, such as 2026-12-24T18:00:00Z")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError:  # the first and the last day of the calendar, elsewhere
        raise ValueError("it is not in the calendar") from None
