"""What only some task types ask of their inputs, where it can be seen before the task runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tasks_lib.moments import read_moment
from workflows.definition.expressions import Template
from workflows.definition.form import read_form
from workflows.definition.problems import Report, at

#: The inputs given, the pointer of each, and the pointer of all.
Check = Callable[[Mapping[str, Template], Mapping[str, str], str, Report], None]


def check_special(
    task_type: str, given: Mapping[str, Template], pointers: Mapping[str, str], pointer: str, report: Report
) -> None:
    """Report what is wrong with the inputs of a task of this type, besides what its fields say."""
    if check := _CHECKS.get(task_type):
        check(given, pointers, pointer, report)


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


_CHECKS: Mapping[str, Check] = {"flow.wait": _wait, "flow.approval": _approval}
