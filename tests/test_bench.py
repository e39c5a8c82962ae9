"""The bench works: its figures are not asserted, but that there are any is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.figures import at_least, at_most, failed, figure, unmet

ROOT = Path(__file__).resolve().parent.parent

#: One figure of each kind of measure: load, counters, rows made by SQL.
EXPECTED = {
    "postgresql": {
        "ratio to bare psycopg of the same commits in the same run",
        "statements of an execution, 1 at a time, but BEGIN and COMMIT",
    },
    "sqlite": {
        "throughput, 3 durable steps, 20 at a time",
        "statements of an execution, 1 at a time, but BEGIN and COMMIT",
        "commits of an execution, 1 at a time",
        "list of 50 out of 300, of all: first page, p50",
    },
}


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.any_database
@pytest.mark.parametrize("database", EXPECTED)
def test_it_measures(database: str, tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    only = ["throughput", "counts"] if database == "postgresql" else ["throughput", "counts", "lists"]
    command = [sys.executable, "-m", "bench", "--quick", "--rows", "300", "--database", database, "--only", *only]
    environment = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "DATA_DIR"}}
    done = subprocess.run(
        [*command, "--output", str(output)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(output.read_text())["results"][database]
    assert [found for found in figures if found.get("failed")] == []
    assert {found["name"] for found in figures if found["value"] > 0} >= EXPECTED[database]


@pytest.mark.any_database
def test_a_target_is_met_at_its_limit_and_missed_beyond() -> None:
    figures = [
        figure("enough", [3, 1, 2], "/s", at_least(2)),
        figure("few", [1.9], "/s", at_least(2)),
        figure("fast", [2], "ms", at_most(2)),
        figure("slow", [2.1], "ms", at_most(2)),
        figure("no target", [1]),
        failed("broken", "it does not start"),
    ]
    assert [found.met for found in figures] == [True, False, True, False, None, None]
    assert [found.name for found in unmet(figures)] == ["few", "slow", "broken"]
