"""Temporary files of a worker that was killed are removed by the next one; those of the living stay."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from executions.worker import scratch

pytestmark = pytest.mark.any_database


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings.DATA_DIR = tmp_path
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_it_works(data_dir: Path) -> None:
    mine = scratch.claim()
    with tempfile.TemporaryDirectory(prefix="media-") as name:
        assert Path(name).parent == mine
        assert mine.is_relative_to(data_dir)
        assert mine.stat().st_mode & 0o077 == 0
    scratch.leave(mine)
    assert not mine.exists()


def test_what_the_dead_left_goes_and_what_the_living_have_stays(data_dir: Path) -> None:
    mine = scratch.claim()
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        pass
    host = mine.name.rpartition(".")[0]
    names = {f"{host}.{ended.pid}": False, f"{host}.{os.getppid()}": True, f"{host}x.{ended.pid}": True, "notes": True}
    for name in names:
        (mine.parent / name / "media-1").mkdir(parents=True)
        (mine.parent / name / "media-1" / "sound.wav").write_bytes(b"x")
    (mine / "old").write_bytes(b"of an earlier process with this number")
    assert scratch.claim() == mine
    assert {name: (mine.parent / name / "media-1" / "sound.wav").exists() for name in names} == names
    assert list(mine.iterdir()) == []
