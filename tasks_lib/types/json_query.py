"""``json.query``: a part of a JSON value, by JMESPath."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dataflow.lib.errors import TaskError
from tasks_lib.base import MISSING, Field, JsonValue, TaskContext, TaskType


class JsonQuery(TaskType):
    """Runs a JMESPath query, bounded in depth and in work."""

    name = "json.query"
    title = "Query JSON"
    category = "data"
    description = (
        "Takes a part out of a JSON value, or shapes it anew, by a JMESPath query (https://jmespath.org), the language "
        "of the AWS command line: `items[*].name`, `{total: sum(items[*].price)}`. What is not there is null."
    )
    inputs = (
        Field(
            name="json",
            type="any",
            required=True,
            description="The value: an object or a list, as a task before gave it",
            example={"items": [{"name": "pear", "price": 3}, {"name": "fig", "price": 1}]},
        ),
        Field(
            name="query",
            type="text",
            required=True,
            description="The JMESPath query, at most 2,000 characters",
            example="items[?price > `2`].name",
            aliases=("expression",),
        ),
    )
    outputs = (Field(name="result", type="any", description="What was found, null for nothing", example=["pear"]),)
    example = {
        "json": {"items": [{"name": "pear", "price": 3}, {"name": "fig", "price": 1}]},
        "query": "items[?price > `2`].name",
    }

    def check(self, given: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
        """The query."""
        from tasks_lib.jmespath_query import compile_query  # loads jmespath, which takes 0.1 s

        query = given.get("query", MISSING)
        if query is not MISSING:
            try:
                compile_query(query)
            except ValueError as problem:
                yield "query", str(problem)

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Query. Raises ``TaskError``: ``validation`` for the query, ``expression`` where it fails, ``too_large``."""
        from tasks_lib.jmespath_query import compile_query, run_query  # loads jmespath, which takes 0.1 s

        try:
            tree = compile_query(inputs["query"])
        except ValueError as problem:
            raise TaskError("validation", f"`query`: {problem}") from None
        return {"result": run_query(tree, inputs["json"], context.cancellation)}
