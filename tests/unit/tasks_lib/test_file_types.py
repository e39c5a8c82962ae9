"""``file.read`` and ``file.write``."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from dataflow.lib.errors import TaskError
from tasks_lib.types.file_read import ENCODINGS, MAX_BYTES, FileRead
from tasks_lib.types.file_write import FileWrite
from tests.stubs.context import StubContext, run


def read(context: StubContext, data: bytes, name: str = "x", **inputs: object):
    return run(FileRead(), context, file=context.files.add(name, "", data), **inputs)


def test_reading_a_text(tmp_path: Path) -> None:
    assert read(StubContext(tmp_path), b"a,b\n1,2\n", "t.csv") == {
        "text": "a,b\n1,2\n", "json": None, "name": "t.csv", "content_type": "text/csv", "size": 8, "truncated": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a": [1]}', {"a": [1]}),
        (b"\xef\xbb\xbf [1, 2]", [1, 2]),
        (b'{"a": 1,', None),
        (b'{"a": 1, "a": 2}', None),
        (b"1", None),
        (b"[" * 1000 + b"]" * 1000, None),
    ],
)
def test_reading_json(tmp_path: Path, data: bytes, value: object) -> None:
    assert read(StubContext(tmp_path), data)["json"] == value


@pytest.mark.parametrize(
    ("data", "encoding", "text"),
    [
        ("é".encode(), "auto", "é"),
        (b"\xff\xfe" + "é".encode("utf-16-le"), "auto", "é"),
        ("é".encode("latin-1"), "latin-1", "é"),
        ("é".encode("shift_jis", "replace"), "shift_jis", "?"),
        ("привет".encode("koi8-r"), "koi8-r", "привет"),
        (b"\0\xff", "base64", "AP8="),
        (b"", "auto", ""),
    ],
)
def test_encodings(tmp_path: Path, data: bytes, encoding: str, text: str) -> None:
    assert read(StubContext(tmp_path), data, encoding=encoding)["text"] == text


@pytest.mark.parametrize("encoding", [name for name in ENCODINGS if name not in ("auto", "base64")])
def test_every_encoding_is_one(encoding: str) -> None:
    assert "abc".encode(encoding).decode(encoding) == "abc"


@pytest.mark.parametrize(
    ("data", "most", "text"),
    [
        (b"hello", 4, "hell"),
        (b"hello", 5, "hello"),
        ("aé".encode(), 2, "a"),
        ("a€b".encode(), 2, "a"),
        ("a€b".encode(), 3, "a"),
        ("a€b".encode(), 4, "a€"),
        ("a😀".encode(), 4, "a"),
        ("😀".encode(), 1, ""),
    ],
)
def test_reading_the_beginning(tmp_path: Path, data: bytes, most: int, text: str) -> None:
    for encoding in ("auto", "utf-8"):
        outputs = read(StubContext(tmp_path), data, "x.txt", max_bytes=most, encoding=encoding)
        assert (outputs["text"], outputs["size"], outputs["truncated"]) == (text, len(data), most < len(data))


def test_a_part_is_no_json(tmp_path: Path) -> None:
    assert read(StubContext(tmp_path), b"[1]   ", max_bytes=3)["json"] is None


def test_a_large_file_is_refused_or_cut(tmp_path: Path) -> None:
    context = StubContext(tmp_path)
    with pytest.raises(TaskError, match="max_bytes") as raised:
        read(context, b"x" * (MAX_BYTES + 1))
    assert raised.value.code == "too_large"
    assert read(context, b"x" * MAX_BYTES)["truncated"] is False


@pytest.mark.parametrize(
    ("data", "encoding", "message"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0", "auto", "image/png"),
        (b"%PDF-1.7", "auto", "application/pdf"),
        (b"a\0b\xff", "auto", "no text"),
        (b"\xff", "utf-8", "not written in utf-8"),
        (b"a", "utf-16", "not written in utf-16"),
    ],
)
def test_what_is_no_text(tmp_path: Path, data: bytes, encoding: str, message: str) -> None:
    with pytest.raises(TaskError, match=message) as raised:
        read(StubContext(tmp_path), data, encoding=encoding)
    assert raised.value.code == "validation"


@pytest.mark.parametrize(
    ("inputs", "data", "name", "content_type"),
    [
        ({"content": "héllo"}, "héllo".encode(), "file.txt", "text/plain"),
        ({"content": "a,b\n", "name": "t.csv"}, b"a,b\n", "t.csv", "text/csv"),
        ({"content": {"a": ["é"]}}, b'{\n  "a": [\n    "\xc3\xa9"\n  ]\n}\n', "file.json", "application/json"),
        ({"content": 5}, b"5\n", "file.json", "application/json"),
        ({"content": "x", "encoding": "json"}, b'"x"\n', "file.json", "application/json"),
        ({"content": None}, b"null\n", "file.json", "application/json"),
        ({"content": "AP8=\n", "encoding": "base64"}, b"\0\xff", "file.bin", "application/octet-stream"),
        ({"content": "x", "name": "a.md", "content_type": "text/plain"}, b"x", "a.md", "text/plain"),
        ({"content": "x", "name": "a.png"}, b"x", "a.png", "text/plain"),
        ({"content": "\ud800"}, b"?", "file.txt", "text/plain"),
        ({"content": ""}, b"", "file.txt", "text/plain"),
    ],
)
def test_writing(tmp_path: Path, inputs: dict[str, object], data: bytes, name: str, content_type: str) -> None:
    context = StubContext(tmp_path)
    outputs = run(FileWrite(), context, **inputs)
    assert context.files.read(outputs["file"]) == data
    assert outputs["size"] == len(data)
    assert (outputs["file"]["name"], outputs["file"]["content_type"]) == (name, content_type)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"content": "AP8", "encoding": "base64"}, "not base64"),
        ({"content": "é$%", "encoding": "base64"}, "not base64"),
        ({"content": [1], "encoding": "base64"}, "must be a text"),
        ({"content": [1], "encoding": "text"}, "must be a text"),
        ({"content": "x", "content_type": "text"}, "media type"),
        ({"content": "x", "content_type": "text/html\r\nX: y"}, "media type"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, inputs: dict[str, object], message: str) -> None:
    context = StubContext(tmp_path)
    with pytest.raises(TaskError, match=message) as raised:
        run(FileWrite(), context, **inputs)
    assert raised.value.code == "validation"
    assert context.files.names() == []


def test_there_and_back(tmp_path: Path) -> None:
    context = StubContext(tmp_path)
    every = bytes(range(256))
    written = run(FileWrite(), context, content=base64.b64encode(every).decode(), encoding="base64")
    assert base64.b64decode(run(FileRead(), context, file=written["file"], encoding="base64")["text"]) == every
