"""What only some task types ask of their inputs, where it can be seen before the task runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dataflow.lib.sizes import json_size
from tasks_lib.base import MISSING, JsonValue, TaskType
from tasks_lib.moments import read_moment
from workflows.definition.expressions import Template
from workflows.definition.form import read_form
from workflows.definition.model import secrets_of
from workflows.definition.problems import Report, at, shown
from workflows.definition.values import is_of_type

#: Characters that types check of one definition: compiling what stands there costs up to a few microseconds each. What
#: is over it is found out when the task runs.
MAX_CHECKED = 200_000

#: The inputs given, the pointer of each, and the pointer of all.
Check = Callable[[Mapping[str, Template], Mapping[str, str], str, Report], None]


def check_special(
    task_type: TaskType, given: Mapping[str, Template], pointers: Mapping[str, str], pointer: str, report: Report
) -> None:
    """Report what is wrong with the inputs of a task of this type, besides what its fields say."""
    if check := _CHECKS.get(task_type.name):
        check(given, pointers, pointer, report)
    if type(task_type).check is TaskType.check:  # it asks for nothing
        return
    literals = _literals(task_type, given)
    report.checked_characters += sum(json_size(one, MAX_CHECKED) for one in literals.values() if one is not MISSING)
    if report.checked_characters > MAX_CHECKED:
        return
    for name, detail in task_type.check(literals):
        report.problem(pointers.get(name) or at(pointer, name), "invalid_input", detail)


def _literals(task_type: TaskType, given: Mapping[str, Template]) -> dict[str, JsonValue]:
    """Every input given: its literal, ``MISSING`` where there is none of the input's type."""
    types = {one.name: one.type for one in task_type.inputs}
    return {
        name: one.literal if one.is_constant and is_of_type(one.literal, types[name]) else MISSING
        for name, one in given.items()
    }


def _wait(given: Mapping[str, Template], pointers: Mapping[str, str], pointer: str, report: Report) -> None:
    if "seconds" not in given and "until" not in given:
        hint = "`seconds` is a number, `until` a time such as 2026-12-24T18:00:00Z."
        report.problem(at(pointer, "seconds"), "missing_input", "`flow.wait` needs `seconds` or `until`.", hint)
    # One of the two may be null when the task runs: only literals are certain to be too much.
    if len(given) > 1 and all(template.is_constant for template in given.values()):
        detail = "`flow.wait` takes either `seconds` or `until`, not both."
        report.problem(pointers["until"], "duplicate_input", detail, "Leave one of them out.")
    until = given.get("until")
    if until is not None and until.is_constant and isinstance(until.literal, str):
        try:
            read_moment(until.literal)
        except ValueError as error:
            hint = "Write it like 2026-12-24T18:00:00Z or 2026-12-24T18:00:00+01:00."
            report.problem(pointers["until"], "wrong_type", f"`until` cannot be read: {error}.", hint)


def _approval(given: Mapping[str, Template], pointers: Mapping[str, str], _pointer: str, report: Report) -> None:
    form = given.get("form")
    if form is not None and form.is_constant and isinstance(form.literal, list):
        report.extend(read_form(form.literal, pointers["form"])[1])


def _run(given: Mapping[str, Template], pointers: Mapping[str, str], _pointer: str, report: Report) -> None:
    for name, template in given.items():
        for secret in secrets_of(template):
            detail = f"The secret {shown(secret)} cannot go to another workflow: its inputs are stored and shown."
            hint = f"Let that workflow use `{{{{secrets.{secret}}}}}` itself."
            report.problem(pointers[name], "secret_not_allowed", detail, hint)


_CHECKS: Mapping[str, Check] = {"flow.wait": _wait, "flow.approval": _approval, "workflow.run": _run}
