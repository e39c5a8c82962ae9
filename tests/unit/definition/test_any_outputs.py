"""A task type that gives outputs its description does not name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from workflows.definition import Checked

CheckTasks = Callable[..., Checked]
CHILD = {"name": "child", "type": "workflow.run", "inputs": {"workflow_id": "wf-1"}}


def codes(checked: Checked) -> list[str]:
    return [one.code for one in (*checked.problems, *checked.warnings)]


def echo(value: Any) -> dict[str, Any]:
    return {"name": "after", "type": "text.echo", "inputs": {"text": value}}


@pytest.mark.parametrize(
    ("reference", "problems"),
    [
        ("tasks.child.outputs.summary", []),
        ("tasks.child.outputs.summary.deep[0]", []),
        ("tasks.child.outputs['any name']", []),
        ("tasks.child.outputs.number", []),
        ("tasks.child.outputs.number.deep", ["type_mismatch"]),
        ("tasks.child.outputs[0]", ["unknown_reference"]),
        ("tasks.child.summary", ["unknown_reference"]),
    ],
)
def test_references(check_tasks: CheckTasks, reference: str, problems: list[str]) -> None:
    assert codes(check_tasks(CHILD, echo(f"{{{{{reference}}}}}"))) == problems


def test_they_are_lists_in_a_loop(check_tasks: CheckTasks) -> None:
    loop = CHILD | {"for_each": ["wf-1", "wf-2"], "inputs": {"workflow_id": "{{item}}"}}
    assert codes(check_tasks(loop, echo("{{tasks.child.outputs.summary[1].deep}}"))) == []
    assert codes(check_tasks(loop, echo("{{tasks.child.outputs.summary}}"))) == ["type_mismatch"]


def test_they_can_be_renamed(check_tasks: CheckTasks) -> None:
    renamed = CHILD | {"outputs": [{"name": "mine", "value": "{{outputs.summary}}"}]}
    definition = check_tasks(renamed, echo("{{tasks.child.outputs.mine}}")).definition
    assert definition is not None
    assert [(one.name, one.source) for one in definition.tasks[0].renames] == [("mine", "summary")]


def test_they_may_stand_in_for_others(check_tasks: CheckTasks) -> None:
    fallback = {"task": "workflow.run", "inputs": {"workflow_id": "wf-1"}}
    assert codes(check_tasks(echo("x") | {"fallback": fallback})) == []


@pytest.mark.parametrize("value", ["{{outputs[0]}}", "{{outputs[index]}}", "{{outputs.a.b}}", "{{outputs}}"])
def test_a_rename_names_one_output(check_tasks: CheckTasks, value: str) -> None:
    assert codes(check_tasks(CHILD | {"outputs": [{"name": "mine", "value": value}]})) == ["invalid_rename"]
