"""``json.parse``: a text or a file of JSON as a value."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from dataflow.lib.errors import TaskError
from dataflow.lib.jsonvalues import JsonError, parse_json
from dataflow.lib.wording import shown
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.text_or_file import check_one, chunks_of, require_one

#: Bytes of a document.
MAX_BYTES = 16 * 1024 * 1024
#: Commas and opening brackets: a document of small values needs twenty times its size in memory.
MAX_VALUES = 1_000_000
#: Characters shown on either side of the place of an error.
_AROUND = 20
_FENCE = b"```"
_OPENING, _CLOSING = (b"{", b"["), (b"}", b"]")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class JsonParse(TaskType):
    """Parses strictly: duplicate keys, NaN, deep nesting and half characters are errors that say where."""

    name = "json.parse"
    title = "Parse JSON"
    category = "data"
    description = (
        "Turns a JSON text or file into a value. What is not strict JSON (duplicate keys, NaN, a comma too many) is an "
        "error that names its place. `tolerant` takes the JSON out of what a model writes around it."
    )
    inputs = (
        Field(name="text", type="text", description="The JSON, as a text", example='{"name": "pear", "price": 3}'),
        Field(
            name="file", type="file", description=f"The JSON, as a file in UTF-8 of at most {MAX_BYTES // 1024**2} MiB"
        ),
        Field(
            name="tolerant",
            type="boolean",
            default=False,
            description="Whether there may be a Markdown fence (```json) or prose around the JSON, as models write it",
        ),
    )
    outputs = (Field(name="json", type="any", description="The value", example={"name": "pear", "price": 3}),)
    example = {"text": '{"name": "pear", "price": 3}'}

    def check(self, given: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
        """A text or a file."""
        return check_one(given)

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Parse. Raises ``TaskError``: ``validation`` for what is no JSON, ``too_large`` over the bounds."""
        require_one(inputs)
        if inputs["file"] is not None:
            data = b"".join(chunks_of(context, inputs["file"], MAX_BYTES))
        else:
            data = inputs["text"].encode("utf-8", "replace")
        data = data.removeprefix(_BYTE_ORDER_MARK)
        if inputs["tolerant"]:
            data = _inner(data)
        _require_small(data)
        context.cancellation.check()
        try:
            return {"json": parse_json(data)}
        except JsonError as error:
            raise TaskError("validation", _explained(error)) from error


def _require_small(data: bytes) -> None:
    if len(data) > MAX_BYTES:
        raise TaskError("too_large", f"The JSON has {len(data):,} bytes; at most {MAX_BYTES:,} are parsed. Split it.")
    if sum(map(data.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise TaskError("too_large", f"The JSON has more than {MAX_VALUES:,} values. Split it.")


def _explained(error: JsonError) -> str:
    """What is wrong and where, with the text around the place."""
    detail = error.detail.replace("The body is empty", "The text is empty")
    if error.pointer:
        return f"{detail} It is at {shown(error.pointer)}."
    if isinstance(error.__cause__, json.JSONDecodeError):
        place, text = error.__cause__.pos, error.__cause__.doc
        around = " ".join(text[max(place - _AROUND, 0) : place + _AROUND].split())
        return f"{detail} It is near {shown(around)}."
    return detail


def _inner(data: bytes) -> bytes:
    """The JSON in what a model wrote: inside of its first fence, from the first bracket to the last."""
    inside = data.strip()
    if not inside.startswith(_OPENING):
        # A fence begins a line, and no text of JSON has a line's end in it: the next one closes.
        _, fence, after = (b"\n" + inside).partition(b"\n" + _FENCE)
        if fence:
            inside = after.partition(b"\n" + _FENCE)[0].strip()
            inside = inside.removesuffix(_FENCE).removeprefix(b"json").removeprefix(b"JSON").strip()
    first = min((place for mark in _OPENING if (place := inside.find(mark)) >= 0), default=-1)
    last = max(inside.rfind(mark) for mark in _CLOSING)
    if inside.startswith(b'"') or not 0 <= first < last:
        return inside
    return inside[first : last + 1]
