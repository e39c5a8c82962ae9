"""``text.truncate``: the beginning of a text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dataflow.lib.errors import TaskError
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.literals import fractions

#: How far before the cut the search for a cluster's start begins; no real cluster is as long.
_LOOK_BACK = 256


class TextTruncate(TaskType):
    """Cuts a text to a length and marks the cut with three dots; a text that fits stays as it is."""

    name = "text.truncate"
    title = "Truncate text"
    category = "text"
    description = "Cuts a text to a number of characters and adds `...`. A text that fits stays as it is."
    quick = True
    inputs = (
        Field(name="text", type="text", required=True, description="Text to cut", example="Hello, World!"),
        Field(
            name="length",
            type="number",
            required=True,
            minimum=0,
            description="How many characters to keep; the three dots come on top",
            example=5,
        ),
    )
    outputs = (Field(name="truncated_text", type="text", description="The text, cut", example="Hello..."),)
    timeout = 60.0
    example = {"text": "Hello, World!", "length": 5}

    def check(self, given: Mapping[str, JsonValue]) -> Iterable[tuple[str, str]]:
        """That the length counts something."""
        return fractions(given, "length")

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Cut ``text`` to ``length`` characters; a ``length`` that is not a whole number from 0 up is refused."""
        text: str = inputs["text"]
        length: float = inputs["length"]
        if not float(length).is_integer() or length < 0:
            raise TaskError("validation", f"`length` must be a whole number, 0 or more; it is {length}.")
        if len(text) <= length:
            return {"truncated_text": text}
        return {"truncated_text": text[: _boundary(text, int(length))] + "..."}


def _boundary(text: str, cut: int) -> int:
    """The last place up to ``cut`` that is not inside a grapheme cluster."""
    around = text[max(cut - 1, 0) : cut + 1]
    if around.isascii() and around != "\r\n":
        return cut
    import regex  # slow to import and rarely needed

    for cluster in regex.finditer(r"\X", text, pos=max(0, cut - _LOOK_BACK)):
        if cluster.end() > cut:
            return int(cluster.start())
    return cut
