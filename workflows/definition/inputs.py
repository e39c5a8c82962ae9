"""Checking the inputs of an execution against the inputs of its definition."""

from __future__ import annotations

from collections.abc import Iterable

from dataflow.lib.errors import Problem
from dataflow.lib.mask import MASK
from tasks_lib.base import MISSING, JsonValue
from workflows.definition.model import Definition, Input
from workflows.definition.problems import Report, at, kind, shown
from workflows.definition.values import as_file, check_literal


def check_inputs(
    definition: Definition, provided: object, pointer: str = "/inputs"
) -> tuple[dict[str, JsonValue], list[Problem]]:
    """The value of every input, and what is wrong with those provided (at ``pointer``).

    Defaults are filled in; an optional input that is not given, or given as null, is null. A file becomes its object
    form (``{"file_id": …}`` or ``{"url": …}``); whether it exists is for the caller to find out. ``provided`` may be
    null for no inputs. The values are of use only when there are no problems.
    """
    return check_values(definition.inputs, provided, pointer, owner="workflow", what="input")


def check_values(
    inputs: Iterable[Input], provided: object, pointer: str, *, owner: str, what: str
) -> tuple[dict[str, JsonValue], list[Problem]]:
    """As ``check_inputs``, for any list of inputs; messages say that the ``owner`` has such a ``what``."""
    report = Report()
    if provided is None:
        provided = {}
    if not isinstance(provided, dict):
        report.problem(
            pointer, "wrong_type", f"`{pointer.rpartition('/')[2]}` must be an object, not {kind(provided)}."
        )
        return {}, report.problems
    known = {one.name: one for one in inputs}
    for name in provided:
        if name not in known:
            hint = report.nearest(name, known) or _there_are(list(known), what)
            report.problem(at(pointer, name), "unknown_input", f"The {owner} has no {what} {shown(name)}.", hint)
    values: dict[str, JsonValue] = {}
    for name, one in known.items():
        optional = one.default is not MISSING or not one.required
        if name in provided and not (provided[name] is None and optional and one.type != "any"):
            report.extend(check_literal(provided[name], one, at(pointer, name), name, one.pattern))
            if one.sensitive and provided[name] == MASK:
                detail = f"This is the mask that is shown for the {what} {shown(name)}, not its value."
                report.problem(at(pointer, name), "masked_value", detail, "Give the value itself.")
            value = provided[name]
        elif optional:
            value = None if one.default is MISSING else one.default
        else:
            report.problem(
                at(pointer, name), "required", f"The {owner} needs the {what} {shown(name)}.", one.description
            )
            continue
        values[name] = as_file(value) if one.type == "file" else value
    return values, report.problems


def _there_are(names: list[str], what: str) -> str:
    return f"It has {', '.join(map(shown, names[:10]))}." if names else f"It has no {what}s."
