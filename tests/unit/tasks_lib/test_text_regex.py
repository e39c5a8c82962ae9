"""``text.regex``: RE2 over a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from dataflow.lib.jsonvalues import clean_json
from tasks_lib import registry, texts
from tasks_lib.types import text_regex
from tests.stubs.context import StubContext, run

PEOPLE = "Ada: 36, Alan: 41"


@pytest.fixture
def context(tmp_path: Path) -> StubContext:
    return StubContext(tmp_path)


def outputs(context: StubContext, pattern: str, text: str = PEOPLE, **inputs: Any) -> dict[str, Any]:
    given = dict(run(registry.load().types["text.regex"], context, text=text, pattern=pattern, **inputs))
    assert clean_json(given) == given
    return given


def failure(context: StubContext, pattern: str, text: str = PEOPLE, **inputs: Any) -> tuple[str, str]:
    with pytest.raises(TaskError) as raised:
        outputs(context, pattern, text, **inputs)
    assert not raised.value.retryable
    return raised.value.code, raised.value.message


def test_the_example_gives_what_the_catalogue_shows(context: StubContext) -> None:
    task_type = registry.load().types["text.regex"]
    shown = {field.name: field.example for field in task_type.outputs if field.name != "text"}
    given = outputs(context, **task_type.example)
    assert given == shown
    assert list(given["first"]) == ["name", "age"]


@pytest.mark.parametrize(
    ("pattern", "text", "flags", "matches"),
    [
        (r"\w+", PEOPLE, {}, ["Ada", "36", "Alan", "41"]),
        ("nothing", PEOPLE, {}, []),
        ("a", "", {}, []),
        ("ADA", PEOPLE, {"ignore_case": True}, ["Ada"]),
        ("^.", "a\nb", {}, ["a"]),
        ("^.", "a\nb", {"multiline": True}, ["a", "b"]),
        ("a.b", "a\nb", {}, []),
        ("a.b", "a\nb", {"dot_all": True}, ["a\nb"]),
        (".", "é😀\u0301", {}, ["é", "😀", "\u0301"]),
        (r"\pL+", "日本 x", {}, ["日本", "x"]),
        ("a*", "baaac", {}, ["", "aaa", "", ""]),
        ("(?m)^", "a\n\nb", {}, ["", "", ""]),
        ("", "", {}, [""]),
    ],
)
def test_find(context: StubContext, pattern: str, text: str, flags: dict[str, bool], matches: list[str]) -> None:
    first = matches[0] if matches else None
    assert outputs(context, pattern, text, **flags) == {
        "matches": matches, "first": first, "found": bool(matches), "count": len(matches),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        (r"(\w+): (\d+)", [["Ada", "36"], ["Alan", "41"]]),
        (r"(?P<z>\w+): (?P<a>\d+)", [{"z": "Ada", "a": "36"}, {"z": "Alan", "a": "41"}]),
        (r"(?P<name>\w+): (\d)", [{"name": "Ada"}, {"name": "Alan"}]),
        (r"(x)?: (\d)", [[None, "3"], [None, "4"]]),
        (r"(x)", []),
    ],
)
def test_extract(context: StubContext, pattern: str, matches: list[Any]) -> None:
    assert outputs(context, pattern, mode="extract")["matches"] == matches


@pytest.mark.parametrize(
    ("pattern", "replacement", "text", "count"),
    [
        (r"\d+", "?", "Ada: ?, Alan: ?", 2),
        (r"\d+", "", "Ada: , Alan: ", 2),
        ("nothing", "x", PEOPLE, 0),
        (r"(\w+): (\d+)", r"\2=\1", "36=Ada, 41=Alan", 2),
        (r"(?P<who>\w+):", r"\g<who>/\g<1>/\g<0>", "Ada/Ada/Ada: 36, Alan/Alan/Alan: 41", 2),
        (r"Ada|(x)", r"[\1]", "[]: 36, Alan: 41", 1),
        (r"Ada", r"\\1 \n \x $1", r"\1 \n \x $1: 36, Alan: 41", 1),
        (r"(A)da", r"\10", None, 0),
    ],
)
def test_replace(context: StubContext, pattern: str, replacement: str, text: str | None, count: int) -> None:
    if text is None:
        code, message = failure(context, pattern, mode="replace", replacement=replacement)
        assert (code, r"refers to `\10`; the pattern has the groups 1." in message) == ("validation", True)
        return
    given = outputs(context, pattern, mode="replace", replacement=replacement)
    assert (given["text"], given["count"], given["found"]) == (text, count, count > 0)


def test_what_is_empty_is_replaced_once(context: StubContext) -> None:
    given = outputs(context, "^", "a\nb", mode="replace", replacement="> ", multiline=True)
    assert (given["text"], given["count"]) == ("> a\n> b", 2)
    assert outputs(context, "x*", "-ax-", mode="replace", replacement=".")["text"] == ".-.a..-."


def test_test(context: StubContext) -> None:
    assert outputs(context, r"\d", mode="test") == {"matches": [], "found": True, "count": 1}
    assert outputs(context, "x", mode="test")["found"] is False


def test_a_limit_takes_the_first(context: StubContext) -> None:
    assert outputs(context, r"\w+", limit=2)["matches"] == ["Ada", "36"]
    assert outputs(context, r"\d", mode="replace", replacement="x", limit=1)["text"] == "Ada: x6, Alan: 41"
    assert failure(context, "a", limit=1.5)[0] == "validation"


@pytest.mark.parametrize(
    ("pattern", "inputs", "said"),
    [
        ("(", {}, "`pattern` cannot be used: missing )"),
        ("(?<=a)b", {}, "`pattern` cannot be used"),
        (r"(a)\1", {}, "`pattern` cannot be used"),
        ("((a{100}){100}){100}", {}, "`pattern` cannot be used"),
        ("x" * 1001, {}, "at most 1,000 characters"),
        ("a", {"mode": "extract"}, "needs groups"),
        ("a", {"mode": "replace"}, "needs `replacement`"),
        ("a", {"mode": "replace", "replacement": r"\1"}, "the pattern has no groups"),
        ("(?P<n>a)", {"mode": "replace", "replacement": r"\g<m>"}, "the pattern has the groups 1, n"),
    ],
)
def test_what_cannot_be_used(context: StubContext, pattern: str, inputs: dict[str, Any], said: str) -> None:
    code, message = failure(context, pattern, **inputs)
    assert code == "validation"
    assert said in message


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "(.*)*x", "(a?){100}a{100}b"])
def test_no_pattern_takes_for_ever(context: StubContext, pattern: str) -> None:
    """Python's own expressions would take longer than the universe lasts."""
    assert outputs(context, pattern, "a" * 5_000 + "!", mode="test")["found"] is False


def test_many_matches_over_a_long_text_end_with_the_deadline(tmp_path: Path) -> None:
    """Every one of a million matches looks at the whole rest of the text."""
    context = StubContext(tmp_path, cancellation=Cancellation(0.2))
    with pytest.raises(TaskError, match=r"timeout of 0\.2 s"):
        run(registry.load().types["text.regex"], context, text="a" * 1_000_000, pattern="(?s)a.*?b|a")


def test_the_bounds(context: StubContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_regex, "MAX_PARTS", 10)
    assert outputs(context, "a", "a" * 10)["count"] == 10
    assert failure(context, "a", "a" * 11)[0] == "too_large"
    assert failure(context, "a", "a" * 11, mode="replace", replacement="b")[0] == "too_large"
    assert outputs(context, "a", "a" * 11, limit=5)["count"] == 5
    monkeypatch.setattr(texts, "MAX_TEXT", 100)
    assert failure(context, "a", "aaa", mode="replace", replacement="b" * 50)[0] == "too_large"
    monkeypatch.setattr(text_regex, "MAX_TEXT", 100)
    assert failure(context, "a", "x" * 101)[0] == "too_large"
