"""``text.template``, ``text.split``, ``text.join``, ``text.replace``, ``text.hash``."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from dataflow.lib.jsonvalues import clean_json
from tasks_lib import registry, texts
from tasks_lib.types import text_hash, text_split
from tests.stubs.context import StubContext, run


@pytest.fixture
def context(tmp_path: Path) -> StubContext:
    return StubContext(tmp_path)


def outputs(context: StubContext, name: str, **inputs: Any) -> dict[str, Any]:
    given = dict(run(registry.load().types[f"text.{name}"], context, **inputs))
    assert clean_json(given) == given
    return given


def failure(context: StubContext, name: str, **inputs: Any) -> tuple[str, str]:
    with pytest.raises(TaskError) as raised:
        outputs(context, name, **inputs)
    assert not raised.value.retryable
    return raised.value.code, raised.value.message


@pytest.mark.parametrize("name", ["template", "split", "join", "replace", "hash"])
def test_the_example_gives_what_the_catalogue_shows(context: StubContext, name: str) -> None:
    task_type = registry.load().types[f"text.{name}"]
    assert outputs(context, name, **task_type.example) == {field.name: field.example for field in task_type.outputs}


# text.template

VALUES = {"name": "Ada", "order": {"lines": [{"sku": "x1"}, 2.5], "paid": False}, "dollar": "$name", "none": None}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("", ""),
        ("no places", "no places"),
        ("$name, ${name}, ${ name }!", "Ada, Ada, Ada!"),
        ("${order.lines.0.sku} ${order.lines.1} ${order.paid}", "x1 2.5 false"),
        ("${order.lines}", '[{"sku":"x1"},2.5]'),
        ("$$name costs $5 and 5$ $", "$name costs $5 and 5$ $"),
        ("$dollar", "$name"),
        ("$$$name", "$Ada"),
        ("${} ${ ${\n} $-", "${} ${ ${\n} $-"),
        ("{{ name }} {% if name %} %(name)s {name}", "{{ name }} {% if name %} %(name)s {name}"),
    ],
)
def test_template(context: StubContext, template: str, text: str) -> None:
    assert outputs(context, "template", template=template, values=VALUES) == {"text": text}


@pytest.mark.parametrize(
    "place",
    [
        "$nam", "${name.first}", "${name.__class__}", "${order.lines.2}", "${order.lines.-1}", "${order.lines.x}",
        "${order.lines.٠}", "$none", "${}name} ${none}", "${name!r}", "${name()}", "${order.lines.99999999999999999999}",
    ],
)  # fmt: skip
def test_a_place_without_a_value(context: StubContext, place: str) -> None:
    code, message = failure(context, "template", template=f"x {place} y", values=VALUES)
    assert (code, message.startswith("`values` has nothing for `")) == ("validation", True)
    assert outputs(context, "template", template=place, values=VALUES, missing="keep") == {"text": place}


def test_a_place_without_a_value_may_stay_empty(context: StubContext) -> None:
    assert outputs(context, "template", template="[$nam ${a.b}]", values={}, missing="empty") == {"text": "[ ]"}


def test_all_that_is_missing_is_named_at_once(context: StubContext) -> None:
    _, message = failure(context, "template", template="$nam ${a.b} $nam", values={"name": 1})
    assert message.startswith("`values` has nothing for `nam`, `a.b`. Did you mean `name`?")


def test_a_template_that_grows_is_bounded(context: StubContext) -> None:
    assert failure(context, "template", template="$a" * 20_000, values={"a": "x" * 1000})[0] == "too_large"
    text = outputs(context, "template", template="$a" * 10_000, values={"a": {"b": "x" * 1000}})["text"]
    assert len(text) == 10_000 * 1008


# text.split


@pytest.mark.parametrize(
    ("inputs", "parts"),
    [
        ({"text": ""}, []),
        ({"text": "\n"}, [""]),
        ({"text": "a\r\nb\rc\n\nd\n"}, ["a", "b", "c", "", "d"]),
        ({"text": "a\u2028b\x0bc"}, ["a\u2028b\x0bc"]),
        ({"text": "a\n \nb", "skip_empty": True}, ["a", "b"]),
        ({"text": "", "by": "separator", "separator": ","}, [""]),
        ({"text": "a,,b,", "by": "separator", "separator": ","}, ["a", "", "b", ""]),
        ({"text": "a||b", "by": "separator", "separator": "||"}, ["a", "b"]),
        ({"text": "", "by": "length", "length": 3}, []),
        ({"text": "abc", "by": "length", "length": 3}, ["abc"]),
        ({"text": "abcdefg", "by": "length", "length": 3.0}, ["abc", "def", "g"]),
        ({"text": "abcdefg", "by": "length", "length": 3, "overlap": 1}, ["abc", "cde", "efg"]),
        ({"text": "abcdefgh", "by": "length", "length": 3, "overlap": 1}, ["abc", "cde", "efg", "gh"]),
        ({"text": "ab", "by": "length", "length": 3, "overlap": 2}, ["ab"]),
        ({"text": "One. Two! Three?", "by": "sentences", "length": 10}, ["One. Two!", "Three?"]),
        ({"text": " \n ", "by": "sentences", "length": 10}, []),
    ],
)
def test_split(context: StubContext, inputs: dict[str, Any], parts: list[str]) -> None:
    assert outputs(context, "split", **inputs) == {"parts": parts, "count": len(parts)}


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"by": "separator"}, "needs `separator`"),
        ({"by": "length"}, "needs `length`"),
        ({"by": "sentences"}, "needs `length`"),
        ({"by": "length", "length": 1.5}, "`length` must be a whole number"),
        ({"by": "length", "length": 4, "overlap": 4}, "`overlap` must be less than `length`"),
        ({"by": "length", "length": 4, "overlap": 0.5}, "`overlap` must be a whole number"),
    ],
)
def test_split_with_inputs_that_do_not_go_together(context: StubContext, inputs: dict[str, Any], said: str) -> None:
    code, message = failure(context, "split", text="a", **inputs)
    assert code == "validation"
    assert said in message


@pytest.mark.parametrize(
    "inputs",
    [
        {"text": "\n" * 100_001},
        {"text": "\r\n" * 100_001},
        {"text": "," * 100_000, "by": "separator", "separator": ","},
        {"text": "x" * 100_001, "by": "length", "length": 1},
        {"text": "x" * 200_001, "by": "sentences", "length": 1},
        {"text": "x" * 1_000_000, "by": "length", "length": 100_000, "overlap": 99_999},
        {"text": "x" * 1_000_000, "by": "length", "length": 100_000, "overlap": 99_000},
        {"text": "x" * (text_split.MAX_SENTENCES + 1), "by": "sentences", "length": 1000},
    ],
)
def test_split_is_bounded(context: StubContext, inputs: dict[str, Any]) -> None:
    assert failure(context, "split", **inputs)[0] == "too_large"


def test_as_many_parts_as_there_may_be(context: StubContext) -> None:
    assert outputs(context, "split", text="x\r\n" * 100_000)["count"] == 100_000


# text.join


@pytest.mark.parametrize(
    ("given", "separator", "text", "count"),
    [
        ([], ",", "", 0),
        ([None], ",", "", 0),
        (["a", "", "b"], ",", "a,,b", 3),
        (["é", 1, 2.5, True, None, {"x": "é"}, [1]], " ", 'é 1 2.5 true {"x":"é"} [1]', 6),
    ],
)
def test_join(context: StubContext, given: list[Any], separator: str, text: str, count: int) -> None:
    assert outputs(context, "join", list=given, separator=separator) == {"text": text, "count": count}


def test_join_puts_lines_under_each_other(context: StubContext) -> None:
    assert outputs(context, "join", list=["a", "b"])["text"] == "a\nb"


def test_a_join_that_grows_is_bounded(context: StubContext) -> None:
    code, message = failure(context, "join", list=["a"] * 100_000, separator="x" * 1_000_000)
    assert (code, "99,999,100,000 characters" in message) == ("too_large", True)


# text.replace


@pytest.mark.parametrize(
    ("text", "find", "replacement", "limit", "made", "count"),
    [
        ("", "a", "b", None, "", 0),
        ("aaa", "a", "bb", None, "bbbbbb", 3),
        ("aaa", "aa", "b", None, "ba", 1),
        ("aaa", "a", "", 2, "a", 2),
        ("aaa", "a", "b", 9.0, "bbb", 3),
        ("a.c abc", "a.c", r"\0", None, r"\0 abc", 1),
        ("e\u0301", "e", "a", None, "a\u0301", 1),
    ],
)
def test_replace(
    context: StubContext, text: str, find: str, replacement: str, limit: float | None, made: str, count: int
) -> None:
    given = outputs(context, "replace", text=text, find=find, replacement=replacement, limit=limit)
    assert given == {"text": made, "count": count}


def test_a_replacement_that_grows_is_bounded(context: StubContext, monkeypatch: pytest.MonkeyPatch) -> None:
    assert failure(context, "replace", text="a" * 1_000_000, find="a", replacement="b" * 1_000_000)[0] == "too_large"
    monkeypatch.setattr(texts, "MAX_TEXT", 10)
    assert outputs(context, "replace", text="a" * 20, find="a", replacement="b")["count"] == 20
    assert outputs(context, "replace", text="aaaaa", find="a", replacement="bb")["text"] == "b" * 10
    assert failure(context, "replace", text="aaaaaa", find="a", replacement="bb")[0] == "too_large"


@pytest.mark.parametrize("limit", [0.5, 1.5])
def test_a_limit_is_whole(context: StubContext, limit: float) -> None:
    assert failure(context, "replace", text="a", find="a", replacement="b", limit=limit)[0] == "validation"


# text.hash


@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "sha1", "md5", "blake2b"])
@pytest.mark.parametrize("key", [None, "Jefe", "é" * 300])
@pytest.mark.parametrize("text", ["", "what do ya want for nothing?", "é😀"])
def test_hash(context: StubContext, algorithm: str, key: str | None, text: str) -> None:
    wanted = hashlib.new(algorithm, text.encode()) if key is None else hmac.new(key.encode(), text.encode(), algorithm)
    size = len(text.encode())
    given = {"text": text, "algorithm": algorithm, "key": key}
    assert outputs(context, "hash", **given) == {"hash": wanted.hexdigest(), "size": size}
    encoded = base64.b64encode(wanted.digest()).decode()
    assert outputs(context, "hash", **given, format="base64") == {"hash": encoded, "size": size}


def test_the_known_answer_of_rfc_4231(context: StubContext) -> None:
    given = outputs(context, "hash", text="what do ya want for nothing?", key="Jefe")
    assert given["hash"] == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"


def test_a_file_is_hashed_piece_by_piece(context: StubContext) -> None:
    data = b"0123456789abcdef" * 100_000
    file = context.files.add("a.bin", "application/octet-stream", data)
    assert outputs(context, "hash", file=file) == {"hash": hashlib.sha256(data).hexdigest(), "size": len(data)}
    assert outputs(context, "hash", file=file)["hash"] == file["sha256"]


def test_hashing_a_file_is_bounded_and_can_be_stopped(context: StubContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_hash, "MAX_FILE", 1024 * 1024)
    file = context.files.add("a.bin", "application/octet-stream", b"x" * (1024 * 1024 + 1))
    assert failure(context, "hash", file=file)[0] == "too_large"
    context.cancellation = Cancellation()
    context.cancellation.stop(TaskError("cancelled", "Stopped."))
    assert failure(context, "hash", file=file)[0] == "cancelled"


@pytest.mark.parametrize("inputs", [{}, {"text": "", "file": {"file_id": "fl-1"}}, {"text": "a", "algorithm": "crc32"}])
def test_hash_with_inputs_that_cannot_be_used(context: StubContext, inputs: dict[str, Any]) -> None:
    assert failure(context, "hash", **inputs)[0] == "validation"
