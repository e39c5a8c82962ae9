"""The ``text.*`` task types."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from dataflow.lib.errors import TaskError
from tasks_lib import registry
from tests.stubs.context import StubContext, run


def outputs(name: str, tmp_path: Path, **inputs: Any) -> dict[str, Any]:
    return dict(run(registry.load().types[name], StubContext(tmp_path), **inputs))


@pytest.mark.parametrize(("text", "size"), [("", 0), ("Hello, World!", 13), ("é€😀", 3), ("a\nb", 3)])
def test_size(tmp_path: Path, text: str, size: int) -> None:
    assert outputs("text.size", tmp_path, text=text) == {"size": size}


@pytest.mark.parametrize(
    ("text", "length", "truncated"),
    [
        ("Hello, World!", 5, "Hello..."),
        ("Hello", 5, "Hello"),
        ("Hello", 6, "Hello"),
        ("Hello", 0, "..."),
        ("", 0, ""),
        ("Hello, World!", 5.0, "Hello..."),
        ("ab👨‍👩‍👧cd", 3, "ab..."),
        ("ab👨‍👩‍👧cd", 7, "ab👨‍👩‍👧..."),
        ("cafe\u0301s!", 4, "caf..."),
        ("cafe\u0301s!", 5, "cafe\u0301..."),
        ("a\r\nb", 2, "a..."),
        ("日本語です", 2, "日本..."),
        ("x" * 1000 + "é" * 1000, 1500, "x" * 1000 + "é" * 500 + "..."),
    ],
)
def test_truncate(tmp_path: Path, text: str, length: float, truncated: str) -> None:
    assert outputs("text.truncate", tmp_path, text=text, length=length) == {"truncated_text": truncated}


@pytest.mark.parametrize("length", [-1, 1.5, float("inf"), float("nan")])
def test_truncate_to_no_whole_number(tmp_path: Path, length: float) -> None:
    with pytest.raises(TaskError) as raised:
        outputs("text.truncate", tmp_path, text="Hello", length=length)
    assert raised.value.code == "validation"


@pytest.mark.parametrize(
    ("text", "reversed_text"),
    [
        ("", ""),
        ("Hello, World!", "!dlroW ,olleH"),
        ("a👨‍👩‍👧b", "b👨‍👩‍👧a"),
        ("🇬🇧🇫🇷", "🇫🇷🇬🇧"),
        ("e\u0301a", "ae\u0301"),
        ("👍🏽!", "!👍🏽"),
        ("a\r\nb", "b\r\na"),
        ("नमस्ते", "स्तेमन"),
    ],
)
def test_reverse(tmp_path: Path, text: str, reversed_text: str) -> None:
    assert outputs("text.reverse", tmp_path, text=text) == {"text": reversed_text}
    assert outputs("text.reverse", tmp_path, text=reversed_text) == {"text": text}


def test_reverse_takes_linear_time(tmp_path: Path) -> None:
    started = time.perf_counter()
    assert len(outputs("text.reverse", tmp_path, text="é👨‍👩‍👧" * 150_000)["text"]) == 900_000
    assert time.perf_counter() - started < 3


def test_static(tmp_path: Path) -> None:
    assert outputs("text.static", tmp_path, text="{{ left alone }}") == {"text": "{{ left alone }}"}


def test_echo(tmp_path: Path) -> None:
    context = StubContext(tmp_path)
    echo = registry.load().types["text.echo"]
    assert run(echo, context, text="Hello") == {"text": "Hello"}
    assert context.logs == [("info", "Hello")]


def test_echo_of_a_long_text(tmp_path: Path) -> None:
    context = StubContext(tmp_path)
    text = "x" * 1_000_000
    assert run(registry.load().types["text.echo"], context, text=text) == {"text": text}
    assert len(context.logs[0][1]) < 10_100
