"""``text.template``: a text with places for values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from dataflow.lib.errors import TaskError
from dataflow.lib.wording import nearest, shown
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.texts import as_text, require_length

#: Characters of a template.
MAX_TEMPLATE = 1024 * 1024
#: Names listed in one message.
_LISTED = 10
_PLACE = re.compile(r"\$(?:(?P<escaped>\$)|(?P<name>[A-Za-z_]\w*)|\{(?P<path>[^{}\n]{1,200})\})", re.ASCII)
_MISSING = object()


class TextTemplate(TaskType):
    """Fills places in a text, once: what is filled in is never looked at again. No conditions, no loops, no code."""

    name = "text.template"
    title = "Fill a template"
    category = "text"
    description = (
        "Fills places in a text with values: `$name`, or `${customer.address.city}` and `${lines.0}` for what lies "
        "deeper. Texts go in as they are, all else as JSON. `$$` is a dollar sign; any other `$`, as in `$5`, stays. "
        "There is no logic: shape the values in a task before. `{{…}}` in the template is filled before, as everywhere."
    )
    quick = True
    inputs = (
        Field(
            name="template",
            type="text",
            required=True,
            max_length=MAX_TEMPLATE,
            description="The text with its places",
            example="Dear $name, your order of ${order.count} is on its way.",
        ),
        Field(
            name="values",
            type="object",
            required=True,
            description="A value for every place",
            example={"name": "Ada", "order": {"count": 2}},
        ),
        Field(
            name="missing",
            type="text",
            default="error",
            enum=("error", "empty", "keep"),
            description="A place whose value is not there or null: an error, nothing, or the place as it is written",
        ),
    )
    outputs = (
        Field(
            name="text",
            type="text",
            description="The text, filled",
            example="Dear Ada, your order of 2 is on its way.",
        ),
    )
    timeout = 60.0
    example = {
        "template": "Dear $name, your order of ${order.count} is on its way.",
        "values": {"name": "Ada", "order": {"count": 2}},
    }

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Fill the places. Raises ``TaskError``: ``validation`` naming all that is missing, ``too_large``."""
        values, missing, size = inputs["values"], inputs["missing"], 0
        unknown: dict[str, None] = {}
        filled: list[str] = []
        known: dict[str, str] = {}
        for piece, path in _pieces(inputs["template"]):
            text = piece
            if path:
                if piece not in known:
                    value = _value_at(values, path)
                    if value is _MISSING:
                        unknown[path] = None
                    known[piece] = _filling(value, piece, missing)
                text = known[piece]
            size += len(text)
            require_length(size)
            filled.append(text)
        if unknown and missing == "error":
            raise TaskError("validation", _unknown(list(unknown), values))
        return {"text": "".join(filled)}


def _pieces(template: str) -> Iterator[tuple[str, str]]:
    """The template in pieces, each with the path it stands for (empty for plain text)."""
    start = 0
    for found in _PLACE.finditer(template):
        yield template[start : found.start()], ""
        yield ("$", "") if found["escaped"] else (found[0], (found["name"] or found["path"]).strip())
        start = found.end()
    yield template[start:], ""


def _value_at(values: JsonValue, path: str) -> JsonValue:
    """The value at a path of names and list places, joined by dots; ``_MISSING`` for none, or null."""
    value = values
    for part in path.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif (
            isinstance(value, list)
            and part.isdecimal()
            and part.isascii()
            and len(part) < 10
            and int(part) < len(value)
        ):
            value = value[int(part)]
        else:
            return _MISSING
    return _MISSING if value is None else value


def _filling(value: JsonValue, written: str, missing: str) -> str:
    if value is not _MISSING:
        return as_text(value)
    return written if missing == "keep" else ""


def _unknown(paths: list[str], values: Mapping[str, JsonValue]) -> str:
    listed = ", ".join(map(shown, paths[:_LISTED])) + (" and more" if len(paths) > _LISTED else "")
    hint = nearest(paths[0].partition(".")[0], list(values)[:200])
    remedy = 'Give them, set `missing` to "empty", or write `$$` for a dollar sign.'
    return " ".join(filter(None, [f"`values` has nothing for {listed}.", hint, remedy]))
