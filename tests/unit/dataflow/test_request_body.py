"""A body is whole, or reading it fails: never half of it taken for all."""

from __future__ import annotations

import io

import pytest

from dataflow.request_body import WholeBody


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
