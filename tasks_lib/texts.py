"""Values as text, and texts that grow: what text.template, text.join, text.replace and csv.write share."""

from __future__ import annotations

import json

from dataflow.lib.errors import TaskError
from tasks_lib.base import JsonValue

#: Characters of a text that is made of others.
MAX_TEXT = 16 * 1024 * 1024
#: Parts of one text, and matches in it.
MAX_PARTS = 100_000
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def as_text(value: JsonValue) -> str:
    """A value inside a text: text as it is, all else as JSON (``true``, ``2.5``, ``{"a":1}``)."""
    if isinstance(value, str):
        return value
    return _ENCODER.encode(value)


def require_length(characters: int) -> None:
    """Raise ``TaskError('too_large')`` for a text of more than ``MAX_TEXT`` characters, before it is made."""
    if characters > MAX_TEXT:
        message = f"The text would have {characters:,} characters; at most {MAX_TEXT:,} are made. Work on parts of it."
        raise TaskError("too_large", message)


def whole_number(value: float, name: str, least: int) -> int:
    """A number that counts something. Raises ``TaskError('validation')`` for a fraction and below ``least``."""
    if not float(value).is_integer() or value < least:
        raise TaskError("validation", f"`{name}` must be a whole number, {least} or more; it is {value}.")
    return int(value)
