"""Fixtures of the whole suite. The database is chosen in ``tests/plugins/database.py``."""

from __future__ import annotations

pytest_plugins = ["tests.plugins.browser", "tests.plugins.stack"]
