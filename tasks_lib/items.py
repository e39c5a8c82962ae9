"""Expressions over the items of a list: ``data.map``, ``data.filter``, ``data.sort``, ``data.group``.

An expression is the one of definitions (CEL, without macros), written without braces: ``{{…}}`` is rendered before the
task runs. It knows ``item`` and ``index`` (from 0) and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dataflow.lib.errors import TaskError
from dataflow.lib.expressions.evaluate import Expression, ExpressionError, Run, compile_source, quick
from dataflow.lib.expressions.tokens import ExpressionProblem, spell
from dataflow.lib.sizes import json_size
from dataflow.lib.wording import shown
from tasks_lib.base import MISSING, Field, JsonValue, TaskContext

MAX_ITEMS = 100_000
#: Bytes of JSON that all results together may have.
MAX_RESULT = 64 * 1024 * 1024
_ROOTS = frozenset({"item", "index"})
#: Items between two looks at the cancellation.
_LOOK_EVERY = 64

HELP = (
    "An expression is written without braces and knows `item` and `index` (from 0): `item.price * 2`, "
    '`item.name.startsWith("A")`, `has(item.email) ? item.email : ""`. '
    "Whole numbers and fractions do not mix in arithmetic: `double(item.price) * 1.2` takes both."
)
LIST = Field(
    name="list",
    type="list",
    required=True,
    description=f"The items, at most {MAX_ITEMS:,}",
    example=[{"name": "pear", "price": 3}, {"name": "fig", "price": 1}],
)


def expression_problem(source: JsonValue) -> str:
    """What is wrong with the text of an expression, in a sentence; empty where nothing is, or it is not known yet."""
    if source is MISSING:
        return ""
    if not isinstance(source, str):
        return "An expression is a text."
    try:
        compiled = compile_source(source, is_bare=True)
    except ExpressionProblem as problem:
        return f"{problem.message} {problem.hint}".rstrip()
    for path in sorted(compiled.references, key=spell):
        if path[0] not in _ROOTS:
            return f"{shown(spell(path))}: there is no {shown(path[0])} here. {HELP}"
    return ""


def compile_item(source: JsonValue, name: str) -> Expression:
    """The expression of the input called ``name``. Raises ``TaskError('validation')``."""
    if problem := expression_problem(source):
        raise TaskError("validation", f"`{name}`: {problem}")
    return compile_source(source, is_bare=True)


def require_items(items: Sequence[JsonValue]) -> None:
    """Raise ``TaskError('too_large')`` for a list of more than ``MAX_ITEMS``."""
    if len(items) > MAX_ITEMS:
        message = f"`list` has {len(items):,} items; at most {MAX_ITEMS:,} are taken. Split it over several tasks."
        raise TaskError("too_large", message)


def evaluate(
    context: TaskContext, items: Sequence[JsonValue], expressions: Mapping[str, Expression]
) -> Iterator[tuple[JsonValue, dict[str, JsonValue]]]:
    """Each item with the value of every expression, by its name. Raises ``TaskError`` that names the item."""
    require_items(items)
    for index, item in enumerate(items):
        if index % _LOOK_EVERY == 0:
            context.cancellation.check()
        scope = {"item": item, "index": index}
        yield item, {name: _value(one, scope) for name, one in expressions.items()}


def _value(expression: Expression, scope: Mapping[str, JsonValue]) -> JsonValue:
    if expression.path is not None and (value := quick(expression.path, scope)) is not None:
        return value
    try:
        return expression.evaluate(Run(scope))
    except ExpressionError as error:
        raise TaskError(error.code, f"Item {scope['index']}: {error.message}") from None


class Budget:
    """Counts the results as they are made: what expressions build can be far larger than what they read."""

    def __init__(self, most: int = MAX_RESULT) -> None:
        self._most = self._left = most

    def spend(self, value: JsonValue) -> None:
        """Raise ``TaskError('too_large')`` when ``value`` is too much on top of what was spent before."""
        self._left -= json_size(value, self._left)
        if self._left < 0:
            message = f"The results are larger than {self._most // 1024**2} MiB together. Take fewer items or fields."
            raise TaskError("too_large", message)
