"""``concurrency`` of a workflow, and the key that executions share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from workflows.definition import Checked, Definition, ExpressionError, concurrency_key

CheckTasks = Callable[..., Checked]
ECHO = {"name": "a", "type": "text.echo", "inputs": {"text": "{{inputs.customer}}"}, "condition": "size(inputs) > 0"}
INPUTS = [
    {"name": "customer", "type": "text"},
    {"name": "n", "type": "number", "required": False},
    {"name": "what", "type": "any", "required": False},
    {"name": "scan", "type": "file", "required": False},
]


def with_key(check_tasks: CheckTasks, key: Any) -> Definition:
    checked = check_tasks(ECHO, inputs=INPUTS, concurrency={"limit": 1, "key": key})
    assert checked.definition is not None, checked.problems
    return checked.definition


def test_it_works(check_tasks: CheckTasks) -> None:
    given = {"limit": 5, "key": "{{inputs.customer}}", "on_limit": "reject"}
    definition = check_tasks(ECHO, inputs=INPUTS, concurrency=given).definition
    assert definition is not None
    assert definition.concurrency is not None
    assert definition.concurrency.key is not None
    assert (definition.concurrency.limit, definition.concurrency.on_limit) == (5, "reject")
    assert concurrency_key(definition, {"customer": "Ada"}) == "Ada"


def test_without_a_key(check_tasks: CheckTasks) -> None:
    definition = check_tasks(ECHO, inputs=INPUTS, concurrency={"limit": 1}).definition
    assert definition is not None
    assert definition.concurrency is not None
    assert (definition.concurrency.key, definition.concurrency.on_limit) == (None, "queue")
    assert concurrency_key(definition, {"customer": "Ada"}) == ""


def test_without_concurrency(check_tasks: CheckTasks) -> None:
    definition = check_tasks(ECHO, inputs=INPUTS).definition
    assert definition is not None
    assert definition.concurrency is None
    assert concurrency_key(definition, {"customer": "Ada"}) == ""


@pytest.mark.parametrize(
    ("given", "pointer", "code"),
    [
        (None, "", "wrong_type"),
        (3, "", "wrong_type"),
        ({}, "/limit", "required"),
        ({"limit": 0}, "/limit", "below_minimum"),
        ({"limit": 10_001}, "/limit", "above_maximum"),
        ({"limit": "1"}, "/limit", "wrong_type"),
        ({"limit": 1, "onlimit": "queue"}, "/onlimit", "unknown_field"),
        ({"limit": 1, "on_limit": "wait"}, "/on_limit", "not_in_enum"),
        ({"limit": 1, "key": 5}, "/key", "wrong_type"),
        ({"limit": 1, "key": None}, "/key", "wrong_type"),
        ({"limit": 1, "key": ""}, "/key", "expression_syntax"),
        ({"limit": 1, "key": "{{inputs.custmer}}"}, "/key", "unknown_reference"),
        ({"limit": 1, "key": "customer"}, "/key", "unknown_reference"),
        ({"limit": 1, "key": "{{tasks.a.outputs.text}}"}, "/key", "unknown_reference"),
        ({"limit": 1, "key": "{{execution.id}}"}, "/key", "unknown_reference"),
        ({"limit": 1, "key": "{{inputs.scan}}"}, "/key", "type_mismatch"),
        ({"limit": 1, "key": "x {{inputs.scan}}"}, "/key", "type_mismatch"),
    ],
)
def test_what_is_wrong_is_found_at_its_place(check_tasks: CheckTasks, given: Any, pointer: str, code: str) -> None:
    problems = check_tasks(ECHO, inputs=INPUTS, concurrency=given).problems
    assert [(one.pointer, one.code) for one in problems] == [(f"/concurrency{pointer}", code)]


def test_a_key_uses_its_inputs(check_tasks: CheckTasks) -> None:
    task = {"name": "a", "type": "text.echo", "inputs": {"text": "x"}}
    checked = check_tasks(task, inputs=INPUTS[:1], concurrency={"limit": 1, "key": "inputs.customer"})
    assert checked.warnings == ()


@pytest.mark.parametrize(
    ("key", "inputs", "text"),
    [
        ("inputs.customer", {"customer": "Ada"}, "Ada"),
        ("{{inputs.n}}", {"n": 5}, "5"),
        ("{{inputs.n}}", {"n": None}, "null"),
        ("{{inputs.what}}", {"what": {"b": [1, True], "a": "é"}}, '{"a":"\\u00e9","b":[1,true]}'),
        ("{{inputs.customer}}/{{inputs.n}}", {"customer": "Ada", "n": 2}, "Ada/2"),
        ('{{inputs.n > 3 ? "many" : "few"}}', {"n": 4}, "many"),
        ("{{inputs.customer}}", {"customer": "x" * 200}, "x" * 200),
    ],
)
def test_the_text_of_a_key(check_tasks: CheckTasks, key: str, inputs: dict[str, Any], text: str) -> None:
    assert concurrency_key(with_key(check_tasks, key), inputs) == text


@pytest.mark.parametrize("text", ["x" * 201, "a\0b", "\ud800"])
def test_what_cannot_be_stored_is_hashed(check_tasks: CheckTasks, text: str) -> None:
    definition = with_key(check_tasks, "inputs.customer")
    first, again = (concurrency_key(definition, {"customer": text}) for _ in range(2))
    other = concurrency_key(definition, {"customer": text + "y"})
    assert first == again != other
    assert first.startswith("sha256:")
    assert len(first) <= 200


def test_a_key_that_fails_says_so(check_tasks: CheckTasks) -> None:
    with pytest.raises(ExpressionError, match=r"The concurrency key: .*zero"):
        concurrency_key(with_key(check_tasks, "{{1 / inputs.n}}"), {"n": 0})
