"""What the documents say is so: paths exist, and README's calls, pasted as they stand, end in COMPLETED."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.plugins.stack import Stack

ROOT = Path(__file__).resolve().parent.parent
PATH = re.compile(r"`((?:dataflow|executions|workflows|tasks_lib|tests|docs|bench|examples|\.ci)/[\w./-]*)`")
LINK = re.compile(r"\]\((?!http)([\w./-]+)\)")


@pytest.mark.parametrize(
    "name", ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/glossary.md", "docs/writing-task-types.md"]
)
def test_paths_in_a_document_exist(name: str) -> None:
    document = ROOT / name
    text = document.read_text(encoding="utf-8")
    named = {ROOT / path for path in PATH.findall(text)} | {document.parent / path for path in LINK.findall(text)}
    assert named
    assert sorted(str(path) for path in named if not path.exists()) == []


@pytest.mark.processes
@pytest.mark.slow
def test_the_calls_in_readme_end_in_completed(shared_stack: Stack) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```sh\n(BASE=.*?)```", text, re.DOTALL)
    script = script.replace("http://127.0.0.1:8000", shared_stack.base_url)
    command = ["bash", "-eu", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("COMPLETED: http://127.0.0.1:"), done.stdout + shared_stack.log()
