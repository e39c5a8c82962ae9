"""The strict parser, and the cleaning of what tasks give back."""

from __future__ import annotations

import contextlib
import json
import math
import time
from typing import Any

import pytest

from dataflow.lib.jsonvalues import JsonError, clean_json, parse_json

REFUSED: list[tuple[bytes, str, str]] = [
    (b"", "empty", ""),
    (b" \r\n\t", "empty", ""),
    (b"\xef\xbb\xbf{}", "invalid_encoding", ""),
    ("{}".encode("utf-16"), "invalid_encoding", ""),
    ("{}".encode("utf-16-le"), "invalid_encoding", ""),
    ("{}".encode("utf-32-be"), "invalid_encoding", ""),
    (b'{"a": "\xff"}', "invalid_encoding", ""),
    (b'{"a": "\xed\xa0\x80"}', "invalid_encoding", ""),
    (b'"\xc0\xaf"', "invalid_encoding", ""),
    (b"{", "invalid_json", ""),
    (b"{} {}", "invalid_json", ""),
    (b"{}x", "invalid_json", ""),
    (b"{'a': 1}", "invalid_json", ""),
    (b"[1,]", "invalid_json", ""),
    (b"01", "invalid_json", ""),
    (b"nan", "invalid_json", ""),
    (b'"\x00"', "invalid_json", ""),
    (b'"a\nb"', "invalid_json", ""),
    (b"[" * 51 + b"]" * 51, "too_deep", ""),
    (b'{"a":[' * 26 + b"]}" * 26, "too_deep", ""),
    (b"[" * 100_000, "too_deep", ""),
    (b"[" * 100_000 + b"]" * 100_000, "too_deep", ""),
    (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "too_deep", ""),
    (b"NaN", "invalid_number", ""),
    (b'{"a": [1, Infinity]}', "invalid_number", "/a/1"),
    (b"-Infinity", "invalid_number", ""),
    (b'{"x": 1e999}', "invalid_number", "/x"),
    (b"9223372036854775808", "invalid_number", ""),
    (b"-9223372036854775809", "invalid_number", ""),
    (b"[" + b"9" * 5000 + b"]", "invalid_number", "/0"),
    (b'{"a": 1, "a": 2}', "duplicate_key", "/a"),
    (b'{"b": [{"x/y": 1, "x\\/y": 1}]}', "duplicate_key", "/b/0/x~1y"),
    (b'{"a": "\\u0000"}', "invalid_unicode", "/a"),
    (b'{"a": "\\ud800"}', "invalid_unicode", "/a"),
    (b'{"a": ["\\udc00\\ud800"]}', "invalid_unicode", "/a/0"),
    (b'{"\\ud800": 1}', "invalid_unicode", ""),
    (b'{"\\ud800": 1, "\\ud800": 1}', "duplicate_key", "/\ufffd"),
]


@pytest.mark.parametrize(("data", "code", "pointer"), REFUSED)
def test_refused(data: bytes, code: str, pointer: str) -> None:
    with pytest.raises(JsonError) as raised:
        parse_json(data)

    assert (raised.value.code, raised.value.pointer) == (code, pointer)
    assert raised.value.detail.encode()  # can be sent: no half of a surrogate pair in it


@pytest.mark.parametrize(
    "value",
    [
        None,
        0,
        -(2**63),
        2**63 - 1,
        1.5,
        1e300,
        "",
        "é€😀",
        [],
        {},
        {"a": [1, {"b": None}], "é": True},
        [[]] * 1000,
        ["[" * 100, '"]\\'],
        "\\" * 99 + '"[[',
    ],
)
def test_accepted(value: Any) -> None:
    assert parse_json(json.dumps(value).encode()) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


def test_depth_counts_both_brackets() -> None:
    deepest = b'[{"a":' * 25 + b"1" + b"}]" * 25
    assert parse_json(deepest) is not None
    with pytest.raises(JsonError, match="50 levels"):
        parse_json(b"[" + deepest + b"]")
    assert parse_json(b"[[1]]", max_depth=2) == [[1]]
    with pytest.raises(JsonError, match="1 levels"):
        parse_json(b"[[1]]", max_depth=1)


def test_brackets_in_strings_are_no_depth() -> None:
    text = '\\"[{' * 200
    assert parse_json(json.dumps({"a": text}).encode()) == {"a": text}


def test_an_integer_stays_an_integer() -> None:
    assert isinstance(parse_json(b"3"), int)
    assert isinstance(parse_json(b"3.0"), float)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 3_000_000,
        b"[]" * 1_500_000,
        b'"' + b'\\"' * 1_500_000,
        b"[" + b"[],{}," * 500_000 + b"1]",
        b"][" * 1_500_000,
        b"[}" * 1_500_000,
        b'"' * 3_000_001,
        b"[" + b",".join([b"[" * 49 + b"]" * 49] * 30_000) + b"]",
    ],
)
def test_time_is_linear(data: bytes) -> None:
    started = time.thread_time()  # of this thread alone: others on the machine are none of its work
    with contextlib.suppress(JsonError):
        parse_json(data)
    assert time.thread_time() - started < 10, "quadratic time would be hours"


def test_clean_keeps_json() -> None:
    value = {"a": [1, 2.5, "x", None, True], "b": {"c": []}}
    assert clean_json(value) == value


def test_clean_mends_texts_and_tuples() -> None:
    assert clean_json({"a\0": ("\ud800x", "\0", ())}) == {"a\ufffd": ["\ufffdx", "\ufffd", []]}


def test_clean_makes_plain_values() -> None:
    class Text(str):
        __slots__ = ()

    class Number(int):
        pass

    assert type(clean_json(Text("x"))) is str
    assert type(clean_json(Number(1))) is int


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def endless() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": math.nan}, "/a is nan"),
        ([math.inf], "/0 is inf"),
        ([1, {"x": b"bytes"}], "/1/x is a bytes"),
        ({1: 2}, "the key 1"),
        ({2, 3}, "is a set"),
        (object(), "is a object"),
        (2**63, "beyond 64 bits"),
        (nested(51), "50 levels"),
        (endless(), "50 levels"),
    ],
)
def test_clean_refuses(value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        clean_json(value)


def test_clean_allows_the_deepest() -> None:
    assert clean_json(nested(50)) == nested(50)


def test_what_is_clean_can_be_parsed() -> None:
    odd = {"\ud83d": ["\0" * 3, 1e308, -(2**63), {"~/": ()}]}
    cleaned = clean_json(odd)
    assert parse_json(json.dumps(cleaned).encode()) == cleaned
