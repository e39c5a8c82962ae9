"""``text.split``: a text in parts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from dataflow.lib.errors import TaskError
from tasks_lib.base import MISSING, Field, JsonValue, TaskContext, TaskType
from tasks_lib.literals import fractions
from tasks_lib.splitting import split_text
from tasks_lib.texts import MAX_PARTS, require_length, whole_number

#: Characters of a text that is split at sentences: a million of them take a second at worst.
MAX_SENTENCES = 4_000_000
_LINE_END = re.compile(r"\r\n|\n|\r")


class TextSplit(TaskType):
    """Splits at a separator, at line ends, after so many characters, or at sentences."""

    name = "text.split"
    title = "Split a text"
    category = "text"
    description = (
        "Splits a text at a separator, into lines, into pieces of a length (which may overlap, as for embeddings), or "
        "at sentences into pieces of at most a length. Pieces at sentences are stripped of space at their ends."
    )
    quick = True
    inputs = (
        Field(name="text", type="text", required=True, description="The text", example="one, two, three"),
        Field(
            name="by",
            type="text",
            default="lines",
            enum=("separator", "lines", "length", "sentences"),
            description="Where to split",
            example="separator",
        ),
        Field(
            name="separator", type="text", min_length=1, description="For `separator`: what parts them", example=", "
        ),
        Field(
            name="length",
            type="number",
            minimum=1,
            description="For `length` and `sentences`: the most characters of a piece",
            example=1000,
        ),
        Field(
            name="overlap",
            type="number",
            default=0,
            minimum=0,
            description="For `length`: how many characters of the piece before a piece begins with",
        ),
        Field(
            name="skip_empty",
            type="boolean",
            default=False,
            description="Whether to leave out parts of nothing but space",
        ),
    )
    outputs = (
        Field(name="parts", type="list", description="The parts, in order", example=["one", "two", "three"]),
        Field(name="count", type="number", description="How many there are", example=3),
    )
    timeout = 60.0
    example = {"text": "one, two, three", "by": "separator", "separator": ", "}

    def check(self, given: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
        """That what ``by`` asks for is given, and nothing that it does not look at."""
        by = given.get("by", "lines")
        yield from fractions(given, "length", "overlap")
        if by is not MISSING and (needed := _NEEDED.get(by)) and needed not in given:
            yield needed, f"`by: {by}` needs `{needed}`."
        if by is not MISSING and by != "separator" and given.get("separator", MISSING) not in (None, MISSING):
            yield "separator", f"`by: {by}` does not look at `separator`. Give `by: separator`, or leave it out."

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Split. Raises ``TaskError``: ``validation`` for inputs that do not go together, ``too_large``."""
        text, by = inputs["text"], inputs["by"]
        if (needed := _NEEDED.get(by)) and inputs[needed] is None:
            raise TaskError("validation", f"`by: {by}` needs `{needed}`.")
        match by:
            case "separator":
                _require_parts(text.count(inputs["separator"]) + 1)
                parts = text.split(inputs["separator"])
            case "lines":
                _require_parts(text.count("\n") + text.count("\r") - text.count("\r\n"))
                parts = _lines(text)
            case "length":
                parts = _pieces(text, whole_number(inputs["length"], "length", 1), inputs["overlap"])
            case _:
                parts = _sentences(text, whole_number(inputs["length"], "length", 1))
        if inputs["skip_empty"]:
            parts = [part for part in parts if part.strip()]
        _require_parts(len(parts))
        return {"parts": parts, "count": len(parts)}


_NEEDED: Mapping[str, str] = {"separator": "separator", "length": "length", "sentences": "length"}


def _require_parts(count: int) -> None:
    if count > MAX_PARTS:
        raise TaskError("too_large", f"The text would have {count:,} parts; at most {MAX_PARTS:,} are made.")


def _lines(text: str) -> list[str]:
    """The lines without their ends; the end of the last one begins no other."""
    lines = _LINE_END.split(text)
    return lines if lines[-1] else lines[:-1]


def _sentences(text: str, length: int) -> list[str]:
    if len(text) > MAX_SENTENCES:
        message = f"`text` has {len(text):,} characters; at most {MAX_SENTENCES:,} are split at sentences."
        raise TaskError("too_large", f"{message} Split it by `length` first.")
    _require_parts(len(text) // length)
    return split_text(text, length)


def _pieces(text: str, length: int, overlap: float) -> list[str]:
    step = length - whole_number(overlap, "overlap", 0)
    if step <= 0:
        raise TaskError("validation", f"`overlap` must be less than `length`, which is {length}; it is {overlap:g}.")
    # The last piece is the first that reaches the end: the next one would only repeat what it ends with.
    starts = range(0, max(len(text) - (length - step), 1), step) if text else range(0)
    _require_parts(len(starts))
    require_length(len(starts) * min(length, len(text)))
    return [text[start : start + length] for start in starts]
