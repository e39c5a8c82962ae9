"""A workflow of one task, for trying a task type: from its page, or with the call that the page shows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import F

from dataflow.lib.errors import invalid
from dataflow.reference import example_task
from executions.needs import require as require_needs
from tasks_lib import registry
from tasks_lib.base import TaskType
from workflows.definition import check_inputs, definition_hash
from workflows.definition.schema import INPUT_FIELDS
from workflows.models import Workflow, WorkflowVersion
from workflows.pages import shell_quoted
from workflows.services import Actor, check_document, create_workflow

_TASK = "task"


def inputs_of(task_type: TaskType) -> list[dict[str, Any]]:
    """The inputs of a type as those of a workflow."""
    fields: Sequence[Mapping[str, Any]] = registry.specification(task_type)["inputs"]
    return [{key: value for key, value in field.items() if key in _kept(field)} for field in fields]


def _kept(field: Mapping[str, Any]) -> Sequence[str]:
    """What is said of an input here too. A default that depends on another input is the type's own business."""
    return [key for key in INPUT_FIELDS if key != "default" or "unless" not in field]


def trial(task_type: TaskType) -> dict[str, Any]:
    """The definition whose inputs and outputs are those of the type."""
    given = {field.name: f"{{{{inputs.{field.name}}}}}" for field in task_type.inputs}
    outputs: list[dict[str, Any]] = [
        {
            "name": field.name,
            "type": "any",  # any of them may be null
            "description": field.description,
            "value": f"{{{{tasks.{_TASK}.outputs.{field.name}}}}}",
        }
        for field in task_type.outputs
    ]
    return {
        "title": f"Try {task_type.name}",
        "description": f"Made by the page of the task type `{task_type.name}`.",
        "inputs": inputs_of(task_type),
        "tasks": [{"name": _TASK, "type": task_type.name, "inputs": given}],
        "outputs": outputs,
    }


def trial_workflow(task_type: TaskType, *, inputs: Mapping[str, Any], openai_key: str | None, user: Actor) -> Workflow:
    """The workflow to try a type with: all tries share it while it is as it was made.

    Raises ``ApiProblem`` where it could not be started with ``inputs`` and the keys there are; then none is made.
    """
    document = trial(task_type)
    definition = check_document(document).definition
    assert definition is not None
    if problems := check_inputs(definition, inputs)[1]:
        raise invalid("It was not started: its inputs are not valid.", problems)
    require_needs(definition, openai_key, inputs)
    same = WorkflowVersion.objects.filter(hash=definition_hash(document), number=F("workflow__current_version"))
    found = Workflow.objects.live().filter(title=document["title"], versions__in=same).first()
    return found or create_workflow(document=document, user=user).workflow


def example_calls(task_type: TaskType, base: str) -> str:
    """The shell commands that create a workflow of the example and run it; ``base`` is the installation's address."""
    task = example_task(task_type)
    document = {"title": f"Example of {task_type.name}", "tasks": [task]}
    if main := registry.default_output(task_type):
        value = f"{{{{tasks.{task['name']}.outputs.{main}}}}}"
        document["outputs"] = [{"name": main, "type": "any", "value": value}]
    body = shell_quoted(json.dumps(document, ensure_ascii=False))
    post = "-H 'Content-Type: application/json'"
    keyed = ' -H "X-OpenAI-Key: $OPENAI_API_KEY"' if task_type.secrets else ""
    read = "python3 -c 'import json, sys; print(json.load(sys.stdin)[\"workflow_id\"])'"
    start = f"{base}/workflows/$WORKFLOW/executions?wait=60"
    return (
        f"WORKFLOW=$(curl -s {base}/workflows {post} \\\n  -d {body} \\\n  | {read})\n"
        f"curl -s \"{start}\" {post}{keyed} -d '{{}}'"
    )
