"""``data.filter``: the items of a list that fulfil a condition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dataflow.lib.errors import TaskError
from dataflow.lib.wording import kind
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.items import HELP, LIST, compile_item, evaluate, expression_problem


class DataFilter(TaskType):
    """Keeps the items for which an expression is true."""

    name = "data.filter"
    title = "Filter a list"
    category = "data"
    description = f"Keeps the items of a list for which an expression is true. {HELP}"
    inputs = (
        LIST,
        Field(
            name="expression",
            type="text",
            required=True,
            description="True for an item to keep, false for one to leave out",
            example="item.price > 2",
        ),
    )
    outputs = (
        Field(
            name="list",
            type="list",
            description="The items kept, in their order",
            example=[{"name": "pear", "price": 3}],
        ),
        Field(name="count", type="number", description="How many there are", example=1),
    )
    example = {
        "list": [{"name": "pear", "price": 3}, {"name": "fig", "price": 1}],
        "expression": "item.price > 2",
    }

    def check(self, given: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
        """The expression."""
        if problem := expression_problem(given["expression"]) if "expression" in given else "":
            yield "expression", problem

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Ask of every item. What is neither true nor false is refused, naming the item."""
        compiled = {"keep": compile_item(inputs["expression"], "expression")}
        kept = []
        for index, (item, values) in enumerate(evaluate(context, inputs["list"], compiled)):
            keep = values["keep"]
            if not isinstance(keep, bool):
                message = f"Item {index}: `expression` must give true or false; it gives {kind(keep)}."
                raise TaskError("expression", message)
            if keep:
                kept.append(item)
        return {"list": kept, "count": len(kept)}
