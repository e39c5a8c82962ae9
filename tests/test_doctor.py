"""``manage.py doctor``: each thing looked at, when it is well and when it is not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.db.models.functions import Now
from pytest_django import Settings

from dataflow import doctor
from executions.models import Worker
from tasks_lib.clients import ffmpeg
from tests.plugins.stack import ROOT, Stack


@pytest.fixture
def fresh_ffmpeg() -> Iterator[None]:
    """The path of ffmpeg is looked up anew, before and after."""
    ffmpeg.binary.cache_clear()
    yield
    ffmpeg.binary.cache_clear()


@pytest.mark.django_db
def test_database_and_migrations_are_well() -> None:
    assert doctor.check_database().level == "ok"
    assert doctor.check_migrations() == doctor.Finding(name="migrations", level="ok", detail="all applied")


@pytest.mark.django_db
@pytest.mark.parametrize(("age", "level"), [(5, "ok"), (120, "fail")])
def test_workers_count_while_their_heartbeat_is_fresh(age: int, level: str) -> None:
    heartbeat = Now() - timedelta(seconds=age)
    Worker.objects.create(id="w", host="h", pid=1, threads=1, started_at=heartbeat, heartbeat_at=heartbeat)
    finding = doctor.check_workers()
    assert finding.level == level
    assert bool(finding.mend) is (level == "fail")


@pytest.mark.django_db
def test_no_worker_says_how_to_start_one() -> None:
    finding = doctor.check_workers()
    assert (finding.level, finding.detail) == ("fail", "none is running")
    assert "make run" in finding.as_line()


def test_storage(settings: Settings, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    assert doctor.check_storage().level == "ok"
    (tmp_path / "file").touch()
    settings.DATA_DIR = tmp_path / "file"
    assert doctor.check_storage().level == "fail"


def test_ffmpeg_runs(fresh_ffmpeg: None) -> None:
    finding = doctor.check_ffmpeg()
    assert finding.level == "ok"
    assert finding.detail.startswith("ffmpeg version")


def test_an_ffmpeg_that_does_not_run_is_found(
    fresh_ffmpeg: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    for path in (str(broken), str(tmp_path / "absent")):
        monkeypatch.setenv("FFMPEG_BINARY", path)
        ffmpeg.binary.cache_clear()
        finding = doctor.check_ffmpeg()
        assert finding.level == "fail"
        assert path in finding.detail


@pytest.mark.parametrize(
    ("key", "debug", "level", "said"),
    [
        ("sk-secret", False, "ok", "a key is set"),
        ("", True, "warn", "local voice"),
        ("", False, "warn", "need one with each execution"),
    ],
)
def test_speech(settings: Settings, key: str, debug: bool, level: str, said: str) -> None:
    settings.OPENAI_API_KEY, settings.DEBUG = key, debug
    finding = doctor.check_speech()
    assert finding.level == level
    assert said in finding.detail
    assert "sk-secret" not in finding.as_line()


@pytest.mark.processes
@pytest.mark.slow
def test_the_command_on_a_running_installation(shared_stack: Stack) -> None:
    findings = json.loads(shared_stack.manage("doctor", "--json").stdout)
    assert {finding["name"]: finding["level"] for finding in findings} == {
        "database": "ok",
        "migrations": "ok",
        "workers": "ok",
        "storage": "ok",
        "ffmpeg": "ok",
        "openai": "warn",
    }
    assert f"ok    database: {connection.display_name}" in shared_stack.manage("doctor").stdout


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:hunter2@127.0.0.1:1/x", "fail  database: cannot be reached"),
        ("", "fail  migrations:"),
    ],
)
def test_the_command_on_a_broken_one_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    command = [sys.executable, str(ROOT / "manage.py"), "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert said in done.stdout
    assert "ok    storage:" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
