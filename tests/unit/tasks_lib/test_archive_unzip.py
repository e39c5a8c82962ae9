"""``archive.unzip``: what it gives, and that hostile archives give nothing."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from tasks_lib import zip_reading
from tasks_lib.types import archive_unzip
from tests.stubs import hostile_files as hostile
from tests.stubs.context import StubContext, run
from workflows.definition.values import file_problem

TYPE = archive_unzip.ArchiveUnzip()


def unzip(context: StubContext, data: bytes, **inputs: object):
    return run(TYPE, context, archive=context.files.add("some.zip", "application/zip", data), **inputs)


def refusal(folder: Path, data: bytes) -> TaskError:
    """The error for an archive, after a look that nothing came out of it."""
    context = StubContext(folder)
    with pytest.raises(TaskError) as raised:
        unzip(context, data)
    assert len(context.files.names()) == 1, "only the archive itself"
    assert not raised.value.retryable
    return raised.value


def test_it_works(tmp_path: Path) -> None:
    context = StubContext(tmp_path)
    files = {"data/": b"", "data/a.csv": b"a,b\n1,2\n", "pic.txt": hostile.picture("PNG"), "empty": b""}
    outputs = unzip(context, hostile.zip_of(files))
    assert (outputs["paths"], outputs["count"]) == (["data/a.csv", "pic.txt", "empty"], 3)
    table, picture, empty = outputs["files"]
    assert (table["name"], table["content_type"], table["metadata"]) == ("a.csv", "text/csv", {"path": "data/a.csv"})
    assert picture["content_type"] == "image/png"
    assert [context.files.read(file) for file in (table, picture, empty)] == [
        files["data/a.csv"],
        files["pic.txt"],
        b"",
    ]
    assert context.files.metadata[table["file_id"]] == {"path": "data/a.csv"}


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("*.csv", ["a.csv", "x/b.csv"]),
        ("x/*", ["x/b.csv", "x/c.txt"]),
        ("?.csv", ["a.csv"]),
        ("[ac].csv", ["a.csv"]),
        ("*.CSV", []),
        ("*" * 200, ["a.csv", "x/b.csv", "x/c.txt"]),
        ("*a" * 100, []),
    ],
)
def test_a_pattern_chooses(tmp_path: Path, pattern: str, paths: list[str]) -> None:
    data = hostile.zip_of({"a.csv": b"1", "x/b.csv": b"2", "x/c.txt": b"3"})
    assert unzip(StubContext(tmp_path), data, pattern=pattern)["paths"] == paths


def test_a_value_it_gives_may_be_passed_on(tmp_path: Path) -> None:
    """A definition passes ``files[0]`` to an input for a file."""
    outputs = unzip(StubContext(tmp_path), hostile.zip_of({"a": b"1"}))
    assert file_problem(outputs["files"][0]) == ""


def test_an_empty_archive(tmp_path: Path) -> None:
    assert unzip(StubContext(tmp_path), hostile.zip_of({})) == {"files": [], "paths": [], "count": 0}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a\\b.txt", "a/b.txt"),
        ("./a//b.txt", "a/b.txt"),
        ("é/日本.txt", "é/日本.txt"),
        ("..a/b..", "..a/b.."),
        ("12:30.txt", "12:30.txt"),
        ("👩‍👧.png", "👩‍👧.png"),
    ],
)
def test_odd_names_that_are_harmless(tmp_path: Path, name: str, path: str) -> None:
    assert unzip(StubContext(tmp_path), hostile.zip_of({name: b"x"}))["paths"] == [path]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../x", r"leads out"),
        ("a/../../x", r"leads out"),
        ("a\\..\\..\\x", r"leads out"),
        ("..", r"leads out"),
        ("/etc/passwd", "a place outside"),
        ("//server/share/x", "a place outside"),
        ("C:\\x", "a place outside"),
        ("c:x", "a place outside"),
        ("\\x", "a place outside"),
        ("a\nb", "control characters"),
        ("a\x1b[31m", "control characters"),
        (".", "no name"),
        (" ", "no name"),
        ("a" * 1025, "1,024 characters"),
        ("a/" * 64 + "b", "64 folders"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str, why: str) -> None:
    error = refusal(tmp_path, hostile.zip_of({"first": b"harmless", name: b"x"}))
    assert error.code == "validation"
    assert why in error.message


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (hostile.zip_with(b"a\0.txt"), "control characters"),
        (hostile.symlink_zip(), "a link or a device"),
        (hostile.zip_with(mode=0o010644), "a link or a device"),  # a named pipe
        (hostile.zip_with(mode=0o020644), "a link or a device"),  # a terminal
        (hostile.zip_with(flags=1), "is encrypted"),
        (hostile.zip_with(method=12), "method 12"),
        (hostile.zip_with(method=99), "method 99"),
        (hostile.zip_with(crc=5), "damaged"),
        (hostile.zip_with(method=8), "damaged"),
        (hostile.zip_of({"a": b"x" * 1000})[:-30], "damaged"),
        (hostile.zip_of({"a": b"x" * 1000})[20:], "damaged"),
        (hostile.archive(b"", [hostile.entry(b"a", b"x", offset=0)[1]]), "damaged"),
        (hostile.archive(b"no header here" * 4, [hostile.entry(b"a", b"x", offset=3)[1]]), "damaged"),
        (hostile.archive(b"", [b"PK\1\2"]), "damaged"),
        (b"hello", "damaged, or no ZIP archive"),
        (b"", "damaged, or no ZIP archive"),
        (b"\x1f\x8b\x08" + bytes(100), "application/gzip"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(100), "7z"),
        (bytes(257) + b"ustar" + bytes(300), "x-tar"),
    ],
)
def test_what_is_no_good_archive(tmp_path: Path, data: bytes, why: str) -> None:
    error = refusal(tmp_path, data)
    assert error.code == "validation"
    assert why in error.message


def test_two_entries_of_one_name(tmp_path: Path) -> None:
    (first, one), (second, two) = (hostile.entry(name, b"x", offset=32 * n) for n, name in enumerate((b"a", b"a")))
    assert "is in it twice" in refusal(tmp_path, hostile.archive(first + second, [one, two])).message


def test_entries_that_share_their_bytes(tmp_path: Path) -> None:
    """Not much comes out of it: it is the sharing that is refused."""
    local, central = hostile.entry(b"a", b"x" * 100, offset=0)
    assert (
        "shares its bytes" in refusal(tmp_path, hostile.archive(local, [central, central.replace(b"a", b"b")])).message
    )


def test_an_entry_that_quotes_the_next(tmp_path: Path) -> None:
    """The content of the first holds the header of the second, which starts inside it."""
    inner, _ = hostile.entry(b"b", b"y" * 10, offset=0)
    outer, central = hostile.entry(b"a", inner, offset=0)
    _, quoted = hostile.entry(b"b", b"y" * 10, offset=len(outer) - len(inner))
    assert "shares its bytes" in refusal(tmp_path, hostile.archive(outer, [central, quoted])).message


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (lambda: hostile.zip_bomb(100), "as only a bomb does"),
        pytest.param(lambda: hostile.zip_bomb(513), "537,919,488 bytes together", marks=pytest.mark.slow),
        (lambda: hostile.overlapping_zip(500), "as only a bomb does"),
        (lambda: hostile.wide_zip(1001), "1,001 entries"),
        (lambda: hostile.wide_zip(100_000), "directory is larger"),
        (lambda: hostile.archive(b"", [], directory_size=0xFFFFFFF0), "damaged"),
    ],
    ids=["ratio", "size", "overlap", "entries", "directory", "lie"],
)
def test_bombs(tmp_path: Path, data: Callable[[], bytes], why: str) -> None:
    error = refusal(tmp_path, data())
    assert why in error.message
    assert error.code == ("validation" if why == "damaged" else "too_large")


def test_a_directory_that_lies_about_the_size(tmp_path: Path) -> None:
    """No more than it says comes out, and that is not what was packed."""
    assert "Bad CRC" in refusal(tmp_path, hostile.lying_zip(50)).message


def test_ordinary_text_may_be_packed_well(tmp_path: Path) -> None:
    assert unzip(StubContext(tmp_path), hostile.zip_bomb(10))["count"] == 1


def test_an_entry_over_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_unzip, "LIMITS", zip_reading.ZipLimits(entry=99))
    assert "at most 99" in refusal(tmp_path, hostile.zip_of({"a": bytes(100)})).message
    assert unzip(StubContext(tmp_path / "other"), hostile.zip_of({"a": bytes(99)}))["count"] == 1


def test_it_streams(tmp_path: Path) -> None:
    size = 16 * hostile.MEBIBYTE
    data = hostile.zip_of({"a": random.Random(1).randbytes(size)})
    (tmp_path / "a.zip").write_bytes(data)
    limits = zip_reading.ZipLimits()
    tracemalloc.start()
    with (tmp_path / "a.zip").open("rb") as file, zip_reading.opened(file, limits) as (archive, entries):
        came = sum(map(len, zip_reading.chunks(archive, entries[0])))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert came == size
    assert peak < 3 * hostile.MEBIBYTE


def test_it_stops_when_cancelled(tmp_path: Path) -> None:
    context = StubContext(tmp_path, cancellation=Cancellation())
    context.cancellation.stop(TaskError("cancelled", "stop"))
    with pytest.raises(TaskError) as raised:
        unzip(context, hostile.zip_of({"a": b"1"}))
    assert raised.value.code == "cancelled"
