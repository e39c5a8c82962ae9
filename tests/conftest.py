"""Fixtures of the whole suite. The database is chosen in ``tests/plugins/database.py``."""

from __future__ import annotations

import pytest

pytest_plugins = ["tests.plugins.browser", "tests.plugins.stack"]


@pytest.fixture(autouse=True)
def fresh_definitions() -> None:
    """A rolled-back test gives its version's number to the next one; in an installation no number comes twice."""
    from executions.definitions import definition_of  # noqa: PLC0415 - Django is not set up when this file is read

    definition_of.cache_clear()


@pytest.fixture(autouse=True)
def fresh_secrets() -> None:
    """A rolled-back test leaves no secret behind; in an installation one is as good as new for some seconds."""
    from executions import secret_store  # noqa: PLC0415 - as above

    secret_store.forget_read()
