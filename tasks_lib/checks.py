"""What a task type class must say about itself, checked when the registry loads it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

from dataflow.lib.errors import TASK_ERROR_CODES
from tasks_lib.base import MISSING, Field, JsonValue, TaskType, ValueType

_TYPE_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_FIELD_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "number": (int, float),
    "boolean": (bool,),
    "file": (dict, str),
    "object": (dict,),
    "list": (list,),
    "any": (object,),
}


class RegistryError(Exception):
    """A task type that cannot be used as it is written; the message names the class and what to mend."""


def check_task_type(task_class: type[TaskType]) -> None:
    """Raise ``RegistryError`` with everything that is wrong with the description of ``task_class``."""
    problems = list(_problems(task_class))
    if problems:
        where = f"{task_class.__module__}.{task_class.__qualname__}"
        raise RegistryError(f"{where} is not a usable task type: {'; '.join(problems)}.")


def fits(value: JsonValue, kind: str) -> bool:
    """Whether a JSON value is of a value type (``True`` is no number)."""
    if kind in ("number", "text") and isinstance(value, bool):
        return False
    return isinstance(value, _PYTHON_TYPES[kind])


def _problems(task_class: type[TaskType]) -> Iterator[str]:
    missing = [name for name in ("name", "title", "category", "description") if not getattr(task_class, name, "")]
    missing += [name for name in ("inputs", "outputs") if not hasattr(task_class, name)]
    if missing:
        yield f"it lacks {', '.join(missing)}"
        return
    if not _TYPE_NAME.fullmatch(task_class.name):
        yield f"its name {task_class.name!r} is not like `group.name`"
    if not task_class.timeout > 0:
        yield "its timeout is not above 0"
    if unknown := sorted(set(task_class.retried) - TASK_ERROR_CODES):
        yield f"it retries {', '.join(unknown)}, which is no code of a task error"
    yield from _field_problems("input", task_class.inputs)
    yield from _field_problems("output", task_class.outputs)
    yield from _output_problems(task_class)
    yield from _example_problems(task_class.inputs, task_class.example)


def _field_problems(kind: str, fields: Sequence[Field]) -> Iterator[str]:
    taken: set[str] = set()
    for field in fields:
        if not _FIELD_NAME.fullmatch(field.name):
            yield f"{kind} {field.name!r} has a name that is not lower-case letters, digits and _"
        if field.type not in get_args(ValueType):
            yield f"{kind} {field.name!r} has the unknown type {field.type!r}"
            continue
        for name in (field.name, *field.aliases):
            if name.lower() in taken:
                yield f"two {kind}s are called {name!r}"
            taken.add(name.lower())
        if field.required and field.default is not MISSING:
            yield f"{kind} {field.name!r} is required and has a default"
        for what, value in (("default", field.default), ("example", field.example)):
            if value is not MISSING:
                yield from _value_problems(f"{what} of {kind} {field.name!r}", field, value)


def _value_problems(what: str, field: Field, value: JsonValue) -> Iterator[str]:
    if value is None:
        return
    if not fits(value, field.type):
        yield f"the {what} is not of type {field.type}"
    elif field.enum and value not in field.enum:
        yield f"the {what} is not one of its enum"


def _output_problems(task_class: type[TaskType]) -> Iterator[str]:
    outputs = [field.name for field in task_class.outputs]
    if not outputs and not task_class.any_outputs:
        yield "it has no outputs"
    elif task_class.default_output and task_class.default_output not in outputs:
        yield f"its default output {task_class.default_output!r} is not one of its outputs"


def _example_problems(fields: Sequence[Field], example: Mapping[str, JsonValue]) -> Iterator[str]:
    known = {field.name: field for field in fields}
    for name, value in example.items():
        if name not in known:
            yield f"its example gives {name!r}, which is not an input"
        else:
            yield from _value_problems(f"example of input {name!r}", known[name], value)
    if example:
        lacking = [field.name for field in fields if field.required and field.name not in example]
        if lacking:
            yield f"its example lacks {', '.join(lacking)}"
