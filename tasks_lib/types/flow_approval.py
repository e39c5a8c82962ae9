"""``flow.approval``: a person, or a call of the API, decides how it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from dataflow.lib.errors import TaskError
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType, ValueType, Wait

#: Seconds: 7 and 366 days.
DEFAULT_TIMEOUT = 604_800
LONGEST_TIMEOUT = 31_622_400
MAX_FIELDS = 100


class FlowApproval(TaskType):
    """Stops until somebody approves or rejects, without a worker."""

    name = "flow.approval"
    title = "Ask for approval"
    category = "flow"
    description = (
        "Waits until a person or a call of the API approves or rejects, with values for a form if there is one. No "
        "worker is held meanwhile. How long it may wait is the input `timeout`; the `timeout` of the task itself is "
        "for one try, which only puts the question."
    )
    inputs = (
        Field(name="title", type="text", default="Approval needed", max_length=200, description="The question, short"),
        Field(name="message", type="text", default="", description="What there is to know before deciding (Markdown)"),
        Field(
            name="form",
            type="list",
            description="Fields to fill in when approving, each described like an input of a workflow: `name`, `type`, "
            "`description`, `required`, `default`, `enum` and the other checks",
            example=[{"name": "budget", "type": "number", "description": "How much to spend", "minimum": 0}],
        ),
        Field(
            name="timeout",
            type="number",
            default=DEFAULT_TIMEOUT,
            minimum=1,
            maximum=LONGEST_TIMEOUT,
            description="Seconds to wait for a decision; then the task fails with `timeout`",
        ),
        Field(
            name="on_reject",
            type="text",
            default="fail",
            enum=("fail", "continue"),
            description="Whether a rejection fails the task, or completes it with `approved` false",
        ),
    )
    outputs = (
        Field(name="approved", type="boolean", description="Whether it was approved", example=True),
        Field(name="by", type="text", description="Who decided", example="alice"),
        Field(name="at", type="text", description="When, as RFC 3339", example="2026-11-23T08:00:00Z"),
        Field(name="comment", type="text", description="What was said with the decision"),
        Field(name="values", type="object", description="What was filled into the form", example={"budget": 100}),
    )
    timeout = 60.0
    example = {"title": "Publish the summary?", "message": "It goes to all customers.", "on_reject": "continue"}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue] | Wait:
        """Put the question. Raises ``TaskError("validation")`` for a form that cannot be shown."""
        form = inputs["form"] or []
        if problem := form_problem(form):
            raise TaskError("validation", f"`form` cannot be shown: {problem}.")
        data = {key: inputs[key] for key in ("title", "message", "on_reject")} | {"form": form}
        return Wait(kind="approval", data=data, seconds=float(inputs["timeout"]))


def form_problem(form: list[Any]) -> str:
    """Why nobody could fill the form in, empty when somebody can.

    A form that a definition gives as it is was checked to the last detail when it was created; this is for one that
    an expression made.
    """
    if len(form) > MAX_FIELDS:
        return f"it has more than {MAX_FIELDS} fields"
    names: set[str] = set()
    for number, field in enumerate(form, start=1):
        if not isinstance(field, dict):
            return f"field {number} is not an object"
        name = field.get("name")
        if not isinstance(name, str) or not (name.isidentifier() and name.isascii()) or len(name) > 64:
            return f"field {number} needs a `name` of letters, digits and `_`, at most 64"
        if name in names:
            return f"two fields have the name `{name}`"
        if field.get("type") not in get_args(ValueType):
            return f"field {number} needs a `type`: one of {', '.join(get_args(ValueType))}"
        names.add(name)
    return ""
