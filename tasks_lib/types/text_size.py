"""``text.size``: how long a text is."""

from __future__ import annotations

from collections.abc import Mapping

from tasks_lib.base import Field, JsonValue, TaskContext, TaskType


class TextSize(TaskType):
    """Counts characters (Unicode code points, as JSON Schema's ``maxLength`` does)."""

    name = "text.size"
    title = "Text size"
    category = "text"
    description = "Counts the characters of a text."
    quick = True
    inputs = (Field(name="text", type="text", required=True, description="Text to measure", example="Hello, World!"),)
    outputs = (Field(name="size", type="number", description="Number of characters", example=13),)
    timeout = 60.0
    example = {"text": "Hello, World!"}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Count the characters of ``text``."""
        return {"size": len(inputs["text"])}
