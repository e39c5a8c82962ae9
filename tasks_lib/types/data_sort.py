"""``data.sort``: a list in the order of what an expression gives for its items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dataflow.lib.errors import TaskError
from dataflow.lib.wording import kind
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.items import HELP, LIST, Budget, compile_item, evaluate, expression_problem


class DataSort(TaskType):
    """Sorts stably by one key, or by several that the expression gives as a list."""

    name = "data.sort"
    title = "Sort a list"
    category = "data"
    description = (
        "Sorts the items of a list by what an expression gives for each: all numbers, texts (by code point) or "
        "booleans. A list such as `[item.country, item.age]` sorts by its first part, then by the next. Items with the "
        f"same key keep their order; a null key comes last. {HELP}"
    )
    inputs = (
        LIST,
        Field(
            name="expression",
            type="text",
            default="item",
            description="Gives the key by which an item is sorted",
            example="item.price",
        ),
        Field(name="descending", type="boolean", default=False, description="Whether the largest key comes first"),
    )
    outputs = (
        Field(
            name="list",
            type="list",
            description="The items in their new order",
            example=[{"name": "fig", "price": 1}, {"name": "pear", "price": 3}],
        ),
        Field(name="count", type="number", description="How many there are", example=2),
    )
    example = {
        "list": [{"name": "pear", "price": 3}, {"name": "fig", "price": 1}],
        "expression": "item.price",
    }

    def check(self, given: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
        """The expression."""
        if problem := expression_problem(given["expression"]) if "expression" in given else "":
            yield "expression", problem

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Sort. Raises ``TaskError('expression')`` for keys that cannot be compared, naming the item."""
        compiled = {"key": compile_item(inputs["expression"], "expression")}
        keyed: list[tuple[JsonValue, JsonValue]] = []
        last: list[JsonValue] = []
        wanted: object = None
        budget = Budget()
        for index, (item, values) in enumerate(evaluate(context, inputs["list"], compiled)):
            key = values["key"]
            if key is None:
                last.append(item)
                continue
            budget.spend(key)
            found = _comparable(key, index)
            wanted = found if wanted is None else wanted
            if found != wanted:
                message = f"Item {index}: its key is {_named(found)}; that of the items before it is {_named(wanted)}."
                raise TaskError("expression", f"{message} Keys must all be of one kind, for example `string(item.x)`.")
            keyed.append((key, item))
        keyed.sort(key=lambda pair: pair[0], reverse=inputs["descending"])
        return {"list": [*(item for _, item in keyed), *last], "count": len(keyed) + len(last)}


def _comparable(key: JsonValue, index: int) -> object:
    """The kind of a key; of a list, the kinds of its parts."""
    parts = key if isinstance(key, list) else [key]
    for part in parts:
        if not isinstance(part, str | int | float):
            message = f"Item {index}: a key is a number, a text, a boolean, or a list of these; it has {kind(part)}."
            raise TaskError("expression", message)
    return tuple(kind(part) for part in parts) if isinstance(key, list) else kind(key)


def _named(found: object) -> str:
    return f"a list of {', '.join(found) or 'nothing'}" if isinstance(found, tuple) else str(found)
