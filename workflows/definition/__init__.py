"""Workflow definitions: what a user writes, checked, and what its expressions mean. Pure: no Django, no clock, no I/O.

``check`` turns a JSON document into a ``Definition`` or into every problem it has. The rest is used while a
definition runs: inputs of an execution, inputs and condition of a task, outputs of a workflow.
"""

from __future__ import annotations

from dataflow.lib import patterns
from dataflow.lib.expressions.evaluate import ExpressionError, Scope
from workflows.definition.canonical import canonical_json, definition_hash
from workflows.definition.expressions import Template
from workflows.definition.form import check_form, read_form
from workflows.definition.found import find_field
from workflows.definition.inputs import check_inputs
from workflows.definition.model import (
    Catalogue,
    Checked,
    Concurrency,
    Definition,
    Fallback,
    ForEach,
    Input,
    Output,
    Rename,
    Retry,
    Task,
)
from workflows.definition.monitoring import check_labels, check_monitoring
from workflows.definition.plan import plan_of
from workflows.definition.problems import Report
from workflows.definition.rendering import (
    MissingThrough,
    OutputError,
    check_condition,
    concurrency_key,
    evaluate_outputs,
    items_of,
    rename_outputs,
    render_inputs,
)
from workflows.definition.schema import parse
from workflows.definition.typecheck import Checker
from workflows.definition.values import fits

__all__ = [
    "Catalogue",
    "Checked",
    "Concurrency",
    "Definition",
    "ExpressionError",
    "Fallback",
    "ForEach",
    "Input",
    "MissingThrough",
    "Output",
    "OutputError",
    "Rename",
    "Retry",
    "Scope",
    "Task",
    "Template",
    "canonical_json",
    "check",
    "check_condition",
    "check_form",
    "check_inputs",
    "check_labels",
    "check_monitoring",
    "concurrency_key",
    "definition_hash",
    "evaluate_outputs",
    "find_field",
    "fits",
    "items_of",
    "plan_of",
    "read_form",
    "rename_outputs",
    "render_inputs",
]


def check(document: object, catalogue: Catalogue) -> Checked:
    """Check a definition as parsed from JSON: everything wrong is reported together, nothing is raised."""
    report = Report()
    with patterns.counted():
        draft = parse(document, report)
        definition = Checker(draft, catalogue, report).run()
    return Checked(definition=definition, problems=tuple(report.problems), warnings=tuple(report.warnings))
