"""``TaskType.check``: what a type itself sees to be wrong in a definition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from tasks_lib.base import MISSING, Field, JsonValue, TaskContext, TaskType
from workflows.definition import Checked, check, special


class Picky(TaskType):
    """Says what it was asked."""

    name = "test.picky"
    title = category = description = "Picky"
    inputs = (
        Field(name="text", type="text", description="A text"),
        Field(name="other", type="object", description="An object"),
    )
    outputs = (Field(name="text", type="text", description=""),)
    seen: list[Mapping[str, JsonValue]]

    def __init__(self) -> None:
        self.seen = []

    def check(self, given: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
        self.seen.append(dict(given))
        if given.get("text") == "wrong":
            yield "text", "It is wrong."
        if "other" not in given:
            yield "other", "It is missing."

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        return inputs


class Plain(Picky):
    """A type that asks for nothing."""

    name = "test.plain"
    check = TaskType.check  # type: ignore[assignment]  # as if it were not overridden


class Catalogue:
    """Two types."""

    def __init__(self) -> None:
        self.types: dict[str, TaskType] = {"test.picky": Picky(), "test.plain": Plain()}

    def get(self, name: str, /) -> TaskType | None:
        return self.types.get(name)

    def names(self) -> Sequence[str]:
        return list(self.types)


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue()


def checked(catalogue: Catalogue, *tasks: Mapping[str, Any]) -> Checked:
    named = [{"name": f"t{index}", "type": "test.picky", **task} for index, task in enumerate(tasks)]
    return check({"title": "T", "inputs": [{"name": "i", "type": "any"}], "tasks": named}, catalogue)


def found(result: Checked) -> list[tuple[str, str, str]]:
    return [(one.pointer, one.code, one.detail) for one in result.problems]


def test_what_a_type_finds_is_reported_at_the_input(catalogue: Catalogue) -> None:
    assert found(checked(catalogue, {"inputs": {"text": "wrong"}})) == [
        ("/tasks/0/inputs/text", "invalid_input", "It is wrong."),
        ("/tasks/0/inputs/other", "invalid_input", "It is missing."),
    ]
    listed = [{"name": "TEXT", "value": "wrong"}, {"name": "other", "value": {}}]
    assert [one[0] for one in found(checked(catalogue, {"inputs": listed}))] == ["/tasks/0/inputs/0/value"]


def test_a_fallback_is_asked_too(catalogue: Catalogue) -> None:
    task = {"type": "test.plain", "fallback": {"task": "test.picky", "inputs": {"text": "wrong", "other": {}}}}
    assert [one[0] for one in found(checked(catalogue, task))] == ["/tasks/0/fallback/inputs/text"]


@pytest.mark.parametrize(
    ("inputs", "seen"),
    [
        ({"text": "a", "other": {"b": 1}}, {"text": "a", "other": {"b": 1}}),
        ({"text": "{{inputs.i}}", "other": {"b": "{{inputs.i}}"}}, {"text": MISSING, "other": MISSING}),
        ({"text": "a {{inputs.i}}", "other": None}, {"text": MISSING}),
        ({"text": '{{"{{"}}', "other": {}}, {"text": MISSING, "other": {}}),
    ],
)
def test_what_a_type_is_shown(catalogue: Catalogue, inputs: dict[str, Any], seen: dict[str, Any]) -> None:
    checked(catalogue, {"inputs": inputs})
    assert catalogue.types["test.picky"].seen == [seen]  # type: ignore[attr-defined]  # it is a Picky


@pytest.mark.parametrize("inputs", [{"text": 5, "other": {}}, {"text": "a", "other": "b"}])
def test_a_literal_of_another_type_is_not_shown(catalogue: Catalogue, inputs: dict[str, Any]) -> None:
    assert [one[1] for one in found(checked(catalogue, {"inputs": inputs}))] == ["wrong_type"]
    assert MISSING in catalogue.types["test.picky"].seen[0].values()  # type: ignore[attr-defined]  # it is a Picky


def test_how_much_types_look_at_is_bounded(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands beyond the bound is left for the run; a long text of a type that asks for nothing does not count."""
    monkeypatch.setattr(special, "MAX_CHECKED", 100)
    long = {"inputs": {"text": "x" * 101}}
    wrong = {"inputs": {"text": "wrong", "other": {}}}
    assert [one[0] for one in found(checked(catalogue, {"type": "test.plain", **long}, wrong))] == [
        "/tasks/1/inputs/text"
    ]
    assert found(checked(catalogue, long, wrong)) == []
