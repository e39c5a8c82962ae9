"""Executions that tasks start (``workflow.run``): linked both ways, with the keys of their parent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataflow.lib.errors import TaskError
from executions import files
from executions.definitions import DefinitionBroken, definition_of
from executions.models import Execution
from executions.needs import missing
from executions.starting import Frozen, build_row
from executions.store.rows import Row
from workflows.definition import ExpressionError, check_inputs
from workflows.models import WorkflowVersion

#: Executions may be nested so deep.
MAX_DEPTH = 10


def child_of(parent: Row, task: str, wanted: Mapping[str, Any]) -> Execution:
    """The row of the execution that a task wants: ``{"workflow_id", "inputs", "version"}``. Not inserted yet.

    Raises ``TaskError``: no such workflow, archived, nested too deep, in a circle, or inputs that do not fit.
    """
    _refuse_circle(parent, wanted["workflow_id"])
    version = _version(wanted)
    try:
        definition = definition_of(version.pk)
    except DefinitionBroken as broken:
        raise TaskError("validation", str(broken)) from broken
    values, problems = check_inputs(definition, wanted.get("inputs") or {})
    if problems := problems or files.resolve(definition, values):
        said = "; ".join(f"{problem.pointer} {problem.detail}" for problem in problems[:5])
        raise TaskError("validation", f"The inputs do not fit workflow {version.workflow_id}: {said}")
    if lacking := missing(definition, values):
        said = "; ".join(problem.detail for problem in lacking[:5])
        raise TaskError("validation", f"Workflow {version.workflow_id} cannot start: {said}")
    try:
        child = build_row(Frozen.of(version), definition, values, trigger="workflow", trigger_ref=parent.id)
    except ExpressionError as error:  # its concurrency key
        raise TaskError(error.code, f"The inputs do not fit workflow {version.workflow_id}: {error.message}") from error
    child.secrets = Execution.objects.values_list("secrets", flat=True).get(pk=parent.id)
    child.parent_id, child.parent_task, child.depth = parent.id, task, parent.depth + 1
    return child


def _refuse_circle(parent: Row, workflow_id: str) -> None:
    if parent.depth + 1 > MAX_DEPTH:
        raise TaskError("validation", f"Workflows are nested deeper than {MAX_DEPTH}.")
    above, at = [parent.workflow_id], parent.parent_id
    while at is not None:
        workflow, at = Execution.objects.values_list("workflow_id", "parent_id").get(pk=at)
        above.append(workflow)
    if workflow_id in above:
        circle = " → ".join([*reversed(above), workflow_id])
        raise TaskError("validation", f"Workflows run each other in a circle: {circle}.")


def _version(wanted: Mapping[str, Any]) -> WorkflowVersion:
    versions = WorkflowVersion.objects.select_related("workflow").filter(workflow_id=wanted["workflow_id"])
    newest = versions.order_by("-number").first()
    number = wanted.get("version")
    found = newest if number is None else versions.filter(number=number).first()
    if newest is None or found is None:
        which = "" if number is None else f", version {number}"
        raise TaskError("validation", f"There is no workflow {wanted['workflow_id']}{which}.")
    if newest.workflow.archived_at is not None:
        raise TaskError("validation", f"Workflow {wanted['workflow_id']} is archived.")
    return found
