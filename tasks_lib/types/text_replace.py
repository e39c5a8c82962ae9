"""``text.replace``: one text for another, wherever it stands."""

from __future__ import annotations

from collections.abc import Mapping

from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.texts import require_length, whole_number


class TextReplace(TaskType):
    """Replaces literally; ``text.regex`` does it by a pattern."""

    name = "text.replace"
    title = "Replace text"
    category = "text"
    description = "Replaces one text by another wherever it stands, exactly as written. For patterns take `text.regex`."
    quick = True
    inputs = (
        Field(name="text", type="text", required=True, description="Where to look", example="Hello, World!"),
        Field(name="find", type="text", required=True, min_length=1, description="What to replace", example="World"),
        Field(name="replacement", type="text", default="", description="What stands there then", example="Ada"),
        Field(
            name="limit", type="number", minimum=1, description="How many to replace, from the start; all without it"
        ),
    )
    outputs = (
        Field(name="text", type="text", description="The text after it", example="Hello, Ada!"),
        Field(name="count", type="number", description="How many were replaced", example=1),
    )
    timeout = 60.0
    example = {"text": "Hello, World!", "find": "World", "replacement": "Ada"}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Replace. Raises ``TaskError``: ``validation`` for a limit that is no whole number, ``too_large``."""
        text, find, replacement = inputs["text"], inputs["find"], inputs["replacement"]
        count = text.count(find)
        if inputs["limit"] is not None:
            count = min(count, whole_number(inputs["limit"], "limit", 1))
        if (growth := len(replacement) - len(find)) > 0:
            require_length(len(text) + count * growth)
        return {"text": text.replace(find, replacement, count), "count": count}
