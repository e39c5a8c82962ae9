"""``workflow.run``: another workflow as a task."""

from __future__ import annotations

from collections.abc import Mapping

from dataflow.lib.errors import TaskError
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType, Wait

#: Seconds: 366 days.
LONGEST_TIMEOUT = 31_622_400


class WorkflowRun(TaskType):
    """Starts an execution of another workflow and waits for its end, without a worker."""

    name = "workflow.run"
    title = "Run a workflow"
    category = "flow"
    description = (
        "Runs another workflow and waits for its end; no worker is held meanwhile. The outputs of that workflow are "
        "the outputs of the task, under their names. It is cancelled with the execution that started it. Workflows "
        "nest at most 10 deep and never in a circle. How long it may take is the input `timeout`; the `timeout` of "
        "the task itself is for one try, which only starts it."
    )
    inputs = (
        Field(
            name="workflow_id",
            type="text",
            required=True,
            min_length=1,
            max_length=100,
            description="Which workflow",
            example="wf-sample0measure",
        ),
        Field(name="inputs", type="object", description="Its inputs, by name", example={"text": "Hello, world!"}),
        Field(
            name="version",
            type="number",
            minimum=1,
            maximum=2_147_483_647,
            description="Which version of it; the current one unless given",
        ),
        Field(
            name="timeout",
            type="number",
            minimum=1,
            maximum=LONGEST_TIMEOUT,
            description="Seconds it may take; then it is cancelled and the task fails with `timeout`. No limit unless "
            "given, but for the other workflow's own",
        ),
    )
    outputs = ()
    any_outputs = True
    timeout = 60.0
    retried = ("dependency_failed", "rate_limited", "timeout")
    example = {"workflow_id": "wf-sample0measure", "inputs": {"text": "Hello, world!"}}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue] | Wait:
        """Say which execution to start. Raises ``TaskError("validation")`` for a version that is no whole number."""
        version, timeout = inputs["version"], inputs["timeout"]
        if version is not None and version != int(version):
            raise TaskError("validation", f"`version` must be a whole number; it is {version}.")
        data = {
            "workflow_id": inputs["workflow_id"],
            "inputs": inputs["inputs"] or {},
            "version": None if version is None else int(version),
        }
        return Wait(kind="child", data=data, seconds=None if timeout is None else float(timeout))
