"""Compiling patterns takes work that their length does not tell: that of one definition is bounded."""

from __future__ import annotations

from typing import Any

import pytest

from dataflow.lib import patterns
from tasks_lib import registry
from workflows.definition import check, read_form

#: RE2 refuses it as too large, after 50 ms.
REFUSED = r"(\pL{1,30}){1,33}"
#: RE2 takes it, in 40 ms.
LARGE = r"\pL{1,100}"


def fields(pattern: str, count: int) -> list[dict[str, Any]]:
    return [{"name": f"i{index}", "type": "text", "pattern": f"{pattern}{index}"} for index in range(count)]


def documents(pattern: str) -> list[dict[str, Any]]:
    regex = [
        {"name": f"t{i}", "type": "text.regex", "inputs": {"text": "x", "pattern": f"{pattern}{i}"}} for i in range(40)
    ]
    approvals = [
        {"name": f"t{i}", "type": "flow.approval", "inputs": {"message": "?", "form": fields(pattern, 10)}}
        for i in range(4)
    ]
    echo = {"name": "a", "type": "text.echo", "inputs": {"text": "x"}}
    return [
        {"title": "T", "inputs": fields(pattern, 40), "tasks": [echo]},
        {"title": "T", "tasks": regex},
        {"title": "T", "tasks": approvals},
    ]


@pytest.mark.parametrize("pattern", [REFUSED, LARGE])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_patterns_of_one_definition_are_bounded(pattern: str, place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    real = patterns._compiled
    monkeypatch.setattr(patterns, "_compiled", lambda source: (compiled.append(source), real(source))[1])
    found = check(documents(pattern)[place], registry.load())
    assert len(compiled) <= 20
    assert any("all patterns together are too large" in problem.detail for problem in found.problems)


def test_usual_patterns_are_far_from_the_bound() -> None:
    usual = [*fields(r"^[\w .'-]{1,255}$", 200), *fields(r"^\d{4}-\d{2}-\d{2}$", 200)]
    named = [field | {"name": f"n{index}"} for index, field in enumerate(usual)]
    echo = {"name": "a", "type": "text.echo", "inputs": {"text": "x"}}
    assert check({"title": "T", "inputs": named, "tasks": [echo]}, registry.load()).problems == ()


def test_a_default_is_held_to_the_last_pattern_that_fitted() -> None:
    large = fields(LARGE, 17)
    last = {"name": "last", "type": "text", "pattern": "^a+$", "default": "b"}
    for count in (16, 17):
        [problem] = read_form([*large[:count], last])[1]
        assert problem.code == ("pattern_mismatch" if count == 16 else "invalid_pattern")


def test_each_definition_has_its_own_bound() -> None:
    for _ in range(3):
        with patterns.counted(1):
            patterns.compile_pattern("a")
            with pytest.raises(ValueError, match="together"), patterns.counted():
                patterns.compile_pattern("b")
    assert patterns.search(LARGE, "x")
