"""``data.map``: every item of a list turned into something else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dataflow.lib.errors import TaskError
from dataflow.lib.expressions.evaluate import Expression
from dataflow.lib.wording import shown
from tasks_lib.base import MISSING, Field, JsonValue, TaskContext, TaskType
from tasks_lib.items import HELP, LIST, Budget, compile_item, evaluate, expression_problem

#: Fields of the objects that are built.
MAX_FIELDS = 100


class DataMap(TaskType):
    """Evaluates an expression for each item, or one for each field of an object to build."""

    name = "data.map"
    title = "Map a list"
    category = "data"
    description = f"Turns every item of a list into a value, or into an object of several values. {HELP}"
    inputs = (
        LIST,
        Field(
            name="expression", type="text", description="Gives the value that stands for the item", example="item.name"
        ),
        Field(
            name="fields",
            type="object",
            description=f"Builds objects instead: an expression for each field, at most {MAX_FIELDS}",
            example={"name": "item.name", "double": "item.price * 2"},
        ),
    )
    outputs = (
        Field(
            name="list",
            type="list",
            description="The values, in the order of the items",
            example=[{"name": "pear", "double": 6}, {"name": "fig", "double": 2}],
        ),
        Field(name="count", type="number", description="How many there are", example=2),
    )
    example = {
        "list": [{"name": "pear", "price": 3}, {"name": "fig", "price": 1}],
        "fields": {"name": "item.name", "double": "item.price * 2"},
    }

    def check(self, given: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
        """One of the two, and every expression."""
        expression, fields = given.get("expression"), given.get("fields")
        if expression is None and fields is None:
            yield "expression", "Give `expression`, or `fields` to build objects."
        if expression not in (None, MISSING) and fields not in (None, MISSING):
            yield "fields", "Give `expression` or `fields`, not both."
        if expression is not None and (problem := expression_problem(expression)):
            yield "expression", problem
        if isinstance(fields, Mapping):
            yield from (("fields", problem) for problem in _field_problems(fields))

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Evaluate for every item."""
        expression, fields = inputs["expression"], inputs["fields"]
        if (expression is None) == (fields is None):
            raise TaskError("validation", "Give either `expression` or `fields`.")
        compiled = {"": compile_item(expression, "expression")} if fields is None else _compiled(fields)
        budget, made = Budget(), []
        for _, values in evaluate(context, inputs["list"], compiled):
            made.append(values[""] if fields is None else values)
            budget.spend(made[-1])
        return {"list": made, "count": len(made)}


def _compiled(fields: Mapping[str, JsonValue]) -> dict[str, Expression]:
    """The expression of each field. Raises ``TaskError('validation')`` for the first that cannot be used."""
    for problem in _field_problems(fields):
        raise TaskError("validation", problem)
    return {name: compile_item(source, f"fields.{name}") for name, source in fields.items()}


def _field_problems(fields: Mapping[str, JsonValue]) -> Iterator[str]:
    """What is wrong with ``fields``, in sentences."""
    if not fields:
        yield "`fields` is empty: give an expression for each field to build."
    if len(fields) > MAX_FIELDS:
        yield f"`fields` has {len(fields):,} fields; at most {MAX_FIELDS} are built."
        return
    for name, source in fields.items():
        if problem := expression_problem(source):
            yield f"{shown(f'fields.{name}')}: {problem}"
