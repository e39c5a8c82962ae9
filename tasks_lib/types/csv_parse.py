"""``csv.parse``: a table in a text or a file, as rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dataflow.lib.errors import TaskError
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.csv_text import ENCODINGS, column_names, converted, decoded, lines_of, records
from tasks_lib.text_or_file import check_one, chunks_of, require_one
from tasks_lib.texts import whole_number

#: Bytes of a file, or characters of a text.
MAX_BYTES = 64 * 1024 * 1024
MAX_ROWS = 100_000
#: Cells of all rows together: each is a value in memory.
MAX_CELLS = 1_000_000
#: Rows between two looks at the cancellation.
_LOOK_EVERY = 1_000


class CsvParse(TaskType):
    """Reads CSV: delimiter and encoding are found out unless they are given."""

    name = "csv.parse"
    title = "Parse CSV"
    category = "data"
    description = (
        "Reads a table of comma-separated values (or semicolons, tabs, bars) from a text or a file. With a header each "
        "row is an object by column name: a second `name` is `name_2`, a column without one `column_3`. Cells are text "
        "unless `convert` is set. Empty lines are left out. A row of another width is an error, unless `ragged: pad`."
    )
    inputs = (
        Field(name="text", type="text", description="The table, as a text", example="name,price\npear,3\nfig,1\n"),
        Field(name="file", type="file", description=f"The table, as a file of at most {MAX_BYTES // 1024**2} MiB"),
        Field(
            name="delimiter",
            type="text",
            min_length=1,
            max_length=1,
            description="What parts the cells; found out by the first lines unless given",
            example=";",
        ),
        Field(
            name="quote", type="text", default='"', min_length=1, max_length=1, description="What cells are quoted with"
        ),
        Field(name="header", type="boolean", default=True, description="Whether the first row names the columns"),
        Field(
            name="encoding",
            type="text",
            default="auto",
            enum=ENCODINGS,
            description="Of a file. `auto`: by its byte order mark, else UTF-8, else windows-1252",
        ),
        Field(
            name="convert",
            type="boolean",
            default=False,
            description="Whether cells written as JSON numbers, true or false become such, and empty ones null",
        ),
        Field(
            name="ragged",
            type="text",
            default="error",
            enum=("error", "pad"),
            description="Rows of another width: an error, or cells that lack are empty and empty ones too many go",
        ),
        Field(
            name="limit",
            type="number",
            minimum=1,
            maximum=MAX_ROWS,
            description=f"How many rows to read. Without it all; more than {MAX_ROWS:,} are an error",
        ),
    )
    outputs = (
        Field(
            name="rows",
            type="list",
            description="An object for each row; without a header, a list",
            example=[{"name": "pear", "price": 3}, {"name": "fig", "price": 1}],
        ),
        Field(
            name="columns",
            type="list",
            description="The names of the columns, in order; empty without a header",
            example=["name", "price"],
        ),
        Field(name="count", type="number", description="How many rows there are", example=2),
    )
    example = {"text": "name,price\npear,3\nfig,1\n", "convert": True}

    def check(self, given: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
        """A text or a file, and marks that can be told apart."""
        yield from check_one(given)
        if problem := _mark_problem(given.get("delimiter"), given.get("quote", '"')):
            yield "delimiter", problem

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Read. Raises ``TaskError``: ``validation`` naming the line, ``too_large`` over the bounds."""
        require_one(inputs)
        if problem := _mark_problem(inputs["delimiter"], inputs["quote"]):
            raise TaskError("validation", problem)
        found = records(lines_of(_texts(context, inputs)), inputs["delimiter"], inputs["quote"])
        columns = column_names(next(found, (0, []))[1]) if inputs["header"] else []
        limit = None if inputs["limit"] is None else whole_number(inputs["limit"], "limit", 1)
        rows: list[JsonValue] = []
        for cells in _rows(context, found, len(columns), inputs["ragged"]):
            if len(rows) == (limit or MAX_ROWS):
                if limit is not None:
                    break
                raise TaskError(
                    "too_large", f"There are more than {MAX_ROWS:,} rows. Give a `limit`, or split the file."
                )
            values = [converted(cell) for cell in cells] if inputs["convert"] else cells
            rows.append(dict(zip(columns, values, strict=True)) if inputs["header"] else values)
        return {"rows": rows, "columns": columns, "count": len(rows)}


def _mark_problem(delimiter: JsonValue, quote: JsonValue) -> str:
    """Why these cannot be what parts and quotes cells; empty where they can, or are not known yet."""
    if isinstance(delimiter, str) and (delimiter == quote or delimiter in "\r\n\0"):
        return "`delimiter` cannot be a line's end, nor the same as `quote`."
    return "`quote` cannot be a line's end." if isinstance(quote, str) and quote in "\r\n\0" else ""


def _texts(context: TaskContext, inputs: Mapping[str, JsonValue]) -> Iterator[str]:
    text = inputs["text"]
    if text is None:
        chunks = chunks_of(context, inputs["file"], MAX_BYTES)
        yield from decoded(chunks, inputs["encoding"], lambda note: context.log(note, level="warning"))
    elif len(text) > MAX_BYTES:
        raise TaskError("too_large", f"`text` has {len(text):,} characters; at most {MAX_BYTES:,} are read.")
    else:
        yield text.removeprefix("\ufeff")


def _rows(
    context: TaskContext, found: Iterator[tuple[int, list[str]]], width: int, ragged: str
) -> Iterator[Sequence[str]]:
    """The cells of each row, all of one width (that of the first where there is no header)."""
    cells_left = MAX_CELLS
    for number, (line, cells) in enumerate(found):
        if number % _LOOK_EVERY == 0:
            context.cancellation.check()
        width = width or len(cells)
        fitted = cells if len(cells) == width else _fitted(cells, width, ragged, number, line)
        cells_left -= width
        if cells_left < 0:
            raise TaskError("too_large", f"There are more than {MAX_CELLS:,} cells. Give a `limit`, or split the file.")
        yield fitted


def _fitted(cells: Sequence[str], width: int, ragged: str, number: int, line: int) -> Sequence[str]:
    """The cells of row ``number`` (from 0), which ends on ``line``, at the width of the others."""
    if ragged == "pad" and not any(cells[width:]):
        return [*cells[:width], *[""] * (width - len(cells))]
    message = f"Row {number} (it ends on line {line}) has {len(cells):,} cells; the first one has {width:,}."
    if ragged == "pad":
        raise TaskError("validation", f"{message} More cells than columns can only be left out where they are empty.")
    raise TaskError("validation", f'{message} Is the `delimiter` right? `ragged: "pad"` takes rows that are too short.')
