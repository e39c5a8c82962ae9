"""Holds what a model answered to a JSON schema that a user wrote. Nothing is fetched; patterns take linear time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dataflow.lib.errors import TaskError
from tasks_lib.base import JsonValue


def require_schema(schema: Mapping[str, JsonValue], name: str = "response_schema") -> None:
    """Raise ``TaskError('validation')`` unless ``schema`` is a JSON schema (draft 2020-12) that can be checked here.

    ``name`` is what the user calls it.
    """
    from jsonschema import Draft202012Validator, SchemaError  # slow to import

    if "patternProperties" in _keys(schema):
        raise TaskError("validation", f"`{name}` uses patternProperties, which is not supported.")
    try:
        Draft202012Validator.check_schema(dict(schema))
    except SchemaError as error:
        raise TaskError("validation", f"`{name}` is not a JSON schema: {error.message[:300]}") from error


def require_object(schema: Mapping[str, JsonValue], name: str = "response_schema") -> None:
    """``require_schema``, and that what keeps to it can be an object: that is what is asked for and given back."""
    require_schema(schema, name)
    kinds = schema.get("type", "object")
    if "object" not in (kinds if isinstance(kinds, list) else [kinds]):
        raise TaskError("validation", f"`{name}` must be of type object: put what it describes into a property of one.")


def mismatch(value: JsonValue, schema: Mapping[str, JsonValue], name: str = "response_schema") -> str | None:
    """What is wrong with ``value`` by ``schema`` (the user's ``name``), in a sentence; ``None`` when nothing is."""
    from jsonschema import Draft202012Validator, ValidationError, validators  # slow to import
    from referencing import Registry  # with jsonschema
    from referencing.exceptions import Unresolvable  # with jsonschema

    def pattern(_: Any, expression: str, instance: Any, __: Any) -> Iterator[ValidationError]:
        if isinstance(instance, str) and not _matches(expression, instance, name):
            yield ValidationError(f"{instance[:100]!r} does not match {expression!r}")

    checker = validators.extend(Draft202012Validator, {"pattern": pattern})  # type: ignore[no-untyped-call]  # its stub is bare
    try:
        # An empty registry: without one, a reference to elsewhere would be fetched.
        error = next(checker(dict(schema), registry=Registry()).iter_errors(value), None)
    except Unresolvable as unresolvable:
        raise TaskError("validation", f"`{name}` refers to {unresolvable.ref!r}, not in it.") from unresolvable
    except RecursionError as endless:
        raise TaskError("validation", f"`{name}` refers to itself without end.") from endless
    return None if error is None else f"{error.json_path}: {error.message[:300]}"


def is_strict(schema: JsonValue) -> bool:
    """Whether the provider can hold itself to it: every object closed and all its properties required."""
    if isinstance(schema, list):
        return all(is_strict(item) for item in schema)
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False or set(schema.get("required", [])) != set(properties):
            return False
    return all(is_strict(value) for value in schema.values())


def _matches(expression: str, text: str, name: str) -> bool:
    import re2  # only where a schema has a pattern

    try:
        return re2.search(expression, text) is not None
    except re2.error as error:
        message = f"`{name}` has the pattern {expression!r}, which cannot be used: {error}"
        raise TaskError("validation", message) from error


def _keys(schema: JsonValue) -> set[str]:
    found: set[str] = set()
    left = [schema]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            found.update(value)
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
    return found
