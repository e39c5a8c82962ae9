"""At run time: the inputs of a task, its condition and outputs, and the outputs of a workflow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from dataflow.lib.errors import TaskError
from dataflow.lib.expressions.evaluate import ExpressionError, Scope
from tasks_lib.base import MISSING, Field, JsonValue, TaskType, ValueType
from workflows.definition.expressions import Template
from workflows.definition.model import Definition, ForEach, Output, Rename
from workflows.definition.problems import kind, shown
from workflows.definition.values import as_file, broken_checks, is_number, is_of_type, named, number_as_text

#: Items of one ``for_each`` task.
MAX_ITEMS = 100_000
#: Characters of a concurrency key; a longer text stands in it by its hash.
MAX_KEY = 200


class MissingThrough(Exception):
    """A required input that is null because the task ``task_name`` has no outputs.

    It was skipped, or failed and the execution went on. ``input_name`` is the current name of the input.
    """

    def __init__(self, task_name: str, input_name: str) -> None:
        super().__init__(f"The input {shown(input_name)} comes from the task {shown(task_name)}, which has no outputs.")
        self.task_name, self.input_name = task_name, input_name


class OutputError(Exception):
    """An output of a workflow that cannot be evaluated."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name, self.message = name, message


def render_inputs(task_inputs: Mapping[str, Template], task_type: TaskType, scope: Scope) -> dict[str, JsonValue]:
    """A value for every input of the task type: rendered, converted, checked, defaults filled in, else ``None``.

    Raises ``ExpressionError``, ``TaskError("validation")`` for a value that does not fit, and ``MissingThrough``.
    """
    return {
        one.name: _render_input(one, task_inputs.get(one.name), scope, filled=one.unless not in task_inputs)
        for one in task_type.inputs
    }


def _render_input(one: Field, template: Template | None, scope: Scope, *, filled: bool) -> JsonValue:
    value: JsonValue = None
    missing: tuple[str, ...] = ()
    if template is not None:
        try:
            value, missing = template.render_with_missing(scope)
        except ExpressionError as error:
            if error.missing and one.required and error.code == "expression":
                raise MissingThrough(error.missing[0], one.name) from None
            raise ExpressionError(f"Input {shown(one.name)}: {error.message}", error.code, error.missing) from None
    if value is None:
        if one.default is not MISSING:
            return one.default if filled else None
        if one.required and missing:
            raise MissingThrough(missing[0], one.name)
        if one.required:
            raise TaskError("validation", f"The input {shown(one.name)} is required, and its value is null.")
        return None
    if type(value) is _EXACT.get(one.type) and not _has_checks(one):
        return value
    return _fitting(value, one)


def _fitting(value: JsonValue, one: Field) -> JsonValue:
    value = convert(value, one.type)
    if not is_of_type(value, one.type):
        raise TaskError("validation", f"The input {shown(one.name)} must be {named(one.type)}, not {kind(value)}.")
    for _, detail in broken_checks(value, one):
        raise TaskError("validation", f"The input {shown(one.name)} {detail}")
    return value


#: A value of exactly this Python type needs no conversion and is of the type. (A float may be infinite.)
_EXACT: Mapping[str, type] = {"text": str, "number": int, "boolean": bool, "object": dict, "list": list}


def _has_checks(one: Field) -> bool:
    return bool(
        one.enum
        or one.max_length is not None
        or one.min_length is not None
        or one.minimum is not None
        or one.maximum is not None
    )


