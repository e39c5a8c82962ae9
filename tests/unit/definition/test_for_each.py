"""``for_each``: what a definition may say, what it means for others, and the list at run time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dataflow.lib.errors import TaskError
from workflows.definition import (
    Checked,
    ExpressionError,
    ForEach,
    MissingThrough,
    Task,
    items_of,
    plan_of,
    render_inputs,
)
from workflows.definition.expressions import compile_template
from workflows.definition.problems import Report

CheckTasks = Callable[..., Checked]
INPUTS = [
    {"name": "urls", "type": "list"},
    {"name": "what", "type": "any"},
    {"name": "n", "type": "number"},
    {"name": "s", "type": "text"},
]
PAGES = {
    "name": "pages",
    "type": "web.download",
    "for_each": "{{inputs.urls}}",
    "condition": "size(inputs) > 0",  # uses every input
    "inputs": {"url": "{{item}}"},
}
SCOPE: dict[str, Any] = {
    "inputs": {"urls": ["a", "b"], "n": 3, "s": "text", "none": None},
    "tasks": {"skipped": {"status": "SKIPPED", "outputs": None}},
}


def found(checked: Checked) -> list[tuple[str, str]]:
    return [(one.pointer, one.code) for one in checked.problems]


def after(value: Any, task_type: str = "text.echo", name: str = "text") -> dict[str, Any]:
    return {"name": "after", "type": task_type, "inputs": {name: value}}


def made(checked: Checked) -> Task:
    assert checked.definition is not None, checked.problems
    return checked.definition.tasks[0]


def loop(value: Any) -> ForEach:
    report = Report()
    template = compile_template(value, "", report)
    assert template is not None, report.problems
    return ForEach(items=template)


def test_it_works(check_tasks: CheckTasks) -> None:
    task = made(check_tasks(PAGES | {"concurrency": 3, "on_item_failure": "drop"}, inputs=INPUTS))
    assert task.for_each is not None
    assert (task.for_each.concurrency, task.for_each.on_item_failure) == (3, "drop")
    assert task.for_each.items.literal == "{{inputs.urls}}"


def test_defaults(check_tasks: CheckTasks) -> None:
    task = made(check_tasks(PAGES, inputs=INPUTS))
    assert task.for_each is not None
    assert (task.for_each.concurrency, task.for_each.on_item_failure) == (10, "fail")
    plain = {"name": "a", "type": "text.echo", "inputs": {"text": "x"}}
    assert made(check_tasks(plain)).for_each is None


@pytest.mark.parametrize(
    "value",
    [" {{inputs.urls}}\n", "{{inputs.what}}", '{{inputs.n > 1 ? ["a"] : inputs.urls}}', [], ["a", "{{inputs.s}}"]],
)
def test_what_may_give_the_list(check_tasks: CheckTasks, value: Any) -> None:
    assert found(check_tasks(PAGES | {"for_each": value}, inputs=INPUTS)) == []


@pytest.mark.parametrize(
    ("more", "pointer", "code"),
    [
        ({"for_each": None}, "/tasks/0/for_each", "wrong_type"),
        ({"for_each": 3}, "/tasks/0/for_each", "wrong_type"),
        ({"for_each": {"a": 1}}, "/tasks/0/for_each", "wrong_type"),
        ({"for_each": "inputs.urls"}, "/tasks/0/for_each", "wrong_type"),
        ({"for_each": "{{inputs.s}}"}, "/tasks/0/for_each", "type_mismatch"),
        ({"for_each": "{{inputs.n}}"}, "/tasks/0/for_each", "type_mismatch"),
        ({"for_each": "{{inputs.urls}} and more"}, "/tasks/0/for_each", "type_mismatch"),
        ({"for_each": "{{inputs.url}}"}, "/tasks/0/for_each", "unknown_reference"),
        ({"for_each": "{{item}}"}, "/tasks/0/for_each", "unknown_reference"),
        ({"for_each": "{{[secrets.KEY]}}"}, "/tasks/0/for_each", "unknown_reference"),
        ({"for_each": "{{inputs.urls"}, "/tasks/0/for_each", "expression_syntax"),
        ({"for_each": "{{tasks.pages.outputs.html}}"}, "/tasks/0/for_each", "cycle"),
        ({"for_each": [0] * 100_001}, "/tasks/0/for_each", "too_many"),
        ({"concurrency": 0}, "/tasks/0/concurrency", "below_minimum"),
        ({"concurrency": 1001}, "/tasks/0/concurrency", "above_maximum"),
        ({"concurrency": 1.5}, "/tasks/0/concurrency", "wrong_type"),
        ({"concurrency": True}, "/tasks/0/concurrency", "wrong_type"),
        ({"on_item_failure": "nul"}, "/tasks/0/on_item_failure", "not_in_enum"),
        ({"on_item_failure": None}, "/tasks/0/on_item_failure", "wrong_type"),
        ({"condition": "item == 'a'"}, "/tasks/0/condition", "unknown_reference"),
        ({"condition": "{{index > 1}}"}, "/tasks/0/condition", "unknown_reference"),
        ({"inputs": {"url": "{{index.a}}"}}, "/tasks/0/inputs/url", "type_mismatch"),
        ({"inputs": {"url": "x", "follow": "{{index}}"}}, "/tasks/0/inputs/follow", "type_mismatch"),
    ],
)
def test_what_is_wrong_is_found_at_its_place(check_tasks: CheckTasks, more: Any, pointer: str, code: str) -> None:
    assert found(check_tasks(PAGES | more, inputs=INPUTS)) == [(pointer, code)]


@pytest.mark.parametrize(("key", "value"), [("concurrency", 2), ("on_item_failure", "null")])
def test_settings_without_for_each_are_refused(check_tasks: CheckTasks, key: str, value: Any) -> None:
    result = check_tasks({"name": "a", "type": "text.echo", "inputs": {"text": "x"}, key: value})
    assert found(result) == [(f"/tasks/0/{key}", "not_applicable")]


@pytest.mark.parametrize(
    ("typo", "meant"), [("foreach", "for_each"), ("concurency", "concurrency"), ("on_item_fail", "on_item_failure")]
)
def test_a_misspelt_key_gets_a_hint(check_tasks: CheckTasks, typo: str, meant: str) -> None:
    (problem,) = check_tasks({"name": "a", "type": "text.echo", "inputs": {"text": "x"}, typo: "x"}).problems
    assert problem.hint == f"Did you mean `{meant}`?"


@pytest.mark.parametrize("expression", ["item", "item.url", "item[0]['k']", "index", "string(index) + item.name"])
def test_item_and_index_in_inputs_and_in_the_fallback(check_tasks: CheckTasks, expression: str) -> None:
    value = f"{{{{{expression}}}}}"
    fallback = {"task": "text.echo", "inputs": {"text": value}}
    task = PAGES | {"inputs": {"url": value, "headers": {"X": f"n {value}"}}, "fallback": fallback}
    assert found(check_tasks(task, inputs=INPUTS)) == []


def test_item_elsewhere_says_where_it_belongs(check_tasks: CheckTasks) -> None:
    outputs = [{"name": "o", "type": "any", "value": "{{item}}"}]
    result = check_tasks(PAGES, after("{{item}}"), inputs=INPUTS, outputs=outputs)
    assert found(result) == [("/tasks/1/inputs/text", "unknown_reference"), ("/outputs/0/value", "unknown_reference")]
    assert all("`for_each`" in one.hint for one in result.problems)


@pytest.mark.parametrize(
    ("value", "problems"),
    [
        ("{{tasks.pages.outputs.html[0]}}", []),
        ("{{tasks.pages.outputs.mine[1]}}", []),
        ("{{tasks.pages.status}}", []),
        ("{{tasks.pages.outputs.html}}", ["type_mismatch"]),
        ("{{tasks.pages.outputs.mine}}", ["type_mismatch"]),
        ("{{tasks.pages.outputs.status_code}}", ["type_mismatch"]),
        ("{{tasks.pages.outputs.html.length}}", ["type_mismatch"]),
        ("{{tasks.pages.outputs.htm}}", ["unknown_reference"]),
    ],
)
def test_every_output_is_a_list_for_others(check_tasks: CheckTasks, value: str, problems: list[str]) -> None:
    pages = PAGES | {"outputs": [{"name": "mine", "value": "{{outputs.html}}"}]}
    assert [code for _, code in found(check_tasks(pages, after(value), inputs=INPUTS))] == problems


def test_a_list_of_outputs_fits_where_a_list_is_wanted(check_tasks: CheckTasks) -> None:
    outputs = [{"name": "all", "type": "list", "value": "{{tasks.pages.outputs.html}}"}]
    again = {
        "name": "again",
        "type": "text.echo",
        "for_each": "{{tasks.pages.outputs.html}}",
        "inputs": {"text": "{{item}}"},
    }
    assert found(check_tasks(PAGES, again, inputs=INPUTS, outputs=outputs)) == []


def test_the_list_makes_a_dependency(check_tasks: CheckTasks) -> None:
    first = {"name": "first", "type": "web.download", "inputs": {"url": "x"}}
    between = {"name": "between", "type": "text.echo", "inputs": {"text": "x"}}
    task = PAGES | {"for_each": "{{tasks.first.outputs.links}}", "depends_on": []}
    definition = check_tasks(first, between, task, inputs=INPUTS).definition
    assert definition is not None
    assert definition.tasks[2].dependencies == ("first",)
    assert definition.dependents == {"first": ("between", "pages"), "between": (), "pages": ()}
    assert definition.places == {"first": 0, "between": 1, "pages": 2}


def test_what_follows_from_the_tasks_stays_as_it_is(check_tasks: CheckTasks) -> None:
    definition = check_tasks(PAGES, inputs=INPUTS).definition
    assert definition is not None
    with pytest.raises(TypeError):
        definition.places["pages"] = 3  # type: ignore[index]  # the point
    with pytest.raises(TypeError):
        definition.dependents["pages"] = ()  # type: ignore[index]  # the point


def test_the_plan_shows_it(check_tasks: CheckTasks) -> None:
    literal = PAGES | {"name": "some", "for_each": ["a", "b"], "concurrency": 2, "on_item_failure": "null"}
    definition = check_tasks(PAGES, literal, after("x"), inputs=INPUTS).definition
    assert definition is not None
    tasks = plan_of(definition)["tasks"]
    assert tasks[0]["for_each"] == {
        "items": "{{inputs.urls}}", "count": None, "concurrency": 10, "on_item_failure": "fail",
    }  # fmt: skip
    assert tasks[1]["for_each"] == {"items": None, "count": 2, "concurrency": 2, "on_item_failure": "null"}
    assert tasks[2] == {"name": "after", "type": "text.echo", "waits_for": ["some"]}


def test_many_literal_items(check_tasks: CheckTasks) -> None:
    task = made(check_tasks(PAGES | {"for_each": [{"n": n} for n in range(10_000)]}, inputs=INPUTS))
    assert task.for_each is not None
    items = items_of(task.for_each, SCOPE)
    assert (len(items), items[-1]) == (10_000, {"n": 9_999})


# At run time


def test_a_plain_reference_gives_the_list_itself() -> None:
    assert items_of(loop("{{inputs.urls}}"), SCOPE) is SCOPE["inputs"]["urls"]


@pytest.mark.parametrize(
    ("value", "items"),
    [
        (["{{inputs.s}}", {"n": "{{inputs.n}}"}, 1], ["text", {"n": 3}, 1]),
        ("{{inputs.n > 1 ? inputs.urls : []}}", ["a", "b"]),
        ([], []),
    ],
)
def test_the_items(value: Any, items: list[Any]) -> None:
    assert items_of(loop(value), SCOPE) == items


@pytest.mark.parametrize(
    ("value", "code", "said"),
    [
        ("{{inputs.n}}", "validation", "a list, not a number"),
        ("{{inputs.s}}", "validation", "a list, not text"),
        ("{{inputs.none}}", "validation", "a list, not null"),
        ("{{inputs}}", "validation", "a list, not an object"),
        ("{{inputs.other}}", "expression", "`inputs.other` does not exist"),
        ("{{inputs.n / 0 > 1 ? [] : []}}", "expression", "zero"),
    ],
)
def test_what_is_no_list_fails(value: str, code: str, said: str) -> None:
    with pytest.raises(ExpressionError) as error:
        items_of(loop(value), SCOPE)
    assert error.value.code == code
    assert "`for_each`" in error.value.message
    assert said in error.value.message


def test_the_most_items() -> None:
    scope = {"inputs": {"urls": [None] * 100_000}}
    assert len(items_of(loop("{{inputs.urls}}"), scope)) == 100_000
    scope["inputs"]["urls"].append(None)
    with pytest.raises(ExpressionError, match="at most 100,000 items, not 100,001") as error:
        items_of(loop("{{inputs.urls}}"), scope)
    assert error.value.code == "too_large"


@pytest.mark.parametrize(
    "value",
    [
        "{{tasks.skipped.outputs.links}}",
        "{{tasks.skipped.outputs}}",
        "{{size(tasks.skipped.outputs.links) > 0 ? [] : []}}",
    ],
)
def test_a_list_of_a_task_without_outputs_is_missing(value: str) -> None:
    with pytest.raises(MissingThrough) as missing:
        items_of(loop(value), SCOPE)
    assert (missing.value.task_name, missing.value.input_name) == ("skipped", "for_each")


def test_the_inputs_of_an_item(check_tasks: CheckTasks, catalogue: Any) -> None:
    inputs = {"url": "{{item.url}}", "body": "{{index}}", "tags": ["{{item}}"], "method": "{{item.how}}"}
    task = made(check_tasks(PAGES | {"inputs": inputs}, inputs=INPUTS))
    download = catalogue.get("web.download")
    rendered = render_inputs(task.inputs, download, SCOPE | {"item": {"url": "u", "how": "HEAD"}, "index": 7})
    expected = {"url": "u", "body": "7", "tags": [{"url": "u", "how": "HEAD"}], "method": "HEAD"}
    assert rendered == expected | {"headers": None, "follow": None}
    with pytest.raises(TaskError, match="`method` must be one of"):
        render_inputs(task.inputs, download, SCOPE | {"item": {"url": "u", "how": "BREW"}, "index": 0})
    with pytest.raises(ExpressionError, match=r"Input `url`: `item\.url` does not exist"):
        render_inputs(task.inputs, download, SCOPE | {"item": {"how": "GET"}, "index": 0})


class _Unread(list[Any]):
    """A list that nobody may go through."""

    def __iter__(self) -> Any:
        raise AssertionError("the whole list was read")

    def __reduce__(self) -> Any:
        raise AssertionError("the whole list was copied")


def test_one_item_is_rendered_without_a_look_at_the_others(check_tasks: CheckTasks, catalogue: Any) -> None:
    task = made(check_tasks(PAGES | {"inputs": {"url": "{{item}}"}}, inputs=INPUTS))
    scope = SCOPE | {"inputs": {"urls": _Unread(["a"] * 3)}}
    assert task.for_each is not None
    items = items_of(task.for_each, scope)
    rendered = render_inputs(task.inputs, catalogue.get("web.download"), scope | {"item": items[1], "index": 1})
    assert rendered["url"] == "a"


def test_an_item_passes_on_what_it_is(check_tasks: CheckTasks) -> None:
    """Not through CEL: an integer of any size, and an object without a copy."""
    for item in (2**80, {"a": [1]}):
        report = Report()
        template = compile_template("{{ item }}", "", report)
        assert template is not None
        assert template.render({"item": item}) is item


PLACES: dict[str, Any] = {"inputs": {"urls": ["a", "b"], "rows": [{"n": 1}, {"n": 2}], "s": "text"}, "index": 1}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("inputs.urls[index]", "b"),
        ("inputs.rows[index].n", 2),
        ("inputs.rows[ index ].n + 1", 3),
        ("inputs.urls[index] + inputs.urls[0] + inputs.urls[index - 1]", "baa"),
        ("has(inputs.rows[index].n) && !has(inputs.rows[index].m)", True),
        ("index + index", 2),
    ],
)
def test_the_place_of_the_item_in_another_list(expression: str, value: Any) -> None:
    report = Report()
    template = compile_template(f"{{{{{expression}}}}}", "", report)
    assert template is not None, report.problems
    assert template.render(PLACES) == value


@pytest.mark.parametrize("expression", ["inputs.urls[index]", "inputs.urls[index] + 'x'", "inputs.s[index]"])
def test_a_place_that_is_not_there(expression: str) -> None:
    template = compile_template(f"{{{{{expression}}}}}", "", Report())
    assert template is not None
    with pytest.raises(ExpressionError, match=r"`inputs\.(urls|s)\[index\]` does not exist"):
        template.render(PLACES | {"index": 2})
    with pytest.raises(ExpressionError, match=r"\[index\]` does not exist"):
        template.render({"inputs": PLACES["inputs"]})


def test_only_that_place_is_read() -> None:
    """Else each of 10,000 items would cost a look at 10,000 others, and many pages would be too much to read."""
    scope = PLACES | {"inputs": {"urls": _Unread(["a", "b"])}}
    for expression in ("inputs.urls[index]", "inputs.urls[index] + 'x'", "has(inputs.urls[index])"):
        template = compile_template(f"{{{{{expression}}}}}", "", Report())
        assert template is not None
        assert template.render(scope) in ("b", "bx", True)


@pytest.mark.parametrize(
    ("value", "problems"),
    [
        ("{{inputs.urls[index]}}", []),
        ("{{tasks.first.outputs.html[index]}}", []),
        ("{{inputs.what[index].deep[index]}}", []),
        ("{{inputs.n[index]}}", ["type_mismatch"]),
        ("{{inputs.s[index]}}", ["type_mismatch"]),
        ("{{inputs.url[index]}}", ["unknown_reference"]),
    ],
)
def test_references_by_index(check_tasks: CheckTasks, value: str, problems: list[str]) -> None:
    first = PAGES | {"name": "first"}
    result = check_tasks(first, PAGES | {"inputs": {"url": value}}, inputs=INPUTS)
    assert [code for _, code in found(result)] == problems
    assert [code for _, code in found(check_tasks(first, after(value), inputs=INPUTS))] == ["unknown_reference"]
