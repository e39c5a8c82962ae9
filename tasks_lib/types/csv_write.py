"""``csv.write``: rows as a table in a file."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence

from dataflow.lib.errors import TaskError
from dataflow.lib.wording import kind
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.csv_text import MAX_COLUMNS
from tasks_lib.texts import as_text

MAX_ROWS = 1_000_000
#: Bytes of a file that are also given as text.
MAX_TEXT = 1024 * 1024
#: Rows that are written at once.
_ROWS_AT_ONCE = 1_000
#: What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection), in full width too.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_BYTE_ORDER_MARK = "\ufeff"


class CsvWrite(TaskType):
    """Writes CSV as RFC 4180 has it; what a spreadsheet would run is written so that it does not."""

    name = "csv.write"
    title = "Write CSV"
    category = "data"
    description = (
        "Writes rows (objects, or lists) as a CSV file in UTF-8, lines ended by CR LF. Texts that a spreadsheet would "
        "take for a formula (beginning with = + - @ or a tab) get a `'` in front: what a page or a model wrote could "
        "run commands where it is opened. `escape_formulas: false` writes all as it is, for programs that read it. "
        "Null is an empty cell; lists and objects are written as JSON."
    )
    inputs = (
        Field(
            name="rows",
            type="list",
            required=True,
            description=f"The rows, at most {MAX_ROWS:,}: all objects, or all lists",
            example=[{"name": "pear", "price": 3}, {"name": "fig", "price": 1}],
        ),
        Field(
            name="columns",
            type="list",
            description="Which columns, in which order; without it all, in the order in which they are first met",
            example=["name", "price"],
        ),
        Field(name="header", type="boolean", default=True, description="Whether the first line names the columns"),
        Field(
            name="delimiter", type="text", default=",", min_length=1, max_length=1, description="What parts the cells"
        ),
        Field(
            name="escape_formulas",
            type="boolean",
            default=True,
            description="Whether texts that look like formulas get a `'` in front",
        ),
        Field(
            name="byte_order_mark",
            type="boolean",
            default=False,
            description="Whether the file begins with one, by which Excel knows UTF-8",
        ),
        Field(
            name="name", type="text", default="table.csv", min_length=1, max_length=200, description="Name of the file"
        ),
    )
    outputs = (
        Field(name="file", type="file", description="The table"),
        Field(
            name="text",
            type="text",
            description="The same as text, null over 1 MiB",
            example="name,price\r\npear,3\r\nfig,1\r\n",
        ),
        Field(name="count", type="number", description="How many rows were written, without the header", example=2),
    )
    example = {"rows": [{"name": "pear", "price": 3}, {"name": "fig", "price": 1}]}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Write. Raises ``TaskError``: ``validation`` naming the row, ``too_large``."""
        rows = inputs["rows"]
        if len(rows) > MAX_ROWS:
            raise TaskError("too_large", f"There are {len(rows):,} rows; at most {MAX_ROWS:,} are written to one file.")
        if inputs["delimiter"] in '"\r\n':
            raise TaskError("validation", "`delimiter` cannot be a quote or a line's end.")
        columns = _columns(rows, inputs["columns"])
        text: str | None = ""
        with context.files.create(inputs["name"], "text/csv") as file:
            for piece in _written(context, inputs, columns):
                file.write(piece.encode())
                if text is not None:
                    text = text + piece if len(text) + len(piece) <= MAX_TEXT else None
        return {"file": file.value, "text": text, "count": len(rows)}


def _columns(rows: Sequence[JsonValue], given: Sequence[JsonValue] | None) -> list[str]:
    """The names of the columns, none for rows that are lists. Raises ``TaskError``."""
    wanted = dict if rows and isinstance(rows[0], dict) else list
    for index, row in enumerate(rows):
        if not isinstance(row, wanted):
            message = f"Row {index} is {kind(row)}; rows must be all objects or all lists."
            raise TaskError("validation", message)
    if given is not None:
        for name in given:
            if not isinstance(name, str):
                raise TaskError("validation", f"`columns` must be names of columns; it has {kind(name)}.")
        names = list(given)
    else:
        names = list(dict.fromkeys(name for row in rows if wanted is dict for name in row))
    if len(names) > MAX_COLUMNS:
        raise TaskError("too_large", f"There are {len(names):,} columns; at most {MAX_COLUMNS:,} are written.")
    return names


def _written(context: TaskContext, inputs: Mapping[str, JsonValue], columns: Sequence[str]) -> Iterator[str]:
    """The table, piece by piece."""
    buffer = io.StringIO(_BYTE_ORDER_MARK if inputs["byte_order_mark"] else "", newline="")
    buffer.seek(0, io.SEEK_END)
    writer = csv.writer(buffer, delimiter=inputs["delimiter"], lineterminator="\r\n")
    escapes = inputs["escape_formulas"]
    if inputs["header"] and columns:
        writer.writerow([_cell(name, escapes=escapes) for name in columns])
    for index, row in enumerate(inputs["rows"]):
        values = [row.get(name) for name in columns] if isinstance(row, dict) else row
        writer.writerow([_cell(value, escapes=escapes) for value in values])
        if index % _ROWS_AT_ONCE == 0:
            context.cancellation.check()
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _cell(value: JsonValue, *, escapes: bool) -> str:
    if value is None:
        return ""
    text = as_text(value)
    if escapes and isinstance(value, str) and text.startswith(_FORMULA) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text
