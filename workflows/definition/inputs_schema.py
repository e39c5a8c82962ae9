"""The inputs of a workflow as JSON Schema, as whoever fills them in (a model, say) is told them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tasks_lib.base import MISSING
from workflows.definition.model import Input

_TYPES = {"text": "string", "number": "number", "boolean": "boolean", "object": "object", "list": "array"}
_FILE = {
    "anyOf": [
        {"type": "string", "description": "Id of a stored file"},
        {"type": "object", "properties": {"file_id": {"type": "string"}}, "required": ["file_id"]},
        {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]},
    ]
}
_LIMITS = {"minimum": "minimum", "maximum": "maximum", "min_length": "minLength", "max_length": "maxLength"}


def inputs_schema(inputs: Iterable[Input]) -> dict[str, Any]:
    """An object with a property for each input. One that may be left out may be null."""
    given = list(inputs)
    return {
        "type": "object",
        "properties": {one.name: _property(one) for one in given},
        "required": [one.name for one in given if _is_needed(one)],
        "additionalProperties": False,
    }


def _is_needed(one: Input) -> bool:
    return one.required and one.default is MISSING


def _property(one: Input) -> Mapping[str, Any]:
    schema: dict[str, Any] = {"description": one.description} if one.description else {}
    if one.type == "file":
        schema |= _FILE if _is_needed(one) else {"anyOf": [*_FILE["anyOf"], {"type": "null"}]}
    elif one.type in _TYPES:
        schema["type"] = _TYPES[one.type] if _is_needed(one) else [_TYPES[one.type], "null"]
    if one.enum:
        schema["enum"] = [*one.enum] if _is_needed(one) else [*one.enum, None]
    limits = {keyword: getattr(one, name) for name, keyword in _LIMITS.items()}
    return schema | {keyword: limit for keyword, limit in limits.items() if limit is not None}
