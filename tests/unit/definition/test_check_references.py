"""References: that they resolve, that their types fit, the order of tasks, conditions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from workflows.definition import Checked, plan_of

ITEM_ONLY = "`item` and `index` are for inputs of a task with `for_each` only, not for its condition or its list."
CheckTasks = Callable[..., Checked]
INPUTS = [
    {"name": f"a_{kind}", "type": kind} for kind in ("text", "number", "boolean", "file", "object", "list", "any")
]
PAGE = {"name": "page", "type": "web.download", "inputs": {"url": "https://example.com"}}
TARGETS = {
    "text": ("web.download", "body", {"url": "x"}),
    "number": ("text.truncate", "length", {"text": "x"}),
    "boolean": ("web.download", "follow", {"url": "x"}),
    "file": ("video.extract_audio", "video", {}),
    "object": ("web.download", "headers", {"url": "x"}),
    "list": ("web.download", "tags", {"url": "x"}),
}


def echo(text: Any, name: str = "a", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "text.echo", "inputs": {"text": text}, **more}


def found(checked: Checked) -> list[tuple[str, str]]:
    return [(one.pointer, one.code) for one in checked.problems]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", ["text", "number", "boolean", "file", "object", "list", "any"])
def test_a_plain_reference_fits_its_own_type_any_and_number_fits_text(
    check_tasks: CheckTasks, source: str, target: str
) -> None:
    task_type, name, more = TARGETS[target]
    result = check_tasks(
        {"name": "a", "type": task_type, "inputs": {**more, name: f"{{{{inputs.a_{source}}}}}"}}, inputs=INPUTS
    )
    good = source in (target, "any") or (source, target) == ("number", "text")
    assert found(result) == ([] if good else [(f"/tasks/0/inputs/{name}", "type_mismatch")])


@pytest.mark.parametrize(
    ("value", "target", "good"),
    [
        ("{{inputs.a_text}}!", "text", True),
        ("{{inputs.a_text}}!", "number", False),
        ("{{inputs.a_file}}!", "text", False),
        ("{{inputs.a_file.name}}!", "text", True),
        ("{{inputs.a_file.size}}", "number", True),
        ("{{inputs.a_file.name}}", "number", False),
        ("{{size(inputs.a_text)}}", "number", True),
        ({"k": "{{inputs.a_any}}"}, "object", True),
        ({"k": "{{inputs.a_any}}"}, "list", False),
        ({"file_id": "{{inputs.a_text}}"}, "file", True),
        (["{{inputs.a_any}}"], "list", True),
        (["{{inputs.a_any}}"], "text", False),
        ("{{inputs.a_object.k}}", "number", True),
        ("{{inputs.a_list[0]}}", "number", True),
        ("{{secrets.KEY}}", "text", True),
        ("{{secrets.KEY}}", "number", False),
        ("{{execution.started_at}}", "text", True),
        ("{{workflow.id}}", "text", True),
    ],
)
def test_other_templates_are_checked_as_far_as_they_can_be(
    check_tasks: CheckTasks, value: Any, target: str, *, good: bool
) -> None:
    task_type, name, more = TARGETS[target]
    result = check_tasks({"name": "a", "type": task_type, "inputs": {**more, name: value}}, inputs=INPUTS)
    assert found(result) == ([] if good else [(f"/tasks/0/inputs/{name}", "type_mismatch")])


@pytest.mark.parametrize(
    ("expression", "code", "hint"),
    [
        ("inputs.a_txt", "unknown_reference", "Did you mean `a_text`?"),
        ("inputs.a_txt + 'x'", "unknown_reference", "Did you mean `a_text`?"),
        ("input.a_text", "unknown_reference", "Did you mean `inputs`?"),
        ("tasks.pag.outputs.html", "unknown_reference", "Did you mean `page`?"),
        ("tasks.page.outputs.htm", "unknown_reference", "Did you mean `html`?"),
        ("tasks.page.html", "unknown_reference", "Did you mean `tasks.page.outputs.html`?"),
        ("tasks.page.output.html", "unknown_reference", ""),
        ("tasks.page", "unknown_reference", ""),
        ("tasks", "unknown_reference", ""),
        ("tasks[inputs.a_text].outputs.html", "unknown_reference", "Write `tasks.TASK.outputs.NAME`."),
        ("tasks.page.status.x", "type_mismatch", ""),
        ("tasks.page.outputs.html.x", "type_mismatch", ""),
        ("tasks.page.outputs.html[0]", "type_mismatch", ""),
        ("tasks.page.outputs.links.x", "type_mismatch", ""),
        ("tasks.page.outputs.headers[0]", "type_mismatch", ""),
        ("execution.idd", "unknown_reference", "Did you mean `id`?"),
        ("execution.id.x", "type_mismatch", ""),
        ("workflow.name", "unknown_reference", "There is `id`."),
        ("secrets", "unknown_reference", "Write `secrets.NAME`."),
        ("secrets.a.b", "unknown_reference", "Write `secrets.NAME`."),
        ("outputs.x", "unknown_reference", "Write `tasks.TASK.outputs.NAME`; `outputs.NAME` is for later outputs of the workflow."),
        ("item", "unknown_reference", ITEM_ONLY),
        ("items", "unknown_reference", "Expressions here know inputs, tasks, execution, workflow, secrets."),
        ("index + 1", "unknown_reference", ITEM_ONLY),
        ("inputs.a_list.map(x, x)", "expression_macro", ""),
        ("1 +", "expression_syntax", ""),
        ("", "expression_syntax", ""),
        ("siz(inputs.a_text)", "unknown_function", "Did you mean `size`?"),
        ("inputs.a_text.startWith('a')", "unknown_function", "Did you mean `startsWith`?"),
        ("'" + "x" * 2000 + "'", "too_long", ""),
    ],
)  # fmt: skip
def test_a_reference_that_means_nothing_is_found(
    check_tasks: CheckTasks, expression: str, code: str, hint: str
) -> None:
    result = check_tasks(PAGE, echo("{{" + expression + "}}"), inputs=INPUTS)
    assert ("/tasks/1/inputs/text", code) in found(result)
    assert not hint or hint in [one.hint for one in result.problems]


def test_an_unknown_type_gives_no_further_complaints(check_tasks: CheckTasks) -> None:
    result = check_tasks({"name": "p", "type": "nope", "inputs": {"x": 1}}, echo("{{tasks.p.outputs.anything}}"))
    assert found(result) == [("/tasks/0/type", "unknown_task_type")]


def test_a_renamed_output_has_both_names(check_tasks: CheckTasks) -> None:
    first = echo("x", outputs=[{"name": "copy", "value": "{{outputs.text}}"}])
    assert found(check_tasks(first, echo("{{tasks.a.outputs.copy}} {{tasks.a.outputs.text}}", "b"))) == []


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        (True, None),
        ("{{inputs.a_boolean}}", None),
        (" {{ inputs.a_boolean }} ", None),
        ("inputs.a_number > 3", None),
        ("inputs.a_any", None),
        ("tasks.page.outputs.status_code == 200", None),
        ("{{tasks.page.status == 'COMPLETED'}}", None),
        ("inputs.a_text", "type_mismatch"),
        ("inputs.a_number", "type_mismatch"),
        ("{{inputs.a_boolean}} and", "type_mismatch"),
        ("secrets.KEY == 'x'", "unknown_reference"),
        ("inputs.nope", "unknown_reference"),
        ("", "expression_syntax"),
        ("a b", "expression_syntax"),
    ],
)
def test_conditions(check_tasks: CheckTasks, condition: object, code: str | None) -> None:
    result = check_tasks(PAGE, echo("x", condition=condition), inputs=INPUTS)
    assert found(result) == ([] if code is None else [("/tasks/1/condition", code)])


def test_a_task_waits_for_the_one_before_or_what_it_says_and_for_what_it_refers_to(check_tasks: CheckTasks) -> None:
    result = check_tasks(
        echo("x", "a"),
        echo("x", "b"),
        echo("x", "c", depends_on=[]),
        echo("{{tasks.a.outputs.text}}", "d", depends_on=["c"]),
        echo("x", "e", depends_on=[], condition="tasks.b.status == 'COMPLETED'"),
        echo("x", "f", depends_on=[], fallback={"task": "echo", "inputs": {"text": "{{tasks.c.outputs.text}}"}}),
    )
    assert result.definition is not None
    dependencies = {one.name: one.dependencies for one in result.definition.tasks}
    assert dependencies == {"a": (), "b": ("a",), "c": (), "d": ("c", "a"), "e": ("b",), "f": ("c",)}
    assert plan_of(result.definition)["stages"] == [["a", "c"], ["b", "d", "f"], ["e"]]
    assert plan_of(result.definition)["tasks"][3] == {"name": "d", "type": "text.echo", "waits_for": ["c", "a"]}


@pytest.mark.parametrize(
    ("tasks", "problem"),
    [
        ([echo("{{tasks.b.outputs.text}}"), echo("x", "b")], ("/tasks/0/inputs/text", "reference_order")),
        ([echo("{{tasks.b.outputs.text}}", depends_on=["b"]), echo("x", "b", depends_on=[])], None),
        (
            [
                echo("{{tasks.c.outputs.text}}", depends_on=["b"]),
                echo("x", "b", depends_on=["c"]),
                echo("x", "c", depends_on=[]),
            ],
            None,
        ),
        ([echo("{{tasks.a.outputs.text}}")], ("/tasks/0/inputs/text", "cycle")),
        ([echo("x", depends_on=["a"])], ("/tasks/0/depends_on/0", "cycle")),
        ([echo("x", depends_on=["b"]), echo("x", "b")], ("/tasks/0/depends_on", "cycle")),
        ([echo("x", depends_on=["q"])], ("/tasks/0/depends_on/0", "unknown_reference")),
        ([echo("x", depends_on=[["a"]])], ("/tasks/0/depends_on/0", "wrong_type")),
        ([echo("x"), echo("x", "b", depends_on=["a", "a"])], ("/tasks/1/depends_on/1", "duplicate_name")),
    ],
)
def test_order(check_tasks: CheckTasks, tasks: list[Any], problem: tuple[str, str] | None) -> None:
    assert found(check_tasks(*tasks)) == ([] if problem is None else [problem])


def test_a_cycle_is_spelled_out(check_tasks: CheckTasks) -> None:
    tasks = [echo("x", "a", depends_on=["c"]), echo("x", "b", depends_on=["a"]), echo("x", "c", depends_on=["b"])]
    (problem,) = check_tasks(*tasks, echo("x", "d")).problems
    assert problem.detail == "These tasks wait for each other: `a` → `c` → `b` → `a`."


@pytest.mark.parametrize(
    ("value", "kind", "problem"),
    [
        ("{{tasks.page.outputs.html}}", "text", None),
        ("{{tasks.page.outputs.status_code}}", "text", None),
        ("{{tasks.page.outputs.html}}", "number", "type_mismatch"),
        ("{{tasks.page.outputs.json}}", "file", None),
        ("{{outputs.first}}", "text", None),
        ("{{outputs.first}}", "number", "type_mismatch"),
        ("{{outputs.later}}", "text", "unknown_reference"),
        ("{{outputs.own}}", "text", "unknown_reference"),
        ("{{secrets.KEY}}", "text", "unknown_reference"),
        ("{{tasks.page.outputs}}", "object", None),
        ({"a": ["{{tasks.page.outputs.html}}"]}, "object", None),
        (5, "number", None),
        (None, "any", None),
    ],
)
def test_workflow_outputs(check_tasks: CheckTasks, value: object, kind: str, problem: str | None) -> None:
    outputs = [
        {"name": "first", "type": "text", "value": "x"},
        {"name": "own", "type": kind, "value": value},
        {"name": "later", "type": "text", "value": "x"},
    ]
    result = check_tasks(PAGE, outputs=outputs)
    assert found(result) == ([] if problem is None else [("/outputs/1/value", problem)])
