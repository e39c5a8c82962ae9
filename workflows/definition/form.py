"""Forms: a list of fields that somebody fills in, each described like an input of a workflow."""

from __future__ import annotations

from dataflow.lib.errors import Problem
from dataflow.lib.patterns import counted
from tasks_lib.base import JsonValue
from workflows.definition.inputs import check_values
from workflows.definition.model import Input
from workflows.definition.problems import Report, at, kind
from workflows.definition.reader import Reader
from workflows.definition.schema import INPUT_FIELDS, Draft, parse_input

MAX_FIELDS = 100


def read_form(form: object, pointer: str = "/form") -> tuple[tuple[Input, ...], list[Problem]]:
    """The fields that can be read, and everything that is wrong with ``form`` (found at ``pointer``)."""
    report, draft = Report(), Draft()
    if not isinstance(form, list):
        report.problem(pointer, "wrong_type", f"A form must be a list of fields, not {kind(form)}.")
        return (), report.problems
    if len(form) > MAX_FIELDS:
        report.problem(pointer, "too_many", f"A form has at most {MAX_FIELDS} fields, not {len(form):,}.")
    with counted():
        for index, item in enumerate(form[:MAX_FIELDS]):
            place = at(pointer, index)
            if isinstance(item, dict):
                parse_input(Reader(report, item, place, INPUT_FIELDS, "A field of a form"), draft)
            else:
                report.problem(place, "wrong_type", f"A field of a form must be an object, not {kind(item)}.")
    return tuple(draft.inputs), report.problems


def check_form(form: JsonValue, given: object, pointer: str = "/values") -> tuple[dict[str, JsonValue], list[Problem]]:
    """The value of every field of ``form``, and what is wrong with those given (at ``pointer``).

    As ``check_inputs`` for a workflow: defaults are filled in, and an optional field that is not given is null.
    """
    fields, _ = read_form(form)
    return check_values(fields, given, pointer, owner="form", what="field")
