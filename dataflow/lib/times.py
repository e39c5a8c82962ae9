"""Moments as the API, webhooks and logs write them."""

from __future__ import annotations

from datetime import datetime


def rfc3339(moment: datetime) -> str:
    """A moment in UTC as RFC 3339 with ``Z``."""
    return moment.isoformat().replace("+00:00", "Z")
