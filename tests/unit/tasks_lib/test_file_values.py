"""File values as task types get them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from tasks_lib import file_values
from tests.stubs.context import StubContext


@pytest.mark.parametrize(
    ("value", "made"),
    [
        ("fl-abc", {"file_id": "fl-abc"}),
        ({"file_id": "fl-abc", "name": "x"}, {"file_id": "fl-abc", "name": "x"}),
        ({"url": "https://example.com/x"}, {"url": "https://example.com/x"}),
    ],
)
def test_what_is_a_file(value: object, made: object) -> None:
    assert file_values.as_file(value, "file") == made


@pytest.mark.parametrize("value", ["x", "fl-", "fl-A", "../fl-a", "https://example.com/x", {}, {"file_id": 5}, {"url": None}, 5, None, []])  # fmt: skip
def test_what_is_none(value: object) -> None:
    with pytest.raises(TaskError, match=r"`files\[3\]` is not a file: give") as raised:
        file_values.as_file(value, "files[3]")
    assert raised.value.code == "validation"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ({"file_id": "fl-1", "name": "a.txt", "url": "/files/fl-1/content"}, "a.txt"),
        ({"file_id": "fl-1", "url": "/files/fl-1/content"}, "file"),
        ({"url": "https://example.com/a%20b.mp4?x=/y.mp3#z"}, "a b.mp4"),
        ({"url": "https://example.com/"}, "file"),
        ({"url": "https://example.com/%2e%2e%2fetc%2fpasswd"}, "passwd"),
        ({"url": "http://["}, "file"),
        ({"name": "../../x\n.txt"}, "x.txt"),
        ({"name": "C:\\x\\y.txt"}, "y.txt"),
        ({"name": ".."}, "file"),
        ({"name": "..."}, "file"),
        ({"name": ".env"}, ".env"),
        ({"name": "a" * 300 + ".txt"}, "a" * 196 + ".txt"),
    ],
)
def test_names(value: dict[str, object], name: str) -> None:
    assert file_values.name_of(value) == name


def test_another_ending() -> None:
    assert file_values.renamed({"name": "a.b.mp4"}, "mp3") == "a.b.mp3"
    assert file_values.renamed({"file_id": "fl-1"}, "png", "image") == "image.png"


def test_copying_is_bounded(tmp_path: Path) -> None:
    context = StubContext(tmp_path / "files")
    value = context.files.add("x", "", b"12345")
    target = tmp_path / "copy"
    file_values.copy(context, value, target, most=5, what="It")
    assert target.read_bytes() == b"12345"
    with pytest.raises(TaskError, match="It is larger") as raised:
        file_values.copy(context, value, target, most=4, what="It")
    assert raised.value.code == "too_large"
    with pytest.raises(TaskError, match="It is empty") as raised:
        file_values.copy(context, context.files.add("x", "", b""), target, most=4, what="It")
    assert raised.value.code == "validation"


def test_sending(tmp_path: Path) -> None:
    context = StubContext(tmp_path / "files")
    path = tmp_path / "made"
    path.write_bytes(b"x" * (file_values.CHUNK + 1))
    value = file_values.send(context, path, "name.txt", "text/plain")
    assert (value["name"], context.files.read(value)) == ("name.txt", path.read_bytes())
    context.cancellation = Cancellation(0)
    with pytest.raises(TaskError):
        file_values.send(context, path, "name.txt", "text/plain")


def test_the_beginning_leaves_the_rest() -> None:
    file = io.BytesIO(b"12345")
    assert (file_values.beginning(file, 2), file.read()) == (b"12", b"12345")


def test_utf16_is_a_text() -> None:
    assert file_values.media_type({}, "hi".encode("utf-16")) == "text/plain"
    assert file_values.media_type({"name": "x.csv"}, b"a,b\n") == "text/csv"
