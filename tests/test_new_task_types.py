"""A new task type is everywhere at once: dropped in as one file, or installed with a package; nothing else is edited."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from executions.models import Execution
from tasks_lib import registry, types
from tests.api_client import Api, assert_problem
from tests.examples_driver import finished, outputs_of
from tests.executions_driver import carry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.any_database]

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = ROOT / "examples" / "plugin"
NAME, MODULE = "words.count", "dataflow_words"
DOCUMENT: dict[str, Any] = {
    "title": "Words",
    "tasks": [{"name": "count", "type": NAME, "inputs": {"text": "One fish, two fish", "limit": 1}}],
    "outputs": [{"name": "words", "type": "object", "value": "{{tasks.count.outputs.words}}"}],
}
GIVEN = {"words": {"fish": 2}, "total": 4}


@pytest.fixture
def looks_again() -> Iterator[None]:
    """The registry of this process as if it were just started, before and after."""
    registry.load.cache_clear()
    yield
    registry.load.cache_clear()


@pytest.fixture
def dropped(looks_again: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One more file in ``tasks_lib/types``: a second folder of the package, so that nothing is left there."""
    shutil.copy(PLUGIN / f"{MODULE}.py", tmp_path / "words_count.py")
    monkeypatch.setattr(types, "__path__", [*types.__path__, str(tmp_path)])
    yield
    sys.modules.pop("tasks_lib.types.words_count", None)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample package as pip installs it, in a folder of its own. It is built from a copy."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PLUGIN, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-build-isolation", "--no-deps"]
    command = [*pip, "--disable-pip-version-check", "--target", str(folder / "site"), str(folder / "source")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture
def installed(looks_again: None, site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The sample package on the path."""
    monkeypatch.syspath_prepend(str(site))
    yield
    sys.modules.pop(MODULE, None)


@pytest.fixture(params=["dropped", pytest.param("installed", marks=pytest.mark.slow)])
def added(request: pytest.FixtureRequest) -> None:
    """The type is there, in either way."""
    request.getfixturevalue(request.param)


def test_it_is_not_there_before() -> None:
    registry.load.cache_clear()
    assert registry.get(NAME) is None
    assert_problem(Api().send("POST", "/workflows/validate", DOCUMENT, status=400), 400, at=["/tasks/0/type"])


def test_definitions_are_checked_against_it(added: None) -> None:
    Api().call("POST", "/workflows/validate", DOCUMENT, status=200)
    wrong = DOCUMENT | {"tasks": [{"name": "count", "type": NAME, "inputs": {"text": 1, "limit": 0, "size": 1}}]}
    where = {"/tasks/0/inputs/text", "/tasks/0/inputs/limit", "/tasks/0/inputs/size"}
    assert_problem(Api().send("POST", "/workflows/validate", wrong, status=400), 400, at=where)


def test_the_api_lists_it(added: None) -> None:
    listed = Api().call("GET", "/task-types", status=200)["task_types"]
    assert NAME in [one["specification"]["name"] for one in listed]
    said = Api().call("GET", "/task-types/Words.Count", status=200)["specification"]
    assert said["name"] == NAME
    assert said["input_schema"]["properties"]["limit"]["maximum"] == 1000


def test_the_catalogue_has_a_page_with_a_form(added: None, client: Client) -> None:
    headers = {"accept": "text/html"}
    assert f'href="/task-types/{NAME}"' in client.get("/task-types", headers=headers).content.decode()
    page = client.get(f"/task-types/{NAME}", headers=headers).content.decode()
    assert set(re.findall(r'name="input_(\w+)"', page)) == {"text", "limit"}
    answer = client.post(f"/task-types/{NAME}/try", {"input_text": "One fish, two fish", "input_limit": "1"})
    execution = Execution.objects.get()
    assert answer.headers["Location"].endswith(execution.pk)
    carry(execution)
    execution.refresh_from_db()
    assert execution.outputs == GIVEN


def test_it_runs(added: None) -> None:
    execution = finished(DOCUMENT)
    assert (execution["status"], execution["outputs"]) == ("COMPLETED", {"words": {"fish": 2}})
    assert outputs_of(execution) == GIVEN


def test_the_reference_has_it(added: None, tmp_path: Path) -> None:
    folder = tmp_path / "reference"
    call_command("write_reference", folder=folder, verbosity=0, stdout=StringIO())
    assert f"`{NAME}`" in (folder / "README.md").read_text(encoding="utf-8")
    assert f"## {NAME}" in (folder / "text.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_process_finds_the_package(site: Path, tmp_path: Path) -> None:
    run = _python(site, tmp_path)
    written = run("manage.py", "write_reference", "--folder", str(tmp_path / "reference"))
    assert "changed" in written
    assert f"## {NAME}" in (tmp_path / "reference" / "text.md").read_text(encoding="utf-8")
    tested = run("-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider", str(PLUGIN / "test_words.py"))
    assert "3 passed" in tested


def _python(site: Path, folder: Path) -> Callable[..., str]:
    """Runs Python in a process of its own that has the package."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{site}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"DEBUG": "1", "DATA_DIR": str(folder / "data")}

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run
