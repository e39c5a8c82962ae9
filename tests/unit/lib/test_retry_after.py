"""The ``Retry-After`` header."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from dataflow.lib.retry_after import parse_retry_after


@pytest.mark.parametrize(("value", "seconds"), [("0", 0), ("120", 120), (" 7 ", 7), ("1.5", 1.5)])
def test_seconds(value: str, seconds: float) -> None:
    assert parse_retry_after(value) == seconds


def test_a_date() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=90)
    assert 85 <= (parse_retry_after(format_datetime(soon, usegmt=True)) or 0) <= 90


def test_a_date_that_has_passed() -> None:
    assert parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0


@pytest.mark.parametrize("value", [None, "", "soon", "-5", "nan", "inf", "1e9", "9" * 400, "٣", "Wed, 99 Foo 2015"])
def test_nonsense(value: str | None) -> None:
    assert parse_retry_after(value) is None
