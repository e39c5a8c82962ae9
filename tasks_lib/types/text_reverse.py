"""``text.reverse``: a text backwards, by what a reader calls a character."""

from __future__ import annotations

from collections.abc import Mapping

from tasks_lib.base import Field, JsonValue, TaskContext, TaskType


class TextReverse(TaskType):
    """Reverses by grapheme cluster, so an emoji, a flag or an accented letter stays whole."""

    name = "text.reverse"
    title = "Reverse text"
    category = "text"
    description = "Turns a text around. Emoji and accented letters stay whole."
    quick = True
    inputs = (Field(name="text", type="text", required=True, description="Text to reverse", example="Hello, World!"),)
    outputs = (Field(name="text", type="text", description="The text backwards", example="!dlroW ,olleH"),)
    aliases = ("text_operations.reverse",)
    timeout = 60.0
    example = {"text": "Hello, World!"}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Reverse ``text``."""
        text: str = inputs["text"]
        if text.isascii() and "\r" not in text:
            return {"text": text[::-1]}
        import regex  # slow to import and rarely needed: ASCII has no clusters but CR LF

        return {"text": "".join(reversed(regex.findall(r"\X", text)))}
