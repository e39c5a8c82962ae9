"""``text.static``: a fixed text, to start a workflow with or to keep a prompt in one place."""

from __future__ import annotations

from collections.abc import Mapping

from tasks_lib.base import Field, JsonValue, TaskContext, TaskType


class TextStatic(TaskType):
    """Gives back the text it is given."""

    name = "text.static"
    title = "Static text"
    category = "text"
    description = "Gives a text to the tasks after it."
    quick = True
    inputs = (Field(name="text", type="text", required=True, description="The text", example="Hello, World!"),)
    outputs = (Field(name="text", type="text", description="The same text", example="Hello, World!"),)
    aliases = ("static_text_input",)
    timeout = 60.0
    example = {"text": "Hello, World!"}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Give back ``text``."""
        return {"text": inputs["text"]}
