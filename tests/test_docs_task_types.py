"""The reference of task types is what the classes say, and the type in the document on writing one works."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from dataflow.reference import COMMAND, first_sentence, limits, reference
from tasks_lib import registry, types
from tasks_lib.types.text_size import TextSize
from tests.examples_driver import World, document_of, example_world, finished, outputs_of
from tests.plugins.stack import Stack

__all__ = ["example_world"]

pytestmark = pytest.mark.any_database

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "task-types"


def blocks() -> list[str]:
    """The Python in the document: a task type, and its test."""
    text = (ROOT / "docs" / "writing-task-types.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The documented task type in its place."""
    (tmp_path / "file_number_lines.py").write_text(blocks()[0])
    monkeypatch.setattr(types, "__path__", [*types.__path__, str(tmp_path)])
    registry.load.cache_clear()
    yield
    registry.load.cache_clear()
    sys.modules.pop("tasks_lib.types.file_number_lines", None)


def test_the_reference_is_up_to_date() -> None:
    call_command("write_reference", check=True, verbosity=0)


def test_a_type_that_changed_without_its_reference_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TextSize, "description", "Something else.")
    with pytest.raises(CommandError, match=rf"text\.md\. Run: {re.escape(COMMAND)}"):
        call_command("write_reference", check=True, verbosity=0)


def test_what_is_of_no_type_any_more_goes_and_what_is_somebodys_own_stays(tmp_path: Path) -> None:
    (tmp_path / "own.md").write_text("# Mine")
    (tmp_path / "gone.md").write_text(f"Made by `{COMMAND}`")
    call_command("write_reference", folder=tmp_path, verbosity=0)
    assert {path.name for path in tmp_path.iterdir()} == {"own.md", *reference(registry.all())}


def test_every_link_of_the_reference_leads_somewhere() -> None:
    pages = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    links = re.findall(r"\]\(([\w./-]+)#([\w-]+)\)", pages["README.md"])
    assert len(links) == len(registry.names())
    for page, anchor in links:
        headings = re.findall(r"^## (.+)$", pages[page], re.MULTILINE)
        assert anchor in {heading.replace(".", "") for heading in headings}


@pytest.mark.processes
@pytest.mark.slow
def test_the_calls_on_the_page_of_a_type_run_its_example(shared_stack: Stack) -> None:
    page = shared_stack.request("GET", "/task-types/text.truncate", headers={"Accept": "text/html"}).text
    found = re.search(r'id="call-calls">(.*?)</code>', page, re.DOTALL)
    assert found
    command = ["bash", "-eu", "-c", unescape(found[1])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    execution = json.loads(done.stdout)
    assert (execution["status"], execution["outputs"]) == ("COMPLETED", {"truncated_text": "Hello..."})


@pytest.mark.django_db(transaction=True)
def test_the_documented_type_runs(documented: None, example_world: World) -> None:
    task_type = registry.get("file.number_lines")
    assert task_type is not None
    execution = finished(document_of(task_type, example_world))
    assert outputs_of(execution)["lines"] == 5


def test_the_documented_test_passes(documented: None, tmp_path: Path) -> None:
    space: dict[str, object] = {"__name__": "documented"}
    exec(compile(blocks()[1], "docs/writing-task-types.md", "exec"), space)
    tests = [found for name, found in space.items() if name.startswith("test_") and callable(found)]
    assert len(tests) == 3
    for number, test in enumerate(tests):
        test(tmp_path / f"{number}")


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ({}, ""),
        ({"enum": ["a", 1]}, "one of `a`, `1`"),
        ({"minimum": 0, "maximum": 0.5}, "0 to 0.5"),
        ({"maximum": 31_622_400}, "at most 31,622,400"),
        ({"minimum": 1.0}, "at least 1"),
        ({"min_length": 1, "max_length": 1}, "exactly 1 character"),
        ({"max_length": 8000}, "at most 8,000 characters"),
        ({"minimum": 1, "min_length": 2}, "at least 1; at least 2 characters"),
    ],
)
def test_limits_in_words(field: dict[str, object], said: str) -> None:
    assert limits(field) == said


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("One. Two.", "One."),
        ("No end", "No end"),
        ("Writes `a. b` and 1.5. Then more.", "Writes `a. b` and 1.5."),
        ("An odd ` one. Two", "An odd ` one. Two"),
    ],
)
def test_the_first_sentence(text: str, first: str) -> None:
    assert first_sentence(text) == first
