"""What happens at run time: inputs and condition of a task, renames, outputs of a workflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from dataflow.lib.errors import TaskError
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType, ValueType
from workflows.definition import (
    Checked,
    Definition,
    ExpressionError,
    MissingThrough,
    OutputError,
    Template,
    check_condition,
    evaluate_outputs,
    rename_outputs,
    render_inputs,
)
from workflows.definition.expressions import compile_template
from workflows.definition.problems import Report

CheckTasks = Callable[..., Checked]
SCOPE: dict[str, Any] = {
    "inputs": {"n": 5, "f": 2.0, "s": "text", "none": None, "l": [1], "t": True, "o": {}, "file": "fl-a1"},
    "tasks": {
        "done": {"status": "COMPLETED", "outputs": {"text": "out", "none": None}},
        "skipped": {"status": "SKIPPED", "outputs": None},
    },
}


def type_with(*fields: Field) -> TaskType:
    class Made(TaskType):
        name = title = category = description = "made"
        inputs = fields
        outputs = ()

        def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
            return {}

    return Made()


def made(name: str, kind: ValueType, **more: Any) -> Field:
    return Field(name=name, type=kind, description="", **more)


def templates(**values: Any) -> dict[str, Template]:
    report = Report()
    compiled = {name: compile_template(value, "", report) for name, value in values.items()}
    assert not report.problems
    return {name: one for name, one in compiled.items() if one is not None}


def render(value: Any, field: Field, scope: Mapping[str, Any] = SCOPE) -> Any:
    return render_inputs(templates(**{field.name: value}), type_with(field), scope)[field.name]


def test_every_input_has_a_value() -> None:
    task_type = type_with(made("a", "text", required=True), made("b", "text", default="B"), made("c", "number"))
    assert render_inputs(templates(a="{{inputs.s}}"), task_type, SCOPE) == {"a": "text", "b": "B", "c": None}


def test_a_default_that_another_input_takes_the_place_of() -> None:
    task_type = type_with(made("a", "text", default="A", unless="b"), made("b", "text"))
    assert render_inputs(templates(), task_type, SCOPE) == {"a": "A", "b": None}
    assert render_inputs(templates(b="x"), task_type, SCOPE) == {"a": None, "b": "x"}
    assert render_inputs(templates(a="own", b="x"), task_type, SCOPE) == {"a": "own", "b": "x"}


@pytest.mark.parametrize(
    ("value", "kind", "result"),
    [
        ("{{inputs.n}}", "text", "5"),
        ("{{inputs.f}}", "text", "2.0"),
        ("{{inputs.n}}", "number", 5),
        ("{{inputs.file}}", "file", {"file_id": "fl-a1"}),
        ({"url": "https://example.com/{{inputs.n}}"}, "file", {"url": "https://example.com/5"}),
        ("{{inputs.none}}", "text", None),
        ("{{inputs.t}}", "any", True),
    ],
)
def test_values_are_converted(value: Any, kind: ValueType, result: Any) -> None:
    assert render(value, made("x", kind)) == result


def test_null_takes_the_default() -> None:
    assert render("{{inputs.none}}", made("x", "text", default="d")) == "d"
    assert render("{{tasks.skipped.outputs.text}}", made("x", "text", default="d", required=True)) == "d"


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("{{inputs.s}}", made("x", "number")),
        ("{{inputs.t}}", made("x", "number")),
        ("{{inputs.t}}", made("x", "text")),
        ("{{inputs.l}}", made("x", "object")),
        ("{{inputs.o}}", made("x", "list")),
        ("{{inputs.s}}", made("x", "file")),
        ("{{inputs.s}}", made("x", "text", enum=("a", "b"))),
        ("{{inputs.n}}", made("x", "number", minimum=6)),
        ("{{inputs.n}}", made("x", "number", maximum=4)),
        ("{{inputs.s}}", made("x", "text", min_length=5)),
        ("{{inputs.s}}", made("x", "text", max_length=3)),
        ("{{inputs.none}}", made("x", "text", required=True)),
        ("{{tasks.done.outputs.none}}", made("x", "text", required=True)),
    ],
)
def test_a_value_that_does_not_fit_is_a_validation_error_naming_the_input(value: str, field: Field) -> None:
    with pytest.raises(TaskError, match="`x`") as error:
        render(value, field)
    assert (error.value.code, error.value.retryable) == ("validation", False)


def test_text_that_is_no_id_is_told_to_be_no_file() -> None:
    with pytest.raises(TaskError, match="`x` must be a file, not text"):
        render("{{inputs.s}}", made("x", "file"))


@pytest.mark.parametrize(
    "value",
    [
        "{{tasks.skipped.outputs.text}}",
        "a {{tasks.skipped.outputs.text}}",
        "{{inputs.t ? tasks.skipped.outputs.text : null}}",
        "{{tasks.skipped.outputs.text + 'x'}}",
        "{{tasks.skipped.outputs.json.deep[0]}}",
    ],
)
def test_a_required_input_from_a_skipped_task_is_missing(value: str) -> None:
    with pytest.raises(MissingThrough) as missing:
        render(value, made("x", "text", required=True))
    assert (missing.value.task_name, missing.value.input_name) == ("skipped", "x")


@pytest.mark.parametrize("value", ["{{tasks.skipped.outputs.text}}", "a {{tasks.skipped.outputs.text}}"])
def test_an_optional_input_from_a_skipped_task_is_null(value: str) -> None:
    assert render(value, made("x", "text")) is None


def test_a_skipped_task_can_be_asked_for() -> None:
    value = "{{has(tasks.skipped.outputs.text) ? tasks.skipped.outputs.text : tasks.done.outputs.text}}"
    assert render(value, made("x", "text", required=True)) == "out"


def test_an_expression_that_fails_names_the_input_and_the_path() -> None:
    with pytest.raises(ExpressionError, match=r"Input `x`: `inputs.nope` does not exist"):
        render("{{inputs.nope}}", made("x", "text"))


@pytest.mark.parametrize(
    ("condition", "result"), [(True, True), (False, False), ("inputs.n > 3", True), ("{{inputs.n > 5}}", False)]
)
def test_conditions(check_tasks: CheckTasks, condition: object, *, result: bool) -> None:
    inputs = [{"name": "n", "type": "number"}]
    definition = check_tasks(
        {"name": "a", "type": "text.echo", "inputs": {"text": "x"}, "condition": condition}, inputs=inputs
    ).definition
    assert definition is not None
    assert definition.tasks[0].condition is not None
    assert check_condition(definition.tasks[0].condition, SCOPE) is result


@pytest.mark.parametrize("value", ["{{inputs.s}}", "{{inputs.n}}", "{{inputs.none}}"])
def test_a_condition_that_is_no_boolean_is_an_error(value: str) -> None:
    with pytest.raises(ExpressionError, match="not true or false"):
        check_condition(templates(c=value)["c"], SCOPE)


@pytest.mark.parametrize("value", ["{{tasks.skipped.outputs.found}}", "{{tasks.skipped.outputs.size > 3}}"])
def test_a_condition_over_a_skipped_task_says_so(value: str) -> None:
    with pytest.raises(ExpressionError) as error:
        check_condition(templates(c=value)["c"], SCOPE)
    assert error.value.missing == ("skipped",)


def test_renamed_outputs_keep_their_first_name(check_tasks: CheckTasks) -> None:
    task = {
        "name": "a",
        "type": "text.echo",
        "inputs": {"text": "x"},
        "outputs": [{"name": "b", "value": "{{outputs.text}}"}],
    }
    definition = check_tasks(task).definition
    assert definition is not None
    assert rename_outputs(definition.tasks[0].renames, {"text": "x"}) == {"text": "x", "b": "x"}


def workflow(check_tasks: CheckTasks, *outputs: dict[str, Any]) -> Definition:
    tasks = [
        {"name": "done", "type": "text.echo", "inputs": {"text": "x"}},
        {"name": "skipped", "type": "web.download", "inputs": {"url": "x"}},
    ]
    result = check_tasks(
        *tasks, outputs=list(outputs), inputs=[{"name": "none", "type": "any"}, {"name": "n", "type": "number"}]
    )
    assert result.definition is not None, result.problems
    return result.definition


def test_outputs_come_in_order_and_refer_to_earlier_ones(check_tasks: CheckTasks) -> None:
    definition = workflow(
        check_tasks,
        {"name": "a", "type": "text", "value": "{{tasks.done.outputs.text}}"},
        {"name": "b", "type": "text", "value": "{{outputs.a}}{{outputs.a}}"},
        {"name": "c", "type": "text", "value": "{{inputs.n}}"},
        {"name": "d", "type": "any", "value": "{{inputs.none}}"},
    )
    done = evaluate_outputs(definition, SCOPE)
    assert list(done.items()) == [("a", "out"), ("b", "outout"), ("c", "5"), ("d", None)]


def test_an_output_is_null_where_its_task_was_skipped(check_tasks: CheckTasks) -> None:
    definition = workflow(
        check_tasks,
        {"name": "a", "type": "text", "value": "{{tasks.skipped.outputs.html}}"},
        {"name": "b", "type": "text", "value": "{{outputs.a}}"},
        {"name": "c", "type": "text", "value": "{{outputs.b}}"},
    )
    assert evaluate_outputs(definition, SCOPE) == {"a": None, "b": None, "c": None}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("text", "{{inputs.none}}"),
        ("number", "{{size(inputs.nope)}}"),
        ("number", "{{string(inputs.n)}}"),
        ("file", "{{string(inputs.n)}}"),
    ],
)
def test_an_output_that_cannot_be_is_named(check_tasks: CheckTasks, kind: str, value: str) -> None:
    definition = workflow(check_tasks, {"name": "bad", "type": kind, "value": value.replace("nope", "none")})
    with pytest.raises(OutputError, match="`bad`") as error:
        evaluate_outputs(definition, SCOPE)
    assert error.value.name == "bad"
