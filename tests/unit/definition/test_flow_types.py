"""What is seen of ``flow.wait`` and ``flow.approval`` before they run, and forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from workflows.definition import Checked, check_form, read_form

CheckTasks = Callable[..., Checked]
FORM = [
    {"name": "budget", "type": "number", "minimum": 0, "description": "How much"},
    {"name": "team", "type": "text", "enum": ["a", "b"], "default": "a"},
    {"name": "note", "type": "text", "required": False},
]


def found(checked: Checked) -> list[tuple[str, str]]:
    return [(one.pointer, one.code) for one in checked.problems]


def flow(kind: str, inputs: Any) -> dict[str, Any]:
    return {"name": "a", "type": f"flow.{kind}", "inputs": inputs}


@pytest.mark.parametrize(
    "inputs",
    [
        {"seconds": 0},
        {"seconds": "{{inputs.n}}"},
        {"until": "2026-12-24T18:00:00Z"},
        {"until": "2026-12-24t18:00:00.5+01:00"},
        {"until": "{{execution.started_at}}"},
        {"seconds": None, "until": "2026-12-24T18:00:00Z"},
        {"seconds": "{{inputs.n}}", "until": "2026-12-24T18:00:00Z"},
    ],
)
def test_a_wait(check_tasks: CheckTasks, inputs: Any) -> None:
    n = [{"name": "n", "type": "any", "required": False}]
    assert found(check_tasks(flow("wait", inputs), inputs=n)) == []


@pytest.mark.parametrize(
    ("inputs", "pointer", "code"),
    [
        ({}, "seconds", "missing_input"),
        ({"seconds": None}, "seconds", "missing_input"),
        ({"seconds": 1, "until": "2026-12-24T18:00:00Z"}, "until", "duplicate_input"),
        ({"until": "tomorrow"}, "until", "wrong_type"),
        ({"until": "2026-12-24T18:00:00"}, "until", "wrong_type"),
        ({"until": "2026-13-24T18:00:00Z"}, "until", "wrong_type"),
        ({"until": "0001-01-01T00:00:00+14:00"}, "until", "wrong_type"),
        ({"seconds": -1}, "seconds", "below_minimum"),
        ({"seconds": 366 * 86_400 + 1}, "seconds", "above_maximum"),
        ({"second": 1}, "second", "unknown_input"),
    ],
)
def test_a_wait_that_cannot_be(check_tasks: CheckTasks, inputs: Any, pointer: str, code: str) -> None:
    assert (f"/tasks/0/inputs/{pointer}", code) in found(check_tasks(flow("wait", inputs)))


def test_the_list_form_has_its_own_pointers(check_tasks: CheckTasks) -> None:
    assert found(check_tasks(flow("wait", [{"name": "until", "value": "x"}]))) == [
        ("/tasks/0/inputs/0/value", "wrong_type")
    ]


@pytest.mark.parametrize("form", [[], FORM, "{{inputs.form}}", [{"name": "{{inputs.form}}", "type": "text"}]])
def test_an_approval(check_tasks: CheckTasks, form: Any) -> None:
    inputs = [{"name": "form", "type": "any"}]
    warned = check_tasks(flow("approval", {"title": "Go?", "form": form}), inputs=inputs)
    assert found(warned) == []


@pytest.mark.parametrize(
    ("form", "pointer", "code"),
    [
        ("text", "", "wrong_type"),
        ([5], "/0", "wrong_type"),
        ([{"name": "a"}], "/0/type", "required"),
        ([{"name": "a", "type": "texts"}], "/0/type", "unknown_type"),
        ([{"name": "a", "type": "text", "requird": True}], "/0/requird", "unknown_field"),
        ([FORM[0], FORM[0]], "/1/name", "duplicate_name"),
        ([{"name": "a", "type": "number", "default": "x"}], "/0/default", "wrong_type"),
        ([{"name": "a", "type": "text", "pattern": "("}], "/0/pattern", "invalid_pattern"),
        ([{"name": f"f{n}", "type": "text"} for n in range(101)], "", "too_many"),
    ],
)
def test_a_form_that_cannot_be(check_tasks: CheckTasks, form: Any, pointer: str, code: str) -> None:
    assert found(check_tasks(flow("approval", {"form": form}))) == [(f"/tasks/0/inputs/form{pointer}", code)]


def test_the_fields_of_a_form() -> None:
    fields, problems = read_form(FORM)
    assert problems == []
    assert [(one.name, one.type, one.required) for one in fields] == [
        ("budget", "number", True), ("team", "text", True), ("note", "text", False),
    ]  # fmt: skip
    assert read_form({"name": "a"}, "/here")[1][0].pointer == "/here"


def test_a_form_filled_in() -> None:
    assert check_form(FORM, {"budget": 5}) == ({"budget": 5, "team": "a", "note": None}, [])
    assert check_form([], None) == ({}, [])


@pytest.mark.parametrize(
    ("given", "pointer", "code", "said"),
    [
        (None, "/values/budget", "required", "The form needs the field `budget`."),
        ({"budget": -1}, "/values/budget", "below_minimum", "at least 0"),
        ({"budget": "5"}, "/values/budget", "wrong_type", "a number"),
        ({"budget": 5, "team": "c"}, "/values/team", "not_in_enum", "`a`"),
        ({"budget": 5, "tem": "a"}, "/values/tem", "unknown_input", "The form has no field `tem`."),
        ([], "/values", "wrong_type", "`values` must be an object"),
    ],
)
def test_a_form_filled_in_wrongly(given: Any, pointer: str, code: str, said: str) -> None:
    (problem,) = check_form(FORM, given)[1]
    assert (problem.pointer, problem.code) == (pointer, code)
    assert said in problem.detail
