"""Functions of at most 50 lines, files of at most 400."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.any_database

ROOT = Path(__file__).resolve().parent.parent
FUNCTION_LINES, FILE_LINES = 50, 400
FILES = [
    path
    for package in ("dataflow", "executions", "workflows", "tasks_lib", "bench")
    for path in sorted((ROOT / package).rglob("*.py"))
    if "migrations" not in path.parts
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_and_its_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {node.name: node.end_lineno - node.lineno + 1 for node in functions if node.end_lineno is not None}
    assert {name: lines for name, lines in long.items() if lines > FUNCTION_LINES} == {}
    assert text.count("\n") <= FILE_LINES


def test_there_are_files_to_look_at() -> None:
    assert len(FILES) > 20
