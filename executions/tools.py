"""What a workflow takes, for a task that lets a model run it."""

from __future__ import annotations

from typing import Any

from dataflow.lib.errors import TaskError
from executions.definitions import DefinitionBroken, definition_of
from executions.starting import frozen_version
from workflows.definition.inputs_schema import inputs_schema
from workflows.models import Workflow, WorkflowVersion


def schema_of(workflow_id: str, version: int | None) -> dict[str, Any]:
    """The inputs of a workflow, of its current version unless one is named, as JSON Schema.

    Raises ``TaskError('validation')`` where there is none that can be run.
    """
    current = Workflow.objects.filter(pk=workflow_id).values_list("current_version", flat=True).first()
    if current is None:
        raise TaskError("validation", f"There is no workflow {workflow_id}.")
    try:
        frozen = frozen_version(workflow_id, version or current)
        return inputs_schema(definition_of(frozen.version_id).inputs)
    except WorkflowVersion.DoesNotExist as missing:
        raise TaskError("validation", f"There is no version {version} of workflow {workflow_id}.") from missing
    except DefinitionBroken as broken:
        raise TaskError("validation", str(broken)) from broken
