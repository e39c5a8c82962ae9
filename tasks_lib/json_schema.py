"""What a task type takes and gives as JSON Schema (draft 2020-12), made from its fields alone.

The schemas describe values as a task sees them: current names, and values instead of ``{{ }}`` expressions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks_lib.base import MISSING, Field, TaskType, ValueType

DRAFT = "https://json-schema.org/draft/2020-12/schema"
#: An annotation that is ours: other names that the input may be given by.
ALIASES = "x-aliases"

_FILE_FIELDS: Mapping[str, Any] = {
    "file_id": {"type": "string", "pattern": "^fl-[a-z0-9]{1,64}$"},
    "name": {"type": "string"},
    "content_type": {"type": "string"},
    "size": {"type": "integer", "minimum": 0, "description": "Bytes"},
    "sha256": {"type": "string", "description": "Hexadecimal"},
    "url": {"type": "string", "description": "Where its content is"},
}
_STORED_FILE: Mapping[str, Any] = {
    "description": "A stored file",
    "type": "object",
    "properties": _FILE_FIELDS,
    "required": ["file_id"],
}
_GIVEN_FILE: Mapping[str, Any] = {
    "description": "A file: its id, a file value, or an address to fetch it from",
    "anyOf": [
        _FILE_FIELDS["file_id"],
        _STORED_FILE,
        {
            "type": "object",
            "properties": {"url": {"type": "string", "format": "uri"}},
            "required": ["url"],
            "additionalProperties": False,
        },
    ],
}
_TYPES: Mapping[ValueType, str] = {
    "text": "string",
    "number": "number",
    "boolean": "boolean",
    "object": "object",
    "list": "array",
}
_LIMITS = {"minimum": "minimum", "maximum": "maximum", "min_length": "minLength", "max_length": "maxLength"}


def input_schema(task_type: TaskType) -> dict[str, Any]:
    """The schema of all inputs together. An input that is not given may also be left out; null is as if left out."""
    schema = _object({field.name: _input(field) for field in task_type.inputs})
    schema["required"] = [field.name for field in task_type.inputs if field.required]
    schema["additionalProperties"] = False
    return _with_definition(schema, task_type.inputs, _GIVEN_FILE)


def output_schema(task_type: TaskType) -> dict[str, Any]:
    """The schema of all outputs together. Each is there, and null where there is nothing to give."""
    schema = _object({field.name: _output(field) for field in task_type.outputs})
    schema["required"] = [field.name for field in task_type.outputs]
    schema["additionalProperties"] = task_type.any_outputs
    return _with_definition(schema, task_type.outputs, _STORED_FILE)


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"$schema": DRAFT, "type": "object", "properties": properties}


def _with_definition(schema: dict[str, Any], fields: Any, file: Mapping[str, Any]) -> dict[str, Any]:
    uses_files = any(field.type == "file" for field in fields)
    return schema | ({"$defs": {"file": dict(file)}} if uses_files else {})


def _input(field: Field) -> dict[str, Any]:
    schema = _described(field)
    if field.type == "file":
        schema["$ref"] = "#/$defs/file"
    elif field.type in _TYPES:
        schema["type"] = _TYPES[field.type]
    if field.default is not MISSING and field.default is not None:
        schema["default"] = field.default
    return schema | ({ALIASES: list(field.aliases)} if field.aliases else {})


def _output(field: Field) -> dict[str, Any]:
    schema = _described(field)
    if field.type == "file":
        schema["anyOf"] = [{"$ref": "#/$defs/file"}, {"type": "null"}]
    elif field.type in _TYPES:
        schema["type"] = [_TYPES[field.type], "null"]
    if "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    return schema


def _described(field: Field) -> dict[str, Any]:
    """What inputs and outputs share: description, choices, limits, an example."""
    schema: dict[str, Any] = {"description": field.description}
    if field.enum:
        schema["enum"] = list(field.enum)
    limits = {keyword: getattr(field, name) for name, keyword in _LIMITS.items()}
    schema |= {keyword: limit for keyword, limit in limits.items() if limit is not None}
    return schema | ({} if field.example in (MISSING, None) else {"examples": [field.example]})
