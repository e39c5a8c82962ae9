"""How the inputs of an execution come out of a hook's request: templates over ``body``, ``headers`` and ``query``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from dataflow.lib.errors import Problem, invalid
from dataflow.lib.expressions.tokens import spell
from dataflow.lib.fields import dump_json
from dataflow.lib.jsonvalues import parse_json
from tasks_lib.base import MISSING
from workflows.definition import Definition, ExpressionError, Template
from workflows.definition.expressions import compile_template
from workflows.definition.problems import Report, at, kind, shown

ROOTS = ("body", "headers", "query")
#: Bytes of a mapping as JSON: it is compiled for each request, unless this process still knows it.
MAX_BYTES = 64 * 1024
_HINT = "Expressions here know `body`, `headers` (names in lower case) and `query`."


def check(given: Any, definition: Definition, pointer: str, report: Report) -> None:
    """Report what is wrong with a mapping for the inputs of ``definition``."""
    if not isinstance(given, dict):
        report.problem(pointer, "wrong_type", f"`inputs` is an object of templates by input, not {kind(given)}.", _HINT)
        return
    if len(dump_json(given).encode()) > MAX_BYTES:
        report.problem(pointer, "too_large", f"`inputs` has at most {MAX_BYTES // 1024} KiB.")
        return
    known = {one.name: one for one in definition.inputs}
    for name, value in given.items():
        if name not in known:
            hint = report.nearest(name, known)
            report.problem(at(pointer, name), "unknown_input", f"The workflow has no input {shown(name)}.", hint)
        _compiled(value, at(pointer, name), report)
    for name, one in known.items():
        if one.required and one.default is MISSING and name not in given:
            report.problem(at(pointer, name), "required", f"The workflow needs the input {shown(name)}.", _HINT)


def render(given: Mapping[str, Any], scope: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs that a mapping makes of a request. Raises ``ApiProblem`` 400 with every expression that failed."""
    values, problems = {}, []
    for name, template in _templates(dump_json(given)).items():
        try:
            values[name] = template.render(scope)
        except ExpressionError as error:
            problems.append(Problem(pointer=at("/inputs", name), code=error.code, detail=error.message))
    if problems:
        raise invalid("The inputs cannot be made of this request.", problems)
    return values


@lru_cache(maxsize=256)
def _templates(text: str) -> Mapping[str, Template]:
    """The compiled templates of a mapping that was checked, from its JSON."""
    report = Report()
    found = {name: _compiled(value, at("/inputs", name), report) for name, value in parse_json(text.encode()).items()}
    if report.problems:
        # Checked when it was saved: the language changed since.
        raise invalid("The hook's `inputs` cannot be used any more. Save them again.", report.problems)
    return {name: template for name, template in found.items() if template is not None}


def _compiled(value: Any, pointer: str, report: Report) -> Template | None:
    template = compile_template(value, pointer, report)
    for path in template.references if template is not None else ():
        if path[0] not in ROOTS:
            hint = report.nearest(path[0], ROOTS) or _HINT
            report.problem(
                pointer, "unknown_reference", f"{shown(spell(path))}: there is no {shown(path[0])} here.", hint
            )
    return template
