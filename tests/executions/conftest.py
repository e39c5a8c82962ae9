"""Fixtures of the database tests."""

from __future__ import annotations

import pytest

from executions.definitions import definition_of


@pytest.fixture(autouse=True)
def no_definitions_of_other_tests() -> None:
    """A rolled-back test leaves its version's number to the next one; in an installation no number comes twice."""
    definition_of.cache_clear()
