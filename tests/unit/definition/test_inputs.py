"""The inputs of an execution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from workflows.definition import Checked, Definition, check_inputs

Check = Callable[[object], Checked]


@pytest.fixture
def definition(checked: Check) -> Definition:
    inputs: list[dict[str, Any]] = [
        {"name": "text", "type": "text", "min_length": 2, "max_length": 4, "pattern": "^[a-z]+$"},
        {"name": "number", "type": "number", "required": False, "minimum": 0, "maximum": 9},
        {"name": "choice", "type": "number", "default": 1, "enum": [1, 2]},
        {"name": "flag", "type": "boolean", "required": False},
        {"name": "file", "type": "file", "required": False},
        {"name": "object", "type": "object", "required": False},
        {"name": "list", "type": "list", "required": False},
        {"name": "any", "type": "any", "required": False},
        {"name": "any_number", "type": "any", "required": False, "minimum": 3},
    ]
    tasks = [{"name": "a", "type": "text.echo", "inputs": {"text": "{{size(inputs)}}"}}]
    result = checked({"title": "T", "inputs": inputs, "tasks": tasks})
    assert result.definition is not None, result.problems
    return result.definition


def test_what_is_not_given_is_the_default_or_null(definition: Definition) -> None:
    values, problems = check_inputs(definition, {"text": "abc"})
    assert problems == []
    nothing = dict.fromkeys(("number", "flag", "file", "object", "list", "any", "any_number"))
    assert values == {"text": "abc", "choice": 1, **nothing}
    assert list(values) == [one.name for one in definition.inputs]


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("number", 2**70, None),
        ("number", 2, 2),
        ("number", 2.0, 2.0),
        ("number", None, None),
        ("choice", 2.0, 2.0),
        ("choice", None, 1),
        ("flag", False, False),
        ("file", "fl-4g7h8j9k", {"file_id": "fl-4g7h8j9k"}),
        ("file", {"file_id": "fl-1"}, {"file_id": "fl-1"}),
        ("file", {"file_id": "fl-1", "name": "a.mp3", "size": 3}, {"file_id": "fl-1", "name": "a.mp3", "size": 3}),
        ("file", {"url": "https://example.com/a.mp3"}, {"url": "https://example.com/a.mp3"}),
        ("object", {"a": 1}, {"a": 1}),
        ("list", [1], [1]),
        ("any", "x", "x"),
        ("any_number", "x", "x"),
        ("any_number", None, None),
    ],
)
def test_good_values(definition: Definition, name: str, value: Any, kept: Any) -> None:
    values, problems = check_inputs(definition, {"text": "abc", name: value})
    if value == 2**70:
        assert [one.code for one in problems] == ["above_maximum"]
        return
    assert problems == []
    assert values[name] == kept
    assert type(values[name]) is type(kept)


@pytest.mark.parametrize(
    ("provided", "pointer", "code"),
    [
        ({}, "/inputs/text", "required"),
        (None, "/inputs/text", "required"),
        ([], "/inputs", "wrong_type"),
        ("x", "/inputs", "wrong_type"),
        ({"text": None}, "/inputs/text", "wrong_type"),
        ({"text": 5}, "/inputs/text", "wrong_type"),
        ({"text": "a"}, "/inputs/text", "too_short"),
        ({"text": "abcde"}, "/inputs/text", "too_long"),
        ({"text": "AB"}, "/inputs/text", "pattern_mismatch"),
        ({"text": "abc", "number": "5"}, "/inputs/number", "wrong_type"),
        ({"text": "abc", "number": True}, "/inputs/number", "wrong_type"),
        ({"text": "abc", "number": float("nan")}, "/inputs/number", "wrong_type"),
        ({"text": "abc", "number": float("inf")}, "/inputs/number", "wrong_type"),
        ({"text": "abc", "number": -1}, "/inputs/number", "below_minimum"),
        ({"text": "abc", "number": 10}, "/inputs/number", "above_maximum"),
        ({"text": "abc", "choice": 3}, "/inputs/choice", "not_in_enum"),
        ({"text": "abc", "choice": True}, "/inputs/choice", "wrong_type"),
        ({"text": "abc", "flag": 1}, "/inputs/flag", "wrong_type"),
        ({"text": "abc", "flag": "true"}, "/inputs/flag", "wrong_type"),
        ({"text": "abc", "object": []}, "/inputs/object", "wrong_type"),
        ({"text": "abc", "list": {}}, "/inputs/list", "wrong_type"),
        ({"text": "abc", "any_number": 2}, "/inputs/any_number", "below_minimum"),
        ({"text": "abc", "file": "a.mp3"}, "/inputs/file", "wrong_type"),
        ({"text": "abc", "file": "fl-../x"}, "/inputs/file", "wrong_type"),
        ({"text": "abc", "file": {}}, "/inputs/file", "wrong_type"),
        ({"text": "abc", "file": {"file_id": 5}}, "/inputs/file", "wrong_type"),
        ({"text": "abc", "file": {"file_id": "fl-1", "path": "/etc"}}, "/inputs/file", "wrong_type"),
        ({"text": "abc", "file": {"url": "ftp://example.com/"}}, "/inputs/file", "wrong_type"),
        ({"text": "abc", "file": {"url": "https://[x"}}, "/inputs/file", "wrong_type"),
        ({"text": "abc", "file": {"url": "https:///x"}}, "/inputs/file", "wrong_type"),
        ({"text": "abc", "file": {"url": "https://a.b/\n"}}, "/inputs/file", "wrong_type"),
        ({"text": "abc", "file": {"url": "https://a.b:99999/"}}, "/inputs/file", "wrong_type"),
        ({"text": "abc", "a/b": 1}, "/inputs/a~1b", "unknown_input"),
    ],
)
def test_bad_values(definition: Definition, provided: object, pointer: str, code: str) -> None:
    _, problems = check_inputs(definition, provided)
    assert [(one.pointer, one.code) for one in problems] == [(pointer, code)]


def test_all_problems_come_together_with_hints(definition: Definition) -> None:
    _, problems = check_inputs(definition, {"texxt": "abc", "number": "x"}, "/body")
    assert [(one.pointer, one.code) for one in problems] == [
        ("/body/texxt", "unknown_input"),
        ("/body/text", "required"),
        ("/body/number", "wrong_type"),
    ]
    assert problems[0].hint == "Did you mean `text`?"


def test_a_pattern_takes_linear_time(checked: Check) -> None:
    inputs = [{"name": "a", "type": "text", "pattern": "^(a+)+$"}]
    definition = checked(
        {"title": "T", "inputs": inputs, "tasks": [{"name": "t", "type": "echo", "inputs": {"text": "x"}}]}
    ).definition
    assert definition is not None
    _, problems = check_inputs(definition, {"a": "a" * 5000 + "b"})
    assert [one.code for one in problems] == ["pattern_mismatch"]


def test_the_answer_to_many_unknown_inputs_stays_small(definition: Definition) -> None:
    _, problems = check_inputs(definition, {f"x{n}": n for n in range(10_000)})
    assert len(problems) == 501
    assert problems[-1].code == "too_many"
