"""``csv.parse`` and ``csv.write``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from dataflow.lib.jsonvalues import clean_json
from tasks_lib import csv_text, registry
from tasks_lib.types import csv_parse, csv_write
from tests.stubs.context import StubContext, run


@pytest.fixture
def context(tmp_path: Path) -> StubContext:
    return StubContext(tmp_path)


def parse(context: StubContext, **inputs: Any) -> dict[str, Any]:
    parsed = dict(run(registry.load().types["csv.parse"], context, **inputs))
    assert clean_json(parsed) == parsed
    assert parsed["count"] == len(parsed["rows"])
    return parsed


def write(context: StubContext, rows: list[Any], **inputs: Any) -> dict[str, Any]:
    return dict(run(registry.load().types["csv.write"], context, rows=rows, **inputs))


def unparsed(context: StubContext, **inputs: Any) -> tuple[str, str]:
    with pytest.raises(TaskError) as raised:
        parse(context, **inputs)
    assert not raised.value.retryable
    return raised.value.code, raised.value.message


def unwritten(context: StubContext, rows: list[Any], **inputs: Any) -> tuple[str, str]:
    before = context.files.names()
    with pytest.raises(TaskError) as raised:
        write(context, rows, **inputs)
    assert context.files.names() == before
    return raised.value.code, raised.value.message


def file(context: StubContext, data: bytes) -> Any:
    return context.files.add("table.csv", "text/csv", data)


# csv.parse


def test_the_example_of_parse_gives_what_the_catalogue_shows(context: StubContext) -> None:
    task_type = registry.load().types["csv.parse"]
    assert parse(context, **task_type.example) == {field.name: field.example for field in task_type.outputs}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends_are_found_out(context: StubContext, delimiter: str, end: str) -> None:
    lines = [["name", "note"], ["pear", "1.5"], ["fig", f'"a{delimiter}""b""{end}c"'], ["", ""]]
    text = end.join(delimiter.join(line) for line in lines) + end + end
    assert parse(context, text=text) == {
        "rows": [
            {"name": "pear", "note": "1.5"},
            {"name": "fig", "note": f'a{delimiter}"b"{end}c'},
            {"name": "", "note": ""},
        ],
        "columns": ["name", "note"],
        "count": 3,
    }


@pytest.mark.parametrize(
    ("text", "columns", "rows"),
    [
        ("", [], []),
        ("\n\r\n\n", [], []),
        ("a", ["a"], []),
        ("a\n1\n\n2", ["a"], [["1"], ["2"]]),
        (" a , b\n 1,2 ", ["a", "b"], [[" 1", "2 "]]),
        ("\ufeffa,b\n1,2", ["a", "b"], [["1", "2"]]),
        ("a,a,,a_2,a\n1,2,3,4,5", ["a", "a_3", "column_3", "a_2", "a_4"], [["1", "2", "3", "4", "5"]]),
        (",column_1\n1,2", ["column_1_2", "column_1"], [["1", "2"]]),
        ("a\u2028b;c\n1\x0b\x85;2", ["a\u2028b", "c"], [["1\x0b\x85", "2"]]),
        ("1,5;2\n3,5;4\n", ["1,5", "2"], [["3,5", "4"]]),
        ('"x"\n""', ["x"], [[""]]),
    ],
)
def test_odd_tables(context: StubContext, text: str, columns: list[str], rows: list[list[str]]) -> None:
    parsed = parse(context, text=text)
    assert parsed["columns"] == columns
    assert [list(row.values()) for row in parsed["rows"]] == rows
    assert all(list(row) == columns for row in parsed["rows"])


def test_without_a_header(context: StubContext) -> None:
    assert parse(context, text="1,x\n2,y", header=False, convert=True) == {
        "rows": [[1, "x"], [2, "y"]],
        "columns": [],
        "count": 2,
    }


def test_a_delimiter_and_a_quote_that_are_given(context: StubContext) -> None:
    assert parse(context, text="a b\n'x y' 2", delimiter=" ", quote="'")["rows"] == [{"a": "x y", "b": "2"}]


def test_convert(context: StubContext) -> None:
    cells = {
        "1": 1, "-5": -5, "1.50": 1.5, "1e2": 100.0, "TRUE": True, "false": False, "": None, "null": "null", "007": "007",
        "1_000": "1_000", " 1": " 1", "+1": "+1", ".5": ".5", "٣": "٣", "NaN": "NaN", "1e999": "1e999",
        "9223372036854775807": 2**63 - 1, "9223372036854775808": "9223372036854775808", "9" * 5000: "9" * 5000,
    }  # fmt: skip
    text = "n,x\n" + "".join(f"{cell},\n" for cell in cells)
    parsed = [row["n"] for row in parse(context, text=text, convert=True, delimiter=",")["rows"]]
    assert parsed == list(cells.values())
    assert [type(value) for value in parsed] == [type(value) for value in cells.values()]


def test_ragged_rows(context: StubContext) -> None:
    assert parse(context, text="a,b\n1\n2,3,,\n", ragged="pad")["rows"] == [{"a": "1", "b": ""}, {"a": "2", "b": "3"}]
    assert parse(context, text="a,b\n1\n", ragged="pad", convert=True)["rows"] == [{"a": 1, "b": None}]
    code, message = unparsed(context, text='a,b\n"x\ny",2\n1\n')
    assert code == "validation"
    assert message.startswith("Row 1 (it ends on line 4) has 1 cells; the first one has 2.")
    assert "More cells than columns" in unparsed(context, text="a,b\n1,2,3", ragged="pad")[1]
    assert "Row 1 " in unparsed(context, text="1,2\n3", header=False)[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('a,b\n"x,2\n3,4\n', "Line 3: unexpected end of data"),
        ('a,b\n"x"y,2', "Line 2: "),
        ("a\0,b", "NUL characters"),
    ],
)
def test_what_is_no_csv(context: StubContext, text: str, said: str) -> None:
    code, message = unparsed(context, text=text)
    assert code == "validation"
    assert said in message


@pytest.mark.parametrize(
    ("data", "encoding", "columns"),
    [
        ("naïve,b".encode(), "auto", ["naïve", "b"]),
        ("naïve,b".encode("utf-8-sig"), "auto", ["naïve", "b"]),
        ("naïve,b".encode("utf-8-sig"), "utf-8", ["naïve", "b"]),
        ("naïve,b".encode("utf-16"), "auto", ["naïve", "b"]),
        ("naïve,b".encode("utf-16"), "utf-16-le", ["naïve", "b"]),
        ("naïve,b".encode("utf-16-be"), "utf-16-be", ["naïve", "b"]),
        ("naïve €,b".encode("cp1252"), "auto", ["naïve €", "b"]),
        ("naïve,b".encode("iso-8859-1"), "iso-8859-1", ["naïve", "b"]),
        ("日本,b".encode("shift_jis"), "shift_jis", ["日本", "b"]),
        ("é".encode() + b"\xff,b", "auto", ["é\ufffd", "b"]),
        (b"a,b\x81", "auto", ["a", "b\ufffd"]),
    ],
)
def test_encodings(context: StubContext, data: bytes, encoding: str, columns: list[str]) -> None:
    assert parse(context, file=file(context, data), encoding=encoding)["columns"] == columns


@pytest.mark.parametrize("data", ["naïve,b".encode("cp1252"), "é".encode()[:1]])
def test_bytes_that_are_not_of_the_encoding(context: StubContext, data: bytes) -> None:
    code, message = unparsed(context, file=file(context, data), encoding="utf-8")
    assert (code, "The file is not utf-8" in message) == ("validation", True)


@pytest.mark.parametrize("encoding", csv_text.ENCODINGS)
@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"\xef\xbb\xbf", bytes(range(256)) * 3, b"\x89PNG\r\n\x1a\n\0\0"])
def test_any_bytes_are_read_or_refused(context: StubContext, encoding: str, data: bytes) -> None:
    codes: list[str] = []
    try:
        parse(context, file=file(context, data), encoding=encoding)
    except TaskError as error:
        codes.append(error.code)
    assert codes in ([], ["validation"])


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_pieces_of_a_file_may_end_anywhere(size: int) -> None:
    data = 'é,b\r\n1,"x\r\ny"\r\n\r\n2,😀\r'.encode()
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    lines = csv_text.lines_of(csv_text.decoded(chunks, "auto", print))
    found = [record for _, record in csv_text.records(lines, None, '"')]
    assert found == [["é", "b"], ["1", "x\r\ny"], ["2", "😀"]]


def test_pieces_of_a_file_that_is_not_utf8() -> None:
    data = "größe,b\n1,ä".encode("cp1252")
    for size in (1, 4, 100):
        noted: list[str] = []
        chunks = [data[start : start + size] for start in range(0, len(data), size)]
        assert "".join(csv_text.decoded(chunks, "auto", noted.append)) == "größe,b\n1,ä"
        assert ["cp1252" in note for note in noted] == [True]


def test_the_bounds_of_parse(context: StubContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_parse, "MAX_ROWS", 3)
    monkeypatch.setattr(csv_parse, "MAX_CELLS", 10)
    monkeypatch.setattr(csv_parse, "MAX_BYTES", 1024 * 1024)
    assert parse(context, text="a\n1\n2\n3\n")["count"] == 3
    assert unparsed(context, text="a\n1\n2\n3\n4\n")[0] == "too_large"
    assert parse(context, text="a\n1\n2\n3\n4\n", limit=2)["rows"] == [{"a": "1"}, {"a": "2"}]
    assert parse(context, text='a\n1\n2\n"not read', limit=1)["count"] == 1
    assert unparsed(context, text="a,b,c,d\n1,2,3,4\n1,2,3,4\n1,2,3,4")[0] == "too_large"
    assert unparsed(context, text="a,b,c,d,e,f\n1\n1\n", ragged="pad")[0] == "too_large"
    assert unparsed(context, text="a" * (1024 * 1024 + 1))[0] == "too_large"
    assert unparsed(context, file=file(context, b"a\n" + b"1\n\n" * 1024 * 1024))[0] == "too_large"


def test_fields_lines_and_headers_are_bounded(context: StubContext) -> None:
    field = "x" * 1_048_577
    assert unparsed(context, text=f"a\n{field}")[0] == "too_large"
    assert "Is a quote not closed?" in unparsed(context, text=f'a\n"{field}')[1]
    assert parse(context, text=f"a\n{field[1:]}")["rows"] == [{"a": field[1:]}]
    assert unparsed(context, file=file(context, b"a\n" + b"x" * 5_000_000))[0] == "too_large"
    assert unparsed(context, text=",".join(["a"] * 2001))[0] == "too_large"
    assert len(set(parse(context, text=",".join(["a"] * 2000))["columns"])) == 2000


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "Give `text` or `file`"),
        ({"text": "a", "file": {"file_id": "fl-1"}}, "not both"),
        ({"text": "a", "delimiter": '"'}, "`delimiter` cannot be"),
        ({"text": "a", "delimiter": "\n"}, "`delimiter` cannot be"),
        ({"text": "a", "quote": "\r"}, "`quote` cannot be"),
        ({"text": "a", "limit": 1.5}, "`limit` must be a whole number"),
    ],
)
def test_inputs_of_parse_that_do_not_go_together(context: StubContext, inputs: dict[str, Any], said: str) -> None:
    code, message = unparsed(context, **inputs)
    assert code == "validation"
    assert said in message


def test_a_stop_is_noticed_while_parsing(tmp_path: Path) -> None:
    context = StubContext(tmp_path, cancellation=Cancellation())
    context.cancellation.stop(TaskError("cancelled", "Stopped."))
    assert unparsed(context, text="a\n1")[0] == "cancelled"
    assert unparsed(context, file=file(context, b"a\n1"))[0] == "cancelled"


# csv.write


def test_the_example_of_write_gives_what_the_catalogue_shows(context: StubContext) -> None:
    task_type = registry.load().types["csv.write"]
    given = write(context, **task_type.example)
    assert {name: given[name] for name in ("text", "count")} == {
        field.name: field.example for field in task_type.outputs if field.type != "file"
    }
    assert context.files.read(given["file"]) == given["text"].encode()
    assert (given["file"]["name"], given["file"]["content_type"]) == ("table.csv", "text/csv")
    assert clean_json(given) == given


@pytest.mark.parametrize(
    ("rows", "inputs", "text"),
    [
        ([], {}, ""),
        ([], {"columns": ["a", "b"]}, "a,b\r\n"),
        ([{"a": 1}, {"b": 2.5}, {"a": None, "b": True}], {}, "a,b\r\n1,\r\n,2.5\r\n,true\r\n"),
        ([{"a": 1, "b": 2}], {"columns": ["b", "c"]}, "b,c\r\n2,\r\n"),
        ([{"a": 1}], {"header": False}, "1\r\n"),
        ([[1, "x"], [None]], {}, '1,x\r\n""\r\n'),
        ([[1, 2]], {"columns": ["a", "b"]}, "a,b\r\n1,2\r\n"),
        ([["a;b", 'say "x"', "c\r\nd", " e"]], {"delimiter": ";"}, '"a;b";"say ""x""";"c\r\nd"; e\r\n'),
        ([[{"é": [1]}, []]], {}, '"{""é"":[1]}",[]\r\n'),
        ([[1]], {"byte_order_mark": True}, "\ufeff1\r\n"),
        ([["=1+1", "+1", "-5+x", "@x", "\tx", "＝x", "\rx"]], {}, "'=1+1,'+1,'-5+x,'@x,'\tx,'＝x,\"'\rx\"\r\n"),
        ([["-5", "-5.25", -5, "a=1", " =1"]], {}, "-5,-5.25,-5,a=1, =1\r\n"),
        ([{"=a": 1}], {}, "'=a\r\n1\r\n"),
        ([["=1+1"]], {"escape_formulas": False}, "=1+1\r\n"),
    ],
)
def test_write(context: StubContext, rows: list[Any], inputs: dict[str, Any], text: str) -> None:
    given = write(context, rows, **inputs)
    assert given["text"] == text
    assert context.files.read(given["file"]).decode() == text
    assert given["count"] == len(rows)


