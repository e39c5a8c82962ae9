"""What happens before the first process starts: once, completely or not at all, and never held up by the dead."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from pytest_django import Settings

from dataflow import preparation
from dataflow.lib.errors import ApiProblem
from executions import files
from executions.models import StoredFile
from executions.samples import FOLDER, SAMPLES, keep_samples
from workflows.models import Workflow

HOLD = "import fcntl, sys, time; file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)"


@pytest.fixture(autouse=True)
def data_dir(settings: Settings, tmp_path: Path) -> Path:
    settings.DATA_DIR, settings.DEBUG = tmp_path, True
    return tmp_path


@pytest.mark.django_db
def test_a_new_database_is_filled_once() -> None:
    first = preparation.prepare()
    assert first is not None
    assert set(first.workflows) == {"hello-world", "measure-text", "reverse-and-echo", "summarise-page"}
    assert Workflow.objects.get(pk=first.workflows[preparation.HELLO_WORLD]).title == "Hello World Workflow"
    admin = get_user_model().objects.get()
    assert admin.check_password(first.password)
    assert admin.is_superuser
    assert preparation.prepare() is None
    assert Workflow.objects.count() == 4


@pytest.mark.django_db
def test_a_database_with_a_user_is_left_alone() -> None:
    get_user_model().objects.create_user("somebody")
    assert preparation.prepare() is None
    assert not Workflow.objects.exists()


@pytest.mark.django_db
def test_every_installation_gets_the_sample_files_once() -> None:
    get_user_model().objects.create_user("somebody")
    preparation.prepare()
    stored = {one.pk: one for one in StoredFile.objects.all()}
    assert set(stored) == set(SAMPLES)
    assert sum(one.size for one in stored.values()) < 300_000
    with files.open_stored("fl-sample0csv") as content:
        assert content.read() == (FOLDER / "table.csv").read_bytes()
    StoredFile.objects.filter(pk="fl-sample0pdf").delete()
    assert keep_samples() == ["fl-sample0pdf"]
    assert keep_samples() == []
    assert StoredFile.objects.count() == len(SAMPLES)


@pytest.mark.django_db
def test_a_bad_example_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    good = (preparation.EXAMPLES / "reverse-and-echo.json").read_text()
    (tmp_path / "a.json").write_text(good)
    (tmp_path / "b.json").write_text(json.dumps(json.loads(good) | {"tasks": []}))
    monkeypatch.setattr(preparation, "EXAMPLES", tmp_path)
    with pytest.raises(ApiProblem):
        preparation.prepare()
    assert not Workflow.objects.exists()
    assert not get_user_model().objects.exists()


@pytest.mark.django_db
def test_a_lock_whose_holder_was_killed_does_not_block(data_dir: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(data_dir / "prepare.lock")], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGKILL)
    assert preparation.prepare() is not None


@pytest.mark.slow
def test_static_files_are_collected_once(settings: Settings, tmp_path: Path) -> None:
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}
    }
    preparation.collect_static()
    manifest = tmp_path / "static" / "staticfiles.json"
    assert "admin/css/base.css" in json.loads(manifest.read_text())["paths"]
    manifest.unlink()
    preparation.collect_static()
    assert not manifest.exists()
    (tmp_path / "static" / ".collected").write_text("of another version")
    preparation.collect_static()
    assert manifest.exists()
