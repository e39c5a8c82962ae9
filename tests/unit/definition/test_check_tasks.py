"""Task types, their inputs, renames and fallbacks, checked against the catalogue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from workflows.definition import Checked

CheckTasks = Callable[..., Checked]


def echo(text: Any = "x", name: str = "a", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "text.echo", "inputs": {"text": text}, **more}


def download(**inputs: Any) -> dict[str, Any]:
    return {"name": "a", "type": "web.download", "inputs": {"url": "https://example.com", **inputs}}


def found(checked: Checked) -> list[tuple[str, str]]:
    return [(one.pointer, one.code) for one in checked.problems]


@pytest.mark.parametrize("spelling", ["web.extract_text", "Web.ExtractText"])
def test_a_type_is_known_by_every_spelling(check_tasks: CheckTasks, spelling: str) -> None:
    definition = check_tasks({"name": "a", "type": spelling, "inputs": {"html": "x"}}).definition
    assert definition is not None
    assert (definition.tasks[0].type, definition.tasks[0].spelled_type) == ("web.extract_text", spelling)


@pytest.mark.parametrize(
    ("task_type", "given", "current"),
    [
        ("text.echo", "TEXT", "text"),
        ("openai.completion", "instructions", "prompt"),
        ("openai.completion", "Instructions", "prompt"),
        ("shop", "Key", "Key"),
        ("shop", "key", "key"),
        ("shop", "OTHER", "Other"),
    ],
)
def test_an_input_is_known_by_alias_and_without_case(
    check_tasks: CheckTasks, task_type: str, given: str, current: str
) -> None:
    more = {"text": "t"} if task_type == "openai.completion" else {}
    definition = check_tasks({"name": "a", "type": task_type, "inputs": {given: "x", **more}}).definition
    assert definition is not None
    assert current in definition.tasks[0].inputs


def test_case_is_not_guessed_where_two_inputs_could_be_meant(check_tasks: CheckTasks) -> None:
    assert found(check_tasks({"name": "a", "type": "shop", "inputs": {"KEY": "x"}})) == [
        ("/tasks/0/inputs/KEY", "unknown_input")
    ]


def test_the_list_form_means_the_same(check_tasks: CheckTasks) -> None:
    result = check_tasks({"name": "a", "type": "text.echo", "inputs": [{"name": "text", "value": "{{execution.id}}"}]})
    assert result.definition is not None
    assert result.definition.tasks[0].inputs["text"].literal == "{{execution.id}}"


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        ({"name": "a", "type": "text.echo"}, ("/tasks/0/inputs/text", "missing_input")),
        (echo(None), ("/tasks/0/inputs/text", "missing_input")),
        (download(urll="x"), ("/tasks/0/inputs/urll", "unknown_input")),
        (download(URL="x"), ("/tasks/0/inputs/URL", "duplicate_input")),
        (echo(5), ("/tasks/0/inputs/text", "wrong_type")),
        (echo(["x"]), ("/tasks/0/inputs/text", "wrong_type")),
        (download(method="POST"), ("/tasks/0/inputs/method", "not_in_enum")),
        (download(headers="x"), ("/tasks/0/inputs/headers", "wrong_type")),
        (download(follow="true"), ("/tasks/0/inputs/follow", "wrong_type")),
        (download(tags={}), ("/tasks/0/inputs/tags", "wrong_type")),
        (download(headers={"a": ["{{nope"]}), ("/tasks/0/inputs/headers/a/0", "expression_syntax")),
        ({"name": "a", "type": "text.truncate", "inputs": {"text": "x", "length": -1}}, ("/tasks/0/inputs/length", "below_minimum")),
        ({"name": "a", "type": "text.truncate", "inputs": {"text": "x", "length": 101}}, ("/tasks/0/inputs/length", "above_maximum")),
        ({"name": "a", "type": "text.truncate", "inputs": {"text": "x", "length": "5"}}, ("/tasks/0/inputs/length", "wrong_type")),
        ({"name": "a", "type": "text.truncate", "inputs": {"text": "x", "length": True}}, ("/tasks/0/inputs/length", "wrong_type")),
        ({"name": "a", "type": "text.truncate", "inputs": {"text": "x" * 1001, "length": 1}}, ("/tasks/0/inputs/text", "too_long")),
        ({"name": "a", "type": "video.extract_audio", "inputs": {"video": "x.mp4"}}, ("/tasks/0/inputs/video", "wrong_type")),
        (echo(fallback={"task": "nope"}), ("/tasks/0/fallback/task", "unknown_task_type")),
        (echo(fallback={"task": "echo"}), ("/tasks/0/fallback/inputs/text", "missing_input")),
        (echo(fallback={"task": "echo", "inputs": {"text": "{{inputs.q}}"}}), ("/tasks/0/fallback/inputs/text", "unknown_reference")),
        (echo(outputs=[{"name": "b", "value": "{{outputs.tekst}}"}]), ("/tasks/0/outputs/0/value", "unknown_reference")),
        (echo(outputs=[{"name": "b", "value": "text"}]), ("/tasks/0/outputs/0/value", "invalid_rename")),
        (echo(outputs=[{"name": "b", "value": "{{outputs.text.x}}"}]), ("/tasks/0/outputs/0/value", "invalid_rename")),
        (echo(outputs=[{"name": "b", "value": "{{size(outputs.text)}}"}]), ("/tasks/0/outputs/0/value", "invalid_rename")),
        (echo(outputs=[{"name": "b", "value": "{{outputs.text}}"}] * 2), ("/tasks/0/outputs/1/name", "duplicate_name")),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_type_is_found(
    check_tasks: CheckTasks, task: dict[str, Any], problem: tuple[str, str]
) -> None:
    assert found(check_tasks(task)) == [problem]


def test_a_rename_cannot_hide_an_output(check_tasks: CheckTasks) -> None:
    task = download() | {"outputs": [{"name": "html", "value": "{{outputs.status_code}}"}]}
    assert found(check_tasks(task)) == [("/tasks/0/outputs/0/name", "duplicate_name")]


@pytest.mark.parametrize("video", ["fl-4g7h8j9k", {"file_id": "fl-4g7h8j9k"}, {"url": "https://example.com/a.mp4"}])
def test_a_file_can_be_given_literally(check_tasks: CheckTasks, video: object) -> None:
    assert found(check_tasks({"name": "a", "type": "video.extract_audio", "inputs": {"video": video}})) == []


def test_null_for_an_optional_input_is_as_if_it_were_not_given(check_tasks: CheckTasks) -> None:
    definition = check_tasks(download(method=None)).definition
    assert definition is not None
    assert set(definition.tasks[0].inputs) == {"url"}


def test_a_fallback_that_lacks_the_output_is_a_warning(check_tasks: CheckTasks) -> None:
    result = check_tasks(echo(fallback={"task": "text.size", "inputs": {"text": "x"}}))
    assert [(one.pointer, one.code) for one in result.warnings] == [
        ("/tasks/0/fallback/task", "fallback_output_missing")
    ]
    assert result.definition is not None


def test_what_refers_to_a_task_that_never_runs_is_a_warning(check_tasks: CheckTasks) -> None:
    output = {"name": "o", "type": "text", "value": "{{tasks.a.outputs.text}}"}
    result = check_tasks(echo(condition=False), outputs=[output])
    assert [(one.pointer, one.code) for one in result.warnings] == [("/outputs/0/value", "unreachable_output")]