def items_of(for_each: ForEach, scope: Scope) -> list[JsonValue]:
    """The list that the task runs over; a plain reference gives the list itself, not a copy.

    Raises ``ExpressionError`` (``validation`` for what is no list, ``too_large`` over ``MAX_ITEMS``), and
    ``MissingThrough`` with the input name ``for_each`` when it comes from a task without outputs.
    """
    try:
        value, missing = for_each.items.render_with_missing(scope)
    except ExpressionError as error:
        if error.missing and error.code == "expression":
            raise MissingThrough(error.missing[0], "for_each") from None
        raise ExpressionError(f"`for_each`: {error.message}", error.code, error.missing) from None
    if value is None and missing:
        raise MissingThrough(missing[0], "for_each")
    if not isinstance(value, list):
        raise ExpressionError(f"`for_each` must give a list, not {kind(value)}.", "validation")
    if len(value) > MAX_ITEMS:
        text = f"`for_each` runs over at most {MAX_ITEMS:,} items, not {len(value):,}. Split the list over executions."
        raise ExpressionError(text, "too_large")
    return value


def concurrency_key(definition: Definition, inputs: Mapping[str, JsonValue]) -> str:
    """The text of the workflow's concurrency key for an execution with these inputs, empty where there is no key.

    What is not text is written as JSON. A text of more than ``MAX_KEY`` characters, or one that a database cannot
    store, is given by its hash. Raises ``ExpressionError``.
    """
    if definition.concurrency is None or definition.concurrency.key is None:
        return ""
    try:
        value = definition.concurrency.key.render({"inputs": inputs})
    except ExpressionError as error:
        raise ExpressionError(f"The concurrency key: {error.message}", error.code) from None
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, separators=(",", ":"))
    data = text.encode("utf-8", "surrogatepass")
    storable = "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
    return text if len(text) <= MAX_KEY and storable else f"sha256:{hashlib.sha256(data).hexdigest()}"


def convert(value: JsonValue, value_type: ValueType) -> JsonValue:
    """``value`` as it goes where ``value_type`` is wanted: a number becomes text, a file's id its object form."""
    if value_type == "text" and is_number(value):
        return number_as_text(value)
    if value_type == "file":
        return as_file(value)
    return value


def check_condition(condition: Template, scope: Scope) -> bool:
    """Whether the task is to run. Raises ``ExpressionError`` when the condition fails or is not a boolean.

    ``missing`` of the error then names the tasks without outputs that the condition refers to.
    """
    value, missing = condition.render_with_missing(scope)
    if isinstance(value, bool):
        return value
    source = condition.expression.source if condition.expression is not None else condition.literal
    raise ExpressionError(f"The condition {shown(source)} gave {kind(value)}, not true or false.", missing=missing)


def rename_outputs(renames: Iterable[Rename], outputs: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The outputs of a task with their further names; both names can be read."""
    return {**outputs, **{rename.name: outputs.get(rename.source) for rename in renames}}


def evaluate_outputs(definition: Definition, scope: Scope) -> dict[str, JsonValue]:
    """The outputs of the workflow in order; each may refer to those before it. Raises ``OutputError``.

    Null is allowed for type ``any``, and where it comes from a task that was skipped or failed but continued.
    """
    done: dict[str, JsonValue] = {}
    null_through: dict[str, str] = {}
    seen = {**scope, "outputs": done}  # each output sees those done before it
    for output in definition.outputs:
        done[output.name] = _evaluate(output, seen, null_through)
    return done


def _evaluate(output: Output, scope: Scope, null_through: dict[str, str]) -> JsonValue:
    name = output.name
    try:
        value, missing = output.value.render_with_missing(scope)
    except ExpressionError as error:
        raise OutputError(name, f"The output {shown(name)} cannot be evaluated: {error.message}") from None
    if value is None:
        inherited = [
            null_through[str(path[1])]
            for path in output.value.references
            if path[0] == "outputs" and path[1:2] and path[1] in null_through
        ]
        if (cause := [*missing, *inherited]) or output.type == "any":
            if cause:
                null_through[name] = cause[0]
            return None
        raise OutputError(name, f"The output {shown(name)} is null; {named(output.type)} is wanted.")
    value = convert(value, output.type)
    if not is_of_type(value, output.type):
        raise OutputError(name, f"The output {shown(name)} must be {named(output.type)}, not {kind(value)}.")
    return value
