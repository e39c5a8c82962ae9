"""Inputs and outputs of task types as JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tasks_lib import registry
from tasks_lib.base import MISSING, Field, TaskContext, TaskType
from tasks_lib.json_schema import input_schema, output_schema

FILE = {"file_id": "fl-sample0csv", "name": "a.csv", "content_type": "text/csv", "size": 3, "sha256": "0" * 64}


class Checked(TaskType):
    name = "test.checked"
    title = "Checked"
    category = "test"
    description = "All there is to say."
    inputs = (
        Field(name="text", type="text", required=True, description="A text", min_length=1, max_length=5, example="x"),
        Field(name="number", type="number", description="A number", default=2, minimum=1, maximum=4, aliases=("n",)),
        Field(name="mode", type="text", description="A mode", default="a", enum=("a", "b")),
        Field(name="file", type="file", description="A file"),
        Field(name="extra", type="any", description="Anything", default=None),
        Field(name="yes", type="boolean", description="A choice"),
        Field(name="items", type="list", description="A list"),
        Field(name="data", type="object", description="An object"),
    )
    outputs = (
        Field(name="file", type="file", description="A file"),
        Field(name="mode", type="text", description="A mode", enum=("a", "b")),
        Field(name="size", type="number", description="A number", example=3),
        Field(name="rest", type="any", description="Anything"),
    )

    def run(self, context: TaskContext, **inputs: Any) -> Mapping[str, Any]:
        return inputs


def accepts(schema: Mapping[str, Any], value: object) -> bool:
    return bool(Draft202012Validator(schema).is_valid(value))


def test_inputs_are_described_to_the_last_check() -> None:
    schema = input_schema(Checked())
    properties = schema["properties"]
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert (schema["required"], schema["additionalProperties"]) == (["text"], False)
    assert properties["text"] == {
        "type": "string", "description": "A text", "minLength": 1, "maxLength": 5, "examples": ["x"],
    }  # fmt: skip
    assert properties["number"] == {
        "type": "number", "description": "A number", "default": 2, "minimum": 1, "maximum": 4, "x-aliases": ["n"],
    }  # fmt: skip
    assert properties["mode"] == {"type": "string", "description": "A mode", "default": "a", "enum": ["a", "b"]}
    assert properties["extra"] == {"description": "Anything"}
    assert [properties[name]["type"] for name in ("yes", "items", "data")] == ["boolean", "array", "object"]


@pytest.mark.parametrize(
    ("changed", "valid"),
    [
        ({}, True),
        ({"text": ""}, False),
        ({"text": "123456"}, False),
        ({"text": 1}, False),
        ({"number": 1.5}, True),
        ({"number": 0}, False),
        ({"number": True}, False),
        ({"mode": "c"}, False),
        ({"file": "fl-sample0csv"}, True),
        ({"file": FILE}, True),
        ({"file": {"url": "https://example.com/a.csv"}}, True),
        ({"file": "a.csv"}, False),
        ({"file": {"name": "a.csv"}}, False),
        ({"extra": [{"any": None}]}, True),
        ({"other": 1}, False),
    ],
)
def test_the_schema_of_inputs_accepts_what_fits(changed: dict[str, Any], *, valid: bool) -> None:
    assert accepts(input_schema(Checked()), {"text": "x"} | changed) is valid


def test_outputs_are_all_there_and_may_be_null() -> None:
    schema = output_schema(Checked())
    nothing: dict[str, Any] = {"file": None, "mode": None, "size": None, "rest": None}
    assert accepts(schema, nothing)
    assert accepts(schema, {"file": FILE, "mode": "a", "size": 3, "rest": []})
    assert not accepts(schema, nothing | {"file": "fl-sample0csv"})
    assert not accepts(schema, nothing | {"mode": "c"})
    assert not accepts(schema, nothing | {"other": 1})
    assert not accepts(schema, {"file": None})


def test_a_type_that_gives_more_than_it_names_says_so() -> None:
    found = registry.get("workflow.run")
    assert found is not None
    assert accepts(output_schema(found), {"anything": 1})


@pytest.mark.parametrize("task_type", registry.all(), ids=lambda found: found.name)
def test_every_types_schemas_hold_for_what_it_says_itself(task_type: TaskType) -> None:
    inputs, outputs = input_schema(task_type), output_schema(task_type)
    Draft202012Validator.check_schema(inputs)
    Draft202012Validator.check_schema(outputs)
    assert list(map(str, Draft202012Validator(inputs).iter_errors(dict(task_type.example)))) == []
    defaults = {field.name: field.default for field in task_type.inputs if field.default not in (MISSING, None)}
    assert list(map(str, Draft202012Validator(inputs).iter_errors({**task_type.example, **defaults}))) == []
    assert not accepts(inputs, {**task_type.example, "no_such_input": 1})
