"""The shape of a definition: each field, missing, wrong, too long, unknown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks_lib.base import MISSING
from workflows.definition import Checked

Check = Callable[[object], Checked]
ECHO = {"name": "a", "type": "text.echo", "inputs": {"text": "hi"}}


def document(**fields: Any) -> dict[str, Any]:
    return {"title": "T", "tasks": [ECHO], **fields}


def task(**fields: Any) -> dict[str, Any]:
    return document(tasks=[ECHO | fields])


def one_input(**fields: Any) -> dict[str, Any]:
    tasks = [ECHO | {"condition": "size(inputs) > 0"}]  # uses every input
    return document(tasks=tasks, inputs=[{"name": "a", "type": "text", **fields}])


def places(checked: Checked) -> list[tuple[str, str]]:
    return [(one.pointer, one.code) for one in checked.problems]


def test_the_least_definition_is_filled_with_defaults(checked: Check) -> None:
    definition = checked(
        {"title": "T", "tasks": [{"name": "a", "type": "text.echo", "inputs": {"text": "x"}}]}
    ).definition
    assert definition is not None
    assert (definition.title, definition.description, definition.inputs, definition.outputs) == ("T", "", (), ())
    assert (definition.monitoring, definition.timeout, definition.labels) == (None, None, {})
    (only,) = definition.tasks
    assert (only.name, only.type, only.spelled_type, only.dependencies) == ("a", "text.echo", "text.echo", ())
    assert (only.condition, only.timeout, only.fallback, only.continue_on_failure, only.renames) == (
        None,
        None,
        None,
        False,
        (),
    )
    retry = only.retry
    assert (retry.attempts, retry.delay, retry.multiplier, retry.max_delay) == (0, 1, 1, 3600)
    assert (retry.max_duration, retry.jitter, retry.on, retry.except_) == (None, 0.1, (), ())


def test_every_field_is_kept(checked: Check) -> None:
    result = checked(
        {
            "title": "All",
            "description": "d",
            "inputs": [
                {
                    "name": "n",
                    "type": "number",
                    "description": "i",
                    "example": 3,
                    "required": False,
                    "minimum": 1,
                    "maximum": 9,
                    "enum": [3, 4],
                },
                {"name": "s", "type": "text", "default": "ab", "min_length": 1, "max_length": 3, "pattern": "^a"},
            ],
            "tasks": [
                {
                    "name": "a",
                    "type": "text.echo",
                    "inputs": {"text": "{{inputs.s}}"},
                    "outputs": [{"name": "copy", "value": "{{outputs.text}}"}],
                    "depends_on": [],
                    "condition": "inputs.n > 1",
                    "retry": {
                        "attempts": 3,
                        "delay": 2,
                        "multiplier": 2,
                        "max_delay": 9,
                        "max_duration": 60,
                        "jitter": 0,
                        "on": ["timeout"],
                        "except": ["validation"],
                    },
                    "timeout": 5,
                    "fallback": {"task": "echo", "inputs": {"text": "x"}},
                    "continue_on_failure": True,
                }
            ],
            "outputs": [{"name": "o", "type": "text", "value": "{{tasks.a.outputs.copy}}", "description": "od"}],
            "monitoring": {"webhook_url": "https://example.com/"},
            "timeout": 60,
            "labels": {"team": "x"},
        }
    )
    assert result.problems == result.warnings == ()
    definition = result.definition
    assert definition is not None
    number, string = definition.inputs
    assert (number.required, number.default, number.example, number.minimum, number.maximum, number.enum) == (
        False,
        MISSING,
        3,
        1,
        9,
        (3, 4),
    )
    assert (string.default, string.min_length, string.max_length, string.pattern, string.required) == (
        "ab",
        1,
        3,
        "^a",
        True,
    )
    (only,) = definition.tasks
    retry = only.retry
    assert (retry.attempts, retry.delay, retry.multiplier, retry.max_delay) == (3, 2, 2, 9)
    assert (retry.max_duration, retry.jitter, retry.on, retry.except_) == (60, 0, ("timeout",), ("validation",))
    assert only.fallback is not None
    assert only.fallback.type == "text.echo"
    assert [(one.name, one.source) for one in only.renames] == [("copy", "text")]
    assert (only.timeout, only.continue_on_failure) == (5, True)
    (output,) = definition.outputs
    assert (output.name, output.type, output.description) == ("o", "text", "od")
    assert (definition.timeout, definition.labels, definition.monitoring) == (
        60,
        {"team": "x"},
        {"webhook_url": "https://example.com/"},
    )


LONG = "x" * 65
WRONG: list[tuple[object, str, str]] = [
    # the workflow
    ([], "", "wrong_type"),
    (None, "", "wrong_type"),
    ({"tasks": [ECHO]}, "/title", "required"),
    (document(title=1), "/title", "wrong_type"),
    (document(title=" "), "/title", "too_short"),
    (document(title="x" * 201), "/title", "too_long"),
    (document(description="x" * 10_001), "/description", "too_long"),
    (document(description=None), "/description", "wrong_type"),
    (document(inputs={}), "/inputs", "wrong_type"),
    (document(inputs=["a"]), "/inputs/0", "wrong_type"),
    (document(outputs="x"), "/outputs", "wrong_type"),
    ({"title": "T"}, "/tasks", "required"),
    (document(tasks=[]), "/tasks", "too_short"),
    (document(tasks=None), "/tasks", "wrong_type"),
    (document(tasks=[[]]), "/tasks/0", "wrong_type"),
    (document(tasks=[ECHO | {"name": f"t{n}"} for n in range(501)]), "/tasks", "too_many"),
    (document(timeout=0), "/timeout", "below_minimum"),
    (document(timeout=True), "/timeout", "wrong_type"),
    (document(timeout=float("inf")), "/timeout", "wrong_type"),
    (document(timeout=1e9), "/timeout", "above_maximum"),
    (document(titel="x"), "/titel", "unknown_field"),
    (document(**{"a/b~c": 1}), "/a~1b~0c", "unknown_field"),
    (document(monitoring=[]), "/monitoring", "wrong_type"),
    (document(labels={"a": 1}), "/labels/a", "wrong_type"),
    # names
    (task(name="1a"), "/tasks/0/name", "invalid_name"),
    (task(name="é"), "/tasks/0/name", "invalid_name"),
    (task(name="a\n"), "/tasks/0/name", "invalid_name"),
    (task(name=""), "/tasks/0/name", "invalid_name"),
    (task(name=LONG), "/tasks/0/name", "invalid_name"),
    (task(name=["a"]), "/tasks/0/name", "wrong_type"),
    (document(tasks=[ECHO, ECHO]), "/tasks/1/name", "duplicate_name"),
    (document(tasks=[{"type": "text.echo", "inputs": {"text": ""}}]), "/tasks/0/name", "required"),
    # inputs
    (one_input(sensitive="yes"), "/inputs/0/sensitive", "wrong_type"),
    (one_input(sensible=True), "/inputs/0/sensible", "unknown_field"),
    (one_input(type="string"), "/inputs/0/type", "unknown_type"),
    (one_input(type=5), "/inputs/0/type", "wrong_type"),
    (document(inputs=[{"name": "a"}]), "/inputs/0/type", "required"),
    (one_input(required="yes"), "/inputs/0/required", "wrong_type"),
    (one_input(default=5), "/inputs/0/default", "wrong_type"),
    (one_input(default=None), "/inputs/0/default", "wrong_type"),
    (one_input(type="number", default=True), "/inputs/0/default", "wrong_type"),
    (one_input(type="file", default="x"), "/inputs/0/default", "wrong_type"),
    (one_input(enum=[]), "/inputs/0/enum", "too_short"),
    (one_input(enum="a"), "/inputs/0/enum", "wrong_type"),
    (one_input(enum=["a", 1]), "/inputs/0/enum/1", "wrong_type"),
    (one_input(enum=["a"], default="b"), "/inputs/0/default", "not_in_enum"),
    (one_input(type="number", minimum=3, default=2), "/inputs/0/default", "below_minimum"),
    (one_input(type="number", maximum=3, default=4), "/inputs/0/default", "above_maximum"),
    (one_input(min_length=3, default="ab"), "/inputs/0/default", "too_short"),
    (one_input(max_length=1, default="ab"), "/inputs/0/default", "too_long"),
    (one_input(pattern="^x", default="ab"), "/inputs/0/default", "pattern_mismatch"),
    (one_input(pattern="("), "/inputs/0/pattern", "invalid_pattern"),
    (one_input(pattern="(?=a)"), "/inputs/0/pattern", "invalid_pattern"),
    (one_input(pattern="x" * 1001), "/inputs/0/pattern", "invalid_pattern"),
    (one_input(minimum=1), "/inputs/0/minimum", "not_applicable"),
    (one_input(type="number", pattern="a"), "/inputs/0/pattern", "not_applicable"),
    (one_input(type="number", minimum=2, maximum=1), "/inputs/0/minimum", "invalid_range"),
    (one_input(min_length=2, max_length=1), "/inputs/0/min_length", "invalid_range"),
    (one_input(min_length=-1), "/inputs/0/min_length", "below_minimum"),
    (one_input(max_length=1.5), "/inputs/0/max_length", "wrong_type"),
    # tasks
    (task(foreach="{{inputs.a}}"), "/tasks/0/foreach", "unknown_field"),
    (task(type=""), "/tasks/0/type", "too_short"),
    (task(type=7), "/tasks/0/type", "wrong_type"),
    (task(inputs="x"), "/tasks/0/inputs", "wrong_type"),
    (task(inputs=[{"value": "x"}]), "/tasks/0/inputs/0/name", "required"),
    (task(inputs=[{"name": "text"}]), "/tasks/0/inputs/0/value", "required"),
    (task(inputs=[{"name": "text", "value": "x", "x": 1}]), "/tasks/0/inputs/0/x", "unknown_field"),
    (task(outputs={}), "/tasks/0/outputs", "wrong_type"),
    (task(outputs=[{"name": "b"}]), "/tasks/0/outputs/0/value", "required"),
    (task(depends_on="a"), "/tasks/0/depends_on", "wrong_type"),
    (task(condition=5), "/tasks/0/condition", "wrong_type"),
    (task(condition=None), "/tasks/0/condition", "wrong_type"),
    (task(retry=3), "/tasks/0/retry", "wrong_type"),
    (task(retry={"attempt": 3}), "/tasks/0/retry/attempt", "unknown_field"),
    (task(retry={"attempts": 101}), "/tasks/0/retry/attempts", "above_maximum"),
    (task(retry={"attempts": -1}), "/tasks/0/retry/attempts", "below_minimum"),
    (task(retry={"attempts": 1.5}), "/tasks/0/retry/attempts", "wrong_type"),
    (task(retry={"delay": -1}), "/tasks/0/retry/delay", "below_minimum"),
    (task(retry={"multiplier": "2"}), "/tasks/0/retry/multiplier", "wrong_type"),
    (task(retry={"max_delay": 1e12}), "/tasks/0/retry/max_delay", "above_maximum"),
    (task(retry={"max_duration": 0}), "/tasks/0/retry/max_duration", "below_minimum"),
    (task(retry={"jitter": 1.1}), "/tasks/0/retry/jitter", "above_maximum"),
    (task(retry={"on": ["time_out"]}), "/tasks/0/retry/on/0", "unknown_error_code"),
    (task(retry={"except": [None]}), "/tasks/0/retry/except/0", "unknown_error_code"),
    (task(retry={"on": "timeout"}), "/tasks/0/retry/on", "wrong_type"),
    (task(retry={"on": []}), "/tasks/0/retry/on", "too_short"),
    (task(timeout=-1), "/tasks/0/timeout", "below_minimum"),
    (task(fallback="text.echo"), "/tasks/0/fallback", "wrong_type"),
    (task(fallback={"inputs": {}}), "/tasks/0/fallback/task", "required"),
    (task(fallback={"type": "text.echo", "task": "echo", "inputs": {"text": ""}}), "/tasks/0/fallback/type", "unknown_field"),
    (task(continue_on_failure=1), "/tasks/0/continue_on_failure", "wrong_type"),
    # outputs
    (document(outputs=[{"name": "o", "type": "text"}]), "/outputs/0/value", "required"),
    (document(outputs=[{"name": "o", "value": "x"}]), "/outputs/0/type", "required"),
    (document(outputs=[{"type": "text", "value": "x"}]), "/outputs/0/name", "required"),
    (document(outputs=[{"name": "o", "type": "text", "value": 5}]), "/outputs/0/value", "wrong_type"),
    (document(outputs=[{"name": "o", "type": "text", "value": None}]), "/outputs/0/value", "wrong_type"),
    (document(outputs=[{"name": "o", "type": "text", "value": "x", "default": 1}]), "/outputs/0/default", "unknown_field"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "pointer", "code"), WRONG, ids=[f"{code}:{pointer}:{n}" for n, (_, pointer, code) in enumerate(WRONG)]
)
def test_what_is_wrong_is_found_at_its_place(checked: Check, wrong: object, pointer: str, code: str) -> None:
    result = checked(wrong)
    assert (pointer, code) in places(result)
    assert result.definition is None
    # Nothing else is complained about, save for what follows from a document that has no tasks or fields at all.
    if isinstance(wrong, dict):
        assert {one.pointer for one in result.problems} == {pointer}


def test_all_problems_come_together(checked: Check) -> None:
    result = checked({"titel": "x", "tasks": [{"name": "1", "type": "nope", "retry": {"attempts": "x"}}], "inputs": 5})
    assert set(places(result)) == {
        ("/titel", "unknown_field"),
        ("/title", "required"),
        ("/inputs", "wrong_type"),
        ("/tasks/0/name", "invalid_name"),
        ("/tasks/0/retry/attempts", "wrong_type"),
        ("/tasks/0/type", "unknown_task_type"),
    }


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (document(titel="x"), "Did you mean `title`?"),
        (task(contineu_on_failure=True), "Did you mean `continue_on_failure`?"),
        (one_input(type="strng"), ""),
        (one_input(type="string"), "Did you mean `text`?"),
        (one_input(type="numbr"), "Did you mean `number`?"),
        (task(retry={"on": ["time_out"]}), "Did you mean `timeout`?"),
        (task(type="text.ehco"), "Did you mean `text.echo`?"),
    ],
)
def test_the_nearest_name_is_suggested(checked: Check, wrong: object, hint: str) -> None:
    assert [one.hint for one in checked(wrong).problems] == [hint]


def test_an_example_of_the_wrong_type_is_a_warning(checked: Check) -> None:
    result = checked(one_input(example=5))
    assert result.definition is not None
    assert [(one.pointer, one.code) for one in result.warnings] == [("/inputs/0/example", "wrong_type")]


def test_an_input_that_nothing_uses_is_a_warning(checked: Check) -> None:
    result = checked(document(inputs=[{"name": "a", "type": "text"}]))
    assert result.definition is not None
    assert [(one.pointer, one.code) for one in result.warnings] == [("/inputs/0", "unused_input")]


SPEC_EXAMPLE = """{
  "title": "Summarise a web page",
  "description": "Downloads a page, extracts its text, summarises it.",
  "inputs":  [{"name": "webpage_url", "type": "text", "description": "Page to summarise"}],
  "tasks":   [
    {"name": "download_webpage", "type": "web.download",     "inputs": {"url": "{{inputs.webpage_url}}"}},
    {"name": "extract_text",     "type": "web.extract_text", "inputs": {"html": "{{tasks.download_webpage.outputs.html}}"}},
    {"name": "summarize_text",   "type": "openai.completion","inputs": {"text": "{{tasks.extract_text.outputs.text}}",
                                                                      "prompt": "Summarise in 3 bullet points"}}
  ],
  "outputs": [{"name": "summary_text", "type": "text", "value": "{{tasks.summarize_text.outputs.completion}}"}]
}"""


def test_the_example_of_the_specification_is_good(checked: Check) -> None:
    result = checked(json.loads(SPEC_EXAMPLE))
    assert result.problems == result.warnings == ()
    assert result.definition is not None
    assert [one.dependencies for one in result.definition.tasks] == [(), ("download_webpage",), ("extract_text",)]


EXAMPLES = {path.stem: json.loads(path.read_text()) for path in (Path(__file__).parent / "examples").glob("*.json")}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_the_examples_are_good(checked: Check, name: str) -> None:
    result = checked(EXAMPLES[name])
    assert result.problems == result.warnings == ()


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 5
