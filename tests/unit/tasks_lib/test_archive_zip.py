"""``archive.zip``: files put into an archive that others can read."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from dataflow.lib.errors import TaskError
from tasks_lib.types import archive_zip
from tasks_lib.types.archive_unzip import ArchiveUnzip
from tests.stubs.context import StubContext, run

TYPE = archive_zip.ArchiveZip()


def made(context: StubContext, **inputs: object) -> zipfile.ZipFile:
    outputs = run(TYPE, context, **inputs)
    archive = zipfile.ZipFile(io.BytesIO(context.files.read(outputs["archive"])))
    assert outputs["count"] == len(archive.namelist())
    assert archive.testzip() is None
    return archive


def add(context: StubContext, name: str, data: bytes = b"x"):
    return context.files.add(name, "application/octet-stream", data)


def test_it_works(tmp_path: Path) -> None:
    context = StubContext(tmp_path)
    big = bytes(range(256)) * 4096
    archive = made(context, files=[add(context, "a.txt", b"hello"), add(context, "b.bin", big)], name="both.zip")
    assert {name: archive.read(name) for name in archive.namelist()} == {"a.txt": b"hello", "b.bin": big}
    assert [(info.date_time, info.external_attr >> 16) for info in archive.infolist()] == [
        ((1980, 1, 1, 0, 0, 0), 0o100644)
    ] * 2


def test_a_file_may_be_given_by_its_id(tmp_path: Path) -> None:
    context = StubContext(tmp_path)
    archive = made(context, files=[add(context, "a.txt")["file_id"]], names=["b.txt"])
    assert archive.read("b.txt") == b"x"


def test_what_it_makes_is_the_same_each_time(tmp_path: Path) -> None:
    context = StubContext(tmp_path)
    files = [add(context, "a.txt"), add(context, "b.txt")]
    first, second = (run(TYPE, context, files=files)["archive"] for _ in range(2))
    assert first["sha256"] == second["sha256"]
    assert (first["name"], first["content_type"]) == ("archive.zip", "application/zip")


def test_there_and_back(tmp_path: Path) -> None:
    context = StubContext(tmp_path)
    packed = run(
        TYPE, context, files=[add(context, "a.txt", b"one"), add(context, "b.txt", b"two")], names=["x/a", "y/é"]
    )
    outputs = run(ArchiveUnzip(), context, archive=packed["archive"])
    assert outputs["paths"] == ["x/a", "y/é"]
    assert [context.files.read(file) for file in outputs["files"]] == [b"one", b"two"]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["a.txt", "a.txt", "a.txt"], ["a.txt", "a (2).txt", "a (3).txt"]),
        (["a.txt", "A.TXT"], ["a.txt", "A (2).TXT"]),
        (["a (2).txt", "a.txt", "a.txt"], ["a (2).txt", "a.txt", "a (3).txt"]),
        (["../../etc/passwd", "C:\\x\\y.txt"], ["passwd", "y.txt"]),
        (["", "x\n", ".."], ["file", "x", "file (2)"]),
    ],
)
def test_names_are_made_harmless_and_distinct(tmp_path: Path, given: list[str], names: list[str]) -> None:
    context = StubContext(tmp_path)
    assert made(context, files=[add(context, name) for name in given]).namelist() == names


def test_a_file_that_is_given_by_its_id_has_its_name(tmp_path: Path) -> None:
    context = StubContext(tmp_path)
    one, two = add(context, "a.txt"), add(context, "b.txt")
    assert made(context, files=[one["file_id"], {"file_id": two["file_id"]}]).namelist() == ["a.txt", "b.txt"]


@pytest.mark.parametrize("name", ["../x", "a/../../b", "..", "", "/", "C:/x", "a\nb", 5, None, "x" * 1025])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: object) -> None:
    context = StubContext(tmp_path)
    with pytest.raises(TaskError, match=r"`names\[0\]` is no name") as raised:
        run(TYPE, context, files=[add(context, "a")], names=[name])
    assert raised.value.code == "validation"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"files": []}, "`files` is empty"),
        ({"files": ["x.txt"]}, r"`files\[0\]` is not a file"),
        ({"files": ["fl-1", 5]}, r"`files\[1\]` is not a file"),
        ({"files": [{"name": "x"}]}, r"`files\[0\]` is not a file"),
        ({"files": ["fl-1"], "names": []}, "0 names for 1 files"),
        ({"files": ["fl-unknown"]}, "There is no file"),
    ],
)
def test_bad_input(tmp_path: Path, inputs: dict[str, object], message: str) -> None:
    context = StubContext(tmp_path)
    with pytest.raises(TaskError, match=message) as raised:
        run(TYPE, context, **inputs)
    assert raised.value.code == "validation"
    assert context.files.names() == []


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = StubContext(tmp_path)
    with pytest.raises(TaskError) as raised:
        run(TYPE, context, files=["fl-1"] * 1001)
    assert raised.value.code == "too_large"
    monkeypatch.setattr(archive_zip, "MAX_TOTAL", 10)
    files = [add(context, "a", bytes(6)), add(context, "b", bytes(5))]
    with pytest.raises(TaskError, match="more than 10 bytes") as raised:
        run(TYPE, context, files=files)
    assert raised.value.code == "too_large"
    assert len(context.files.names()) == 2
