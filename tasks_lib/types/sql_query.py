"""``sql.query``: a database asked in SQL."""

from __future__ import annotations

from collections.abc import Mapping

from dataflow.lib.errors import TaskError
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.clients import sql
from tasks_lib.connections import complete, guarded

MAX_ROWS = 10_000


class SqlQuery(TaskType):
    """Runs one statement on a database that a connection names."""

    name = "sql.query"
    title = "SQL query"
    category = "integrations"
    description = (
        "Runs one SQL statement on a database. Values go in as `:name` parameters, never by building the statement. "
        "It reads only, unless the connection allows writing and `write` is set."
    )
    inputs = (
        Field(name="connection", type="text", required=True, description="Name of the connection", example="main"),
        Field(
            name="query",
            type="text",
            required=True,
            aliases=("sql", "statement"),
            description="One SQL statement with `:name` for each parameter; a colon that begins none is written `\\:`",
            example="SELECT id, name FROM customers WHERE country = :country",
        ),
        Field(
            name="parameters",
            type="object",
            default={},
            description="The value of each `:name`. A list is an array on PostgreSQL (`= ANY(:ids)`), else JSON text",
            example={"country": "GB"},
        ),
        Field(
            name="max_rows",
            type="number",
            default=1_000,
            minimum=1,
            maximum=MAX_ROWS,
            description="Rows that are read; more are left out and `truncated` is true",
        ),
        Field(name="write", type="boolean", default=False, description="Whether the statement may change data"),
    )
    outputs = (
        Field(name="rows", type="list", description="The rows, each an object of column to value"),
        Field(name="columns", type="list", description="Names of the columns in their order", example=["id", "name"]),
        Field(name="row_count", type="number", description="How many rows are given", example=2),
        Field(name="truncated", type="boolean", description="Whether there were more rows than `max_rows`"),
        Field(name="affected", type="number", description="With `write`: how many rows the statement changed"),
    )
    retried = ("communication", "rate_limited", "timeout")
    idempotent = False
    example = {"connection": "main", "query": "SELECT :word AS word", "parameters": {"word": "hello"}}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Run the statement. Raises ``TaskError``, a syntax error as ``validation`` with its place."""
        settings = complete("sql", context.connection(inputs["connection"], "sql"))
        write = bool(inputs["write"])
        if write and settings["read_only"]:
            message = "The connection is read-only, and `write` is set. Set its `read_only` to false to change data."
            raise TaskError("authorization", message)
        query = sql.Query(
            statement=inputs["query"],
            parameters=inputs["parameters"] or {},
            max_rows=int(inputs["max_rows"]),
            write=write,
        )
        with guarded("sql", settings):
            table = sql.ask(str(settings["url"] or ""), query, context.cancellation)
        if table.truncated:
            context.log(f"There are more than {query.max_rows:,} rows; the rest is left out.", level="warning")
        return {
            "rows": table.rows,
            "columns": table.columns,
            "row_count": len(table.rows),
            "truncated": table.truncated,
            "affected": table.affected,
        }

    def is_repeatable(self, inputs: Mapping[str, JsonValue]) -> bool:
        """What only reads is."""
        return not inputs.get("write")