def test_what_is_written_is_read_again(context: StubContext) -> None:
    rows = [{"a": "x,y", "b": '"\n\r;'}, {"a": "é😀\t|", "b": ""}, {"a": " ", "b": "'"}]
    text = write(context, rows)["text"]
    assert parse(context, text=text, delimiter=",")["rows"] == rows


def test_a_large_table_is_given_as_a_file_only(context: StubContext) -> None:
    given = write(context, [["x" * 100]] * 11_000)
    assert given["text"] is None
    assert context.files.read(given["file"]) == (b"x" * 100 + b"\r\n") * 11_000


@pytest.mark.parametrize(
    ("rows", "inputs", "said"),
    [
        ([1], {}, "Row 0 is a number"),
        ([{"a": 1}, [1]], {}, "Row 1 is a list"),
        ([[1], None], {}, "Row 1 is null"),
        ([{"a": 1}], {"columns": ["a", 1]}, "it has a number"),
        ([[1]], {"delimiter": '"'}, "`delimiter`"),
        ([[1]], {"delimiter": "\n"}, "`delimiter`"),
    ],
)
def test_rows_that_cannot_be_written(context: StubContext, rows: list[Any], inputs: dict[str, Any], said: str) -> None:
    code, message = unwritten(context, rows, **inputs)
    assert code == "validation"
    assert said in message


def test_the_bounds_of_write(context: StubContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_write, "MAX_ROWS", 3)
    assert unwritten(context, [[1]] * 4)[0] == "too_large"
    assert unwritten(context, [{f"c{n}": 1 for n in range(2001)}])[0] == "too_large"
