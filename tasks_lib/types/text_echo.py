"""``text.echo``: passes a text on and writes it to the log."""

from __future__ import annotations

from collections.abc import Mapping

from tasks_lib.base import Field, JsonValue, TaskContext, TaskType

#: Characters of the text that go to the log; the output is always whole.
LOGGED_CHARACTERS = 10_000


class TextEcho(TaskType):
    """Gives back the text it is given and logs it."""

    name = "text.echo"
    title = "Echo"
    category = "text"
    description = "Passes a text on and writes it to the log: a way to look at what goes by."
    quick = True
    inputs = (Field(name="text", type="text", required=True, description="Text to echo", example="Hello, World!"),)
    outputs = (Field(name="text", type="text", description="The same text", example="Hello, World!"),)
    aliases = ("echo",)
    timeout = 60.0
    example = {"text": "Hello, World!"}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Log ``text`` and give it back."""
        text: str = inputs["text"]
        rest = len(text) - LOGGED_CHARACTERS
        context.log(text if rest <= 0 else f"{text[:LOGGED_CHARACTERS]}… ({rest} more characters)")
        return {"text": text}
