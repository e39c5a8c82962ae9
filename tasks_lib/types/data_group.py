"""``data.group``: the items of a list by what they have in common."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping

from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.items import HELP, LIST, Budget, compile_item, evaluate, expression_problem


class DataGroup(TaskType):
    """Groups by a key, in the order in which the keys are first met."""

    name = "data.group"
    title = "Group a list"
    category = "data"
    description = (
        "Groups the items of a list by what an expression gives for each. The groups come in the order in which their "
        f"first items do. {HELP}"
    )
    inputs = (
        LIST,
        Field(
            name="expression",
            type="text",
            required=True,
            description="Gives the key of an item: any value; 1 and 1.0 are the same",
            example='item.price > 2 ? "dear" : "cheap"',
        ),
    )
    outputs = (
        Field(
            name="groups",
            type="list",
            description="For each key `{key, items, count}`",
            example=[
                {"key": "dear", "items": [{"name": "pear", "price": 3}], "count": 1},
                {"key": "cheap", "items": [{"name": "fig", "price": 1}], "count": 1},
            ],
        ),
        Field(name="count", type="number", description="How many groups there are", example=2),
    )
    example = {
        "list": [{"name": "pear", "price": 3}, {"name": "fig", "price": 1}],
        "expression": 'item.price > 2 ? "dear" : "cheap"',
    }

    def check(self, given: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
        """The expression."""
        if problem := expression_problem(given["expression"]) if "expression" in given else "":
            yield "expression", problem

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Group. A key is kept as its first item gives it."""
        compiled = {"key": compile_item(inputs["expression"], "expression")}
        groups: dict[Hashable, tuple[JsonValue, list[JsonValue]]] = {}
        budget = Budget()
        for item, values in evaluate(context, inputs["list"], compiled):
            same = _hashable(values["key"])
            if same not in groups:
                budget.spend(values["key"])
                groups[same] = (values["key"], [])
            groups[same][1].append(item)
        made = [{"key": key, "items": items, "count": len(items)} for key, items in groups.values()]
        return {"groups": made, "count": len(made)}


def _hashable(key: JsonValue) -> Hashable:
    """Something that is equal for equal keys, as JSON means it: 1 is 1.0, true is not 1."""
    if isinstance(key, list | dict):
        return json.dumps(_whole(key), sort_keys=True)
    return isinstance(key, bool), key, isinstance(key, str)


def _whole(value: JsonValue) -> JsonValue:
    """``value`` with 1 for 1.0, at any depth (which the parser of what comes in bounds)."""
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {name: _whole(item) for name, item in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value
