"""``json.parse`` and ``json.query``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from dataflow.lib.jsonvalues import clean_json
from tasks_lib import jmespath_query, registry
from tasks_lib.types import json_parse
from tests.stubs.context import StubContext, run

ITEMS = {"items": [{"name": "pear", "price": 3}, {"name": "fig", "price": 1}]}


@pytest.fixture
def context(tmp_path: Path) -> StubContext:
    return StubContext(tmp_path)


def outputs(context: StubContext, name: str, **inputs: Any) -> dict[str, Any]:
    return dict(run(registry.load().types[name], context, **inputs))


def failure(context: StubContext, name: str, **inputs: Any) -> tuple[str, str]:
    with pytest.raises(TaskError) as raised:
        outputs(context, name, **inputs)
    assert not raised.value.retryable
    return raised.value.code, raised.value.message


@pytest.mark.parametrize("name", ["json.parse", "json.query"])
def test_the_example_gives_what_the_catalogue_shows(context: StubContext, name: str) -> None:
    task_type = registry.load().types[name]
    assert outputs(context, name, **task_type.example) == {field.name: field.example for field in task_type.outputs}


# json.parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        (" 1.50 ", 1.5),
        ('"é😀"', "é😀"),
        ('{"a": [1, {"b": null}]}', {"a": [1, {"b": None}]}),
        ("\ufeff{}", {}),
        ("[" * 3 + "]" * 3, [[[]]]),
    ],
)
def test_parse(context: StubContext, text: str, value: Any) -> None:
    parsed = outputs(context, "json.parse", text=text)
    assert clean_json(parsed["json"]) == parsed["json"]
    assert parsed == {"json": value}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "The text is empty"),
        ("[1,\n2,\nx]", "at line 3, column 1. It is near `[1, 2, x]`."),
        ('{"a": 1, "a": 2}', 'The key "a" occurs more than once. It is at `/a`.'),
        ('{"a": [NaN]}', "NaN is not a JSON number. It is at `/a/0`."),
        ("[1e999]", "It is at `/0`."),
        ("123456789012345678901", "beyond 64 bits"),
        ("[" * 51 + "]" * 51, "more than 50 levels"),
        ("[" * 100_000, "more than 50 levels"),
        ('{"a": "\\u0000"}', "NUL character. It is at `/a`."),
        ('"\\ud800"', "surrogate"),
        ("{} {}", "Extra data"),
        ("{'a': 1}", "line 1, column 2"),
    ],
)
def test_parse_says_what_is_wrong_and_where(context: StubContext, text: str, said: str) -> None:
    code, message = failure(context, "json.parse", text=text)
    assert code == "validation"
    assert said in message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('```json\n{"a": [1]}\n```', {"a": [1]}),
        ("Sure! Here it is:\n\n```\n[1, 2]\n```\nHope [it] helps {you}.", [1, 2]),
        ('```json {"a": 1} ```', {"a": 1}),
        ('```JSON\r\n{"a":\r\n1}\r\n```', {"a": 1}),
        ('The answer is {"a": "```"}, I think.', {"a": "```"}),
        ('{"a": "x ```y``` z"}', {"a": "x ```y``` z"}),
        ('{"a": 1}\nHope this helps!', {"a": 1}),
        ('```json\n"a text"\n```', "a text"),
        ("42", 42),
        ('"[not a list]"', "[not a list]"),
    ],
)
def test_parse_what_models_write(context: StubContext, text: str, value: Any) -> None:
    assert outputs(context, "json.parse", text=text, tolerant=True) == {"json": value}


def test_parse_as_deep_as_can_be_kept(context: StubContext) -> None:
    parsed = outputs(context, "json.parse", text="[" * 50 + "]" * 50)["json"]
    assert clean_json(parsed) == parsed


@pytest.mark.parametrize("text", ["", "```", "``````", "no JSON", "} {", "``` \n```", "{", "[1] or [2]"])
def test_parse_what_is_no_json_however_tolerant(context: StubContext, text: str) -> None:
    assert failure(context, "json.parse", text=text, tolerant=True)[0] == "validation"


def test_parse_is_strict_unless_asked(context: StubContext) -> None:
    assert failure(context, "json.parse", text='```json\n{"a": 1}\n```')[0] == "validation"


def test_parse_a_file(context: StubContext) -> None:
    def file(data: bytes) -> Any:
        return context.files.add("a.json", "application/json", data)

    assert outputs(context, "json.parse", file=file(b'\xef\xbb\xbf{"a": 1}')) == {"json": {"a": 1}}
    assert "not UTF-8: byte 1" in failure(context, "json.parse", file=file(b'"\xff"'))[1]
    assert failure(context, "json.parse", file=file('{"a":1}'.encode("utf-16")))[0] == "validation"
    assert failure(context, "json.parse", file=file(b""))[1].startswith("The text is empty")


def test_parse_is_bounded(context: StubContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_parse, "MAX_BYTES", 1024 * 1024)
    monkeypatch.setattr(json_parse, "MAX_VALUES", 1000)
    large = context.files.add("a.json", "application/json", b"[" + b" " * 1024 * 1024 + b"]")
    assert failure(context, "json.parse", file=large)[0] == "too_large"
    assert failure(context, "json.parse", text=" " * 1024 * 1024 + "1")[0] == "too_large"
    assert failure(context, "json.parse", text="[" + "1," * 1000 + "1]")[0] == "too_large"


@pytest.mark.parametrize("inputs", [{}, {"text": "1", "file": {"file_id": "fl-1"}}])
def test_parse_takes_a_text_or_a_file(context: StubContext, inputs: dict[str, Any]) -> None:
    code, message = failure(context, "json.parse", **inputs)
    assert (code, message.startswith("Give `text` or `file`")) == ("validation", True)


# json.query


@pytest.mark.parametrize(
    ("query", "result"),
    [
        ("@", ITEMS),
        ("items[*].name", ["pear", "fig"]),
        ("items[?price > `2`].{n: name, p: price}", [{"n": "pear", "p": 3}]),
        ("sort_by(items, &price)[0].name", "fig"),
        ("items[].[name, price][]", ["pear", 3, "fig", 1]),
        ("{total: sum(items[*].price), all: join(', ', items[*].name)}", {"total": 4, "all": "pear, fig"}),
        ("items[-1:].name | [0]", "fig"),
        ("map(&to_string(@), items[*].price)", ["3", "1"]),
        ("nothing.here", None),
        ("items[9]", None),
        ("length(items) == `2`", True),
        ("items[0] == items[0]", True),
    ],
)
def test_query(context: StubContext, query: str, result: Any) -> None:
    given = outputs(context, "json.query", json=ITEMS, query=query)
    assert given == {"result": result}
    assert clean_json(given) == given


@pytest.mark.parametrize("value", ["text", 1, True, []])
def test_query_of_what_has_no_fields(context: StubContext, value: Any) -> None:
    assert outputs(context, "json.query", json=value, query="a.b")["result"] is None


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "The query is empty"),
        ("items[", "at offset 6: it ends too early"),
        ("items name", "at offset 6: `name` does not fit there"),
        ("items.#", "at offset 6: Unknown token #"),
        ("'open", "at offset 0: Unclosed '"),
        ("\0", "at offset 0"),
        ("lenght(@)", "There is no function `lenght` in JMESPath. Did you mean `length`?"),
        ("x" * 2001, "at most 2,000 characters"),
        ("(" * 900 + "@" + ")" * 900, "levels deep"),
        ("!" * 1000 + "@", "levels deep"),
        ("@|" * 900 + "@", "levels deep"),
        ("&a", "`&` stands in an argument of"),
        ("[&a]", "`&` stands in an argument of"),
        ("type(&a)", "`&` stands in an argument of"),
    ],
)
def test_a_query_that_cannot_be_used(context: StubContext, query: str, said: str) -> None:
    code, message = failure(context, "json.query", json=ITEMS, query=query)
    assert code == "validation"
    assert said in message


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("length(`1`)", "`length()` takes string, array, object, not number."),
        ("length(@, @)", "Expected 1 argument for function length()"),
        ("items[?price > 'a']", "The query failed"),
        ("items[::0]", "The query failed"),
        ("ceil(to_number('inf'))", "The query failed"),
        ("sort_by(items, &@)", "`sort_by()` takes"),
    ],
)
def test_a_query_that_fails(context: StubContext, query: str, said: str) -> None:
    code, message = failure(context, "json.query", json=ITEMS, query=query)
    assert code == "expression"
    assert said in message


@pytest.mark.parametrize(
    ("step", "times", "value"),
    [
        ("[@, @]", 40, 1),
        ("[@, @][]", 40, 1),
        ("{a: @, b: @}", 40, 1),
        ("join('', [@, @])", 40, "ab"),
        ("to_string([@])", 30, "\\"),
        ("to_string([@, @])", 30, 1),
        ("[@,@,@,@,@,@,@,@,@,@] | [][][]", 20, [[[1]]]),
        ("[[@, @] == [@, @], @, @]", 40, 1),
    ],
)
def test_a_query_that_doubles_is_stopped(
    context: StubContext, step: str, times: int, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of these would make 2^30 values or characters, and would be cut by its deadline if by anything."""
    monkeypatch.setattr(jmespath_query, "MAX_WORK", 500_000)
    code, _ = failure(context, "json.query", json=value, query=" | ".join([step] * times))
    assert code == "too_large"


def test_a_join_is_measured_before_it_is_made(context: StubContext) -> None:
    value = {"between": "x" * 1_000_000, "list": ["a"] * 100_000}
    assert failure(context, "json.query", json=value, query="join(between, list)")[0] == "too_large"


def test_a_stop_is_noticed_within_a_query(tmp_path: Path) -> None:
    context = StubContext(tmp_path, cancellation=Cancellation())
    context.cancellation.stop(TaskError("cancelled", "Stopped."))
    assert failure(context, "json.query", json=list(range(50_000)), query="[*].[@]")[0] == "cancelled"
