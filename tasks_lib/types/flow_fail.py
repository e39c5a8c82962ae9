"""``flow.fail``: ends the task, and with it usually the execution, as a failure."""

from __future__ import annotations

from typing import NoReturn

from dataflow.lib.errors import TASK_ERROR_CODES, TaskError
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType


class FlowFail(TaskType):
    """Fails with a message and a code of the author's choice; it is never retried."""

    name = "flow.fail"
    title = "Fail"
    category = "flow"
    description = (
        "Fails with a message and a code: with a `condition`, a way to stop an execution whose data are not as they "
        "should be. It is not retried. The `timeout` of the task has no meaning here."
    )
    inputs = (
        Field(
            name="message",
            type="text",
            required=True,
            max_length=8000,
            description="Why it fails, for those who read the execution",
            example="The page has no text.",
        ),
        Field(
            name="code",
            type="text",
            default="runtime",
            enum=tuple(sorted(TASK_ERROR_CODES)),
            description="The code of the failure",
        ),
    )
    outputs = (Field(name="message", type="text", description="Always null: a task that fails has no outputs"),)
    timeout = 60.0
    example = {"message": "The page has no text.", "code": "validation"}

    def run(self, context: TaskContext, **inputs: JsonValue) -> NoReturn:
        """Raise the ``TaskError``."""
        raise TaskError(inputs["code"], inputs["message"] or "The workflow says so.")
