"""Workflow definitions: what a user writes, checked, and what its expressions mean. Pure: no Django, no clock, no I/O.

``check`` turns a JSON document into a ``Definition`` or into every problem it has. The rest is used while a
definition runs: inputs of an execution, inputs and condition of a task, outputs of a workflow.
"""

from __future__ import annotations

from workflows.definition.canonical import canonical_json, definition_hash
from workflows.definition.expressions import ExpressionError, Scope, Template
from workflows.definition.inputs import check_inputs
from workflows.definition.model import (
    Catalogue,
    Checked,
    Definition,
    Fallback,
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
    evaluate_outputs,
    rename_outputs,
    render_inputs,
)
from workflows.definition.schema import parse
from workflows.definition.typecheck import Checker, find_field
from workflows.definition.values import fits

__all__ = [
    "Catalogue",
    "Checked",
    "Definition",
    "ExpressionError",
    "Fallback",
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
    "check_inputs",
    "check_labels",
    "check_monitoring",
    "definition_hash",
    "evaluate_outputs",
    "find_field",
    "fits",
    "plan_of",
    "rename_outputs",
    "render_inputs",
]


def check(document: object, catalogue: Catalogue) -> Checked:
    """Check a definition as parsed from JSON: everything wrong is reported together, nothing is raised."""
    report = Report()
    draft = parse(document, report)
    definition = Checker(draft, catalogue, report).run()
    return Checked(definition=definition, problems=tuple(report.problems), warnings=tuple(report.warnings))
