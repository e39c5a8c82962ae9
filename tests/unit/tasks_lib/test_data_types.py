"""``data.map``, ``data.filter``, ``data.sort``, ``data.group``: expressions over the items of a list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from dataflow.lib.jsonvalues import clean_json
from tasks_lib import items, registry
from tests.stubs.context import StubContext, run

FRUIT = [{"name": "pear", "price": 3}, {"name": "fig", "price": 1}, {"name": "kiwi", "price": 3.0}]


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


@pytest.mark.parametrize("name", ["data.map", "data.filter", "data.sort", "data.group"])
def test_the_example_gives_what_the_catalogue_shows(context: StubContext, name: str) -> None:
    task_type = registry.load().types[name]
    given = outputs(context, name, **task_type.example)
    assert given == {field.name: field.example for field in task_type.outputs}
    assert clean_json(given) == given


@pytest.mark.parametrize(
    ("given", "expression", "made"),
    [
        ([], "item", []),
        ([1, None, "x", [2], {"a": None}], "item", [1, None, "x", [2], {"a": None}]),
        (FRUIT, "item.name", ["pear", "fig", "kiwi"]),
        (["a", "b"], "index", [0, 1]),
        ([5, 6], "item * 2 + index", [10, 13]),
        ([[1, 2], [3, 4]], "item[1]", [2, 4]),
        ([[1, 2], [3, 4]], "item[index]", [1, 4]),
        ([{"odd key": 1}], 'item["odd key"]', [1]),
        ([{"mail": "a@b"}, {}, {"mail": None}], 'has(item.mail) ? item.mail : ""', ["a@b", "", ""]),
        (["é€😀"], "size(item)", [3]),
        (["2026-01-02T00:00:00Z"], "timestamp(item).getFullYear()", [2026]),
        ([{"a": 1}], "[item, index]", [[{"a": 1}, 0]]),
    ],
)
def test_map(context: StubContext, given: list[Any], expression: str, made: list[Any]) -> None:
    assert outputs(context, "data.map", list=given, expression=expression) == {"list": made, "count": len(made)}


def test_map_builds_objects(context: StubContext) -> None:
    fields = {"": "index", "what": "item.name", "dear": "item.price > 2"}
    assert outputs(context, "data.map", list=FRUIT[:2], fields=fields)["list"] == [
        {"": 0, "what": "pear", "dear": True},
        {"": 1, "what": "fig", "dear": False},
    ]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "either `expression` or `fields`"),
        ({"expression": "item", "fields": {"a": "item"}}, "either `expression` or `fields`"),
        ({"fields": {}}, "`fields` is empty"),
        ({"fields": {"a": 1}}, "`fields.a`: An expression is a text."),
        ({"fields": {"a": "item."}}, "`fields.a`: "),
        ({"fields": {f"f{n}": "item" for n in range(101)}}, "at most 100"),
        ({"expression": ""}, "`expression`: The expression is empty."),
        ({"expression": "item +"}, "`expression`: The expression cannot be read"),
        ({"expression": "price * 2"}, "there is no `price` here. An expression is written without braces"),
        ({"expression": "inputs.a"}, "there is no `inputs` here"),
        ({"expression": "secrets.KEY"}, "there is no `secrets` here"),
        ({"expression": "item.all(x, x > 1)"}, "The macro `all` is not available"),
        ({"expression": "open(item)"}, "There is no function `open`"),
        ({"expression": "item" + " + item" * 300}, "at most 2,000 characters"),
        ({"expression": "(" * 60 + "item" + ")" * 60}, "at most 50 deep"),
    ],
)
def test_map_with_inputs_that_cannot_be_used(context: StubContext, inputs: dict[str, Any], said: str) -> None:
    code, message = failure(context, "data.map", list=[1], **inputs)
    assert code == "validation"
    assert said in message


@pytest.mark.parametrize(
    ("name", "given", "expression", "said"),
    [
        ("data.map", [1, "a"], "item + 1", "Item 1: `item + 1` failed"),
        ("data.map", [{"a": 1}, {"b": 1}], "item.a", "Item 1: `item.a` does not exist."),
        ("data.map", [{"name": 1}], "item.nam", "Did you mean `name`?"),
        ("data.map", [0], "1 / item", "Item 0: "),
        ("data.map", [2**62], "item * 4", "Item 0: "),
        ("data.filter", [True, 1], "item", "Item 1: `expression` must give true or false; it gives a number."),
        ("data.filter", [True, None], "item", "Item 1: `expression` must give true or false; it gives null."),
        ("data.sort", [1, "a"], "item", "Item 1: its key is text; that of the items before it is a number."),
        ("data.sort", [True, 1], "item", "Item 1: its key is a number"),
        ("data.sort", [{"a": 1}], "item", "Item 0: a key is a number, a text, a boolean, or a list of these"),
        ("data.sort", [[1, None]], "item", "it has null"),
        ("data.sort", [[1, 2], [1, "a"]], "item", "Item 1: its key is a list of a number, text;"),
        ("data.sort", [[1, 2], [1]], "item", "Item 1: its key is a list of a number;"),
        ("data.group", [{"a": 1}, 5], "item.a", "Item 1: `item.a` does not exist"),
    ],
)
def test_an_item_that_fails_is_named(
    context: StubContext, name: str, given: list[Any], expression: str, said: str
) -> None:
    code, message = failure(context, name, list=given, expression=expression)
    assert code == "expression"
    assert said in message


def test_filter(context: StubContext) -> None:
    assert outputs(context, "data.filter", list=FRUIT, expression='item.price > 2 && item.name != "kiwi"') == {
        "list": [FRUIT[0]],
        "count": 1,
    }
    assert outputs(context, "data.filter", list=[], expression="item.x") == {"list": [], "count": 0}


@pytest.mark.parametrize(
    ("given", "expression", "descending", "made"),
    [
        ([3, 1.5, 2], "item", False, [1.5, 2, 3]),
        (["b", "a", "B"], "item", False, ["B", "a", "b"]),
        ([True, False], "item", False, [False, True]),
        ([2, None, 1, None], "item", False, [1, 2, None, None]),
        ([2, None, 1], "item", True, [2, 1, None]),
        ([[1, "b"], [1, "a"], [0, "z"]], "item", False, [[0, "z"], [1, "a"], [1, "b"]]),
        (FRUIT, "item.price", False, [FRUIT[1], FRUIT[0], FRUIT[2]]),
        (FRUIT, "item.price", True, [FRUIT[0], FRUIT[2], FRUIT[1]]),
        ([1, 2, 3], "-index", False, [3, 2, 1]),
        ([], "item", False, []),
    ],
)
def test_sort_is_stable(
    context: StubContext, given: list[Any], expression: str, descending: bool, made: list[Any]
) -> None:
    sorted_list = outputs(context, "data.sort", list=given, expression=expression, descending=descending)
    assert sorted_list == {"list": made, "count": len(made)}


def test_groups_come_in_the_order_of_their_first_items(context: StubContext) -> None:
    given = outputs(context, "data.group", list=[3, 1, 3.0, True, None, "3", [1], [1.0], {"a": 1}], expression="item")
    assert given["count"] == 7
    assert [(repr(group["key"]), group["count"]) for group in given["groups"]] == [
        ("3", 2), ("1", 1), ("True", 1), ("None", 1), ("'3'", 1), ("[1]", 2), ("{'a': 1}", 1),
    ]  # fmt: skip
    assert given["groups"][0]["items"] == [3, 3.0]
    assert outputs(context, "data.group", list=[], expression="item") == {"groups": [], "count": 0}


@pytest.mark.parametrize("name", ["data.map", "data.filter", "data.sort", "data.group"])
def test_too_many_items(context: StubContext, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "MAX_ITEMS", 3)
    assert outputs(context, name, list=[True] * 3, expression="item")["count"] in (1, 3)
    code, message = failure(context, name, list=[True] * 4, expression="item")
    assert (code, "`list` has 4 items; at most 3" in message) == ("too_large", True)


def test_results_that_grow_are_bounded(context: StubContext) -> None:
    code, message = failure(context, "data.map", list=[{"t": "x" * 500_000}] * 200, expression="item.t + item.t")
    assert (code, "64 MiB" in message) == ("too_large", True)
    code, _ = failure(context, "data.map", list=["x" * 9_000_000], expression="item + item")
    assert code == "too_large"


@pytest.mark.parametrize("name", ["data.map", "data.filter", "data.sort", "data.group"])
def test_a_stop_is_noticed(tmp_path: Path, name: str) -> None:
    context = StubContext(tmp_path, cancellation=Cancellation())
    context.cancellation.stop(TaskError("cancelled", "Stopped."))
    assert failure(context, name, list=[True], expression="item")[0] == "cancelled"


def test_what_braces_would_mean_is_said_at_once(context: StubContext) -> None:
    """Braces are rendered before the task runs; what is left of them is no expression."""
    code, message = failure(context, "data.map", list=[1], expression="{{item}}")
    assert (code, message.startswith("`expression`: ")) == ("validation", True)
