"""A body is whole, or reading it fails: never half of it taken for all."""

from __future__ import annotations

import io
from typing import Any

import pytest

from dataflow.request_body import WholeBody, read_ahead


def test_all_of_it() -> None:
    body = WholeBody.of({"CONTENT_LENGTH": "10", "wsgi.input": io.BytesIO(b"12345\n7890")})
    assert [body.read(3), body.read(0), body.readline(), body.read(), body.read(1), body.read()] == [
        b"123", b"", b"45\n", b"7890", b"", b"",
    ]  # fmt: skip


@pytest.mark.parametrize("sizes", [(), (3, 100), (100,)])
def test_a_part_of_it(sizes: tuple[int, ...]) -> None:
    body = WholeBody(io.BytesIO(b"1234567890"), 11)
    assert b"".join(body.read(size) for size in sizes) == b"1234567890"[: sum(sizes)]
    with pytest.raises(OSError, match="1 bytes before the end"):
        body.read()
    with pytest.raises(OSError, match="1 bytes before the end"):
        body.read(1)
    with pytest.raises(OSError, match="1 bytes before the end"):
        body.readline()


@pytest.mark.parametrize("length", ["", None, "-1", "x"])
def test_without_a_length(length: str | None) -> None:
    given = io.BytesIO(b"")
    assert WholeBody.of({"CONTENT_LENGTH": length, "wsgi.input": given}) is given


class Slow(io.BytesIO):
    """Gives two bytes at a time, and as granian's body takes no size below 0."""

    def read(self, size: int | None = None, /) -> bytes:
        assert size is None or size >= 0
        return super().read(2 if size is None else min(size, 2))


def test_a_small_one_is_read_ahead() -> None:
    body = Slow(b"12345")
    environ: dict[str, Any] = {"CONTENT_LENGTH": "5", "wsgi.input": WholeBody(body, 5)}
    assert read_ahead(environ)
    assert body.read() == b""
    assert environ["wsgi.input"].read() == b"12345"


def test_a_large_one_is_left() -> None:
    body = io.BytesIO(b"1" * 100_000)
    assert not read_ahead({"CONTENT_LENGTH": "100000", "wsgi.input": body})
    assert body.tell() == 0


@pytest.mark.parametrize("length", ["", None, "-1", "x"])
def test_nothing_is_read_without_a_length(length: str | None) -> None:
    environ: dict[str, Any] = {"CONTENT_LENGTH": length, "wsgi.input": io.BytesIO(b"123")}
    assert read_ahead(environ)
    assert environ["wsgi.input"].read() == b"123"


def test_one_that_breaks_breaks_for_the_reader_too() -> None:
    environ: dict[str, Any] = {"CONTENT_LENGTH": "9", "wsgi.input": WholeBody(io.BytesIO(b"12345"), 9)}
    assert read_ahead(environ)
    with pytest.raises(OSError, match="4 bytes before the end"):
        environ["wsgi.input"].read(9)
