"""The data types from the API to their outputs: their examples as literal inputs, what is refused, a chain of them."""

from __future__ import annotations

from typing import Any

import pytest

from executions.models import Execution
from tasks_lib import registry
from tests.api_client import Api, assert_problem
from tests.executions_driver import carry

pytestmark = pytest.mark.django_db

NAMES = (
    "json.parse json.query csv.parse csv.write data.map data.filter data.sort data.group "
    "text.template text.split text.join text.replace text.regex text.hash"
).split()


def run(api: Api, **document: Any) -> Any:
    """Create the workflow, execute it, carry it to its end, and give what the API shows of it."""
    created = api.call("POST", "/workflows", {"title": "T", **document}, status=201)
    path = f"/workflows/{created['workflow_id']}/executions"
    started = api.call("POST", path, {"inputs": {}}, status=201)
    carry(Execution.objects.get(pk=started["workflow_execution_id"]))
    return api.call("GET", f"{path}/{started['workflow_execution_id']}", status=200)


def refused(api: Api, kind: str, **inputs: Any) -> dict[str, str]:
    """The messages by pointer of a workflow whose only task has these inputs."""
    document = {"title": "T", "tasks": [{"name": "a", "type": kind, "inputs": inputs}]}
    problem = assert_problem(api.send("POST", "/workflows", document, status=400), 400, "validation")
    return {error["pointer"].removeprefix("/tasks/0/inputs"): error["detail"] for error in problem["errors"]}


@pytest.mark.parametrize("name", NAMES)
def test_the_example_runs_from_the_api_to_its_outputs(api: Api, name: str) -> None:
    task_type = registry.load().types[name]
    outputs = [
        {"name": field.name, "type": field.type, "value": f"{{{{tasks.a.outputs.{field.name}}}}}"}
        for field in task_type.outputs
        if (name, field.name) != ("text.regex", "text")  # null but for `replace`, and null is no text
    ]
    shown = run(api, tasks=[{"name": "a", "type": name, "inputs": dict(task_type.example)}], outputs=outputs)
    assert (shown["status"], shown["error"]) == ("COMPLETED", None)
    wanted = {field.name: field.example for field in task_type.outputs if field.name in shown["outputs"]}
    if name == "csv.write":
        file = shown["outputs"].pop("file")
        wanted.pop("file")
        content = api.raw("GET", f"/files/{file['file_id']}/content")
        assert b"".join(content.streaming_content) == b"name,price\r\npear,3\r\nfig,1\r\n"
    assert shown["outputs"] == wanted


def test_a_chain_of_them(api: Api) -> None:
    """What is `any` goes on as what it is; a rename stands for its output; a text is filled with what came out."""
    tasks = [
        {"name": "table", "type": "csv.parse", "inputs": {"text": "n;p\npear;3\nfig;1\nkiwi;5\n", "convert": True}},
        {"name": "dear", "type": "data.filter",
         "inputs": {"list": "{{tasks.table.outputs.rows}}", "expression": "item.p > 2"}},
        {"name": "sorted", "type": "data.sort",
         "inputs": {"list": "{{tasks.dear.outputs.list}}", "expression": "item.p", "descending": True}},
        {"name": "ask", "type": "json.query", "inputs": {"json": "{{tasks.sorted.outputs.list}}", "query": "[*].n"},
         "outputs": [{"name": "names", "value": "{{outputs.result}}"}]},
        {"name": "line", "type": "text.join", "inputs": {"list": "{{tasks.ask.outputs.names}}", "separator": ", "}},
        {"name": "letter", "type": "text.template",
         "inputs": {"template": "Dear ones: $fruit.", "values": {"fruit": "{{tasks.line.outputs.text}}"}}},
    ]  # fmt: skip
    outputs = [
        {"name": "letter", "type": "text", "value": "{{tasks.letter.outputs.text}}"},
        {"name": "first", "type": "any", "value": "{{tasks.ask.outputs.names[0]}}"},
    ]
    shown = run(api, tasks=tasks, outputs=outputs)
    assert (shown["status"], shown["error"]) == ("COMPLETED", None)
    assert shown["outputs"] == {"letter": "Dear ones: kiwi, pear.", "first": "kiwi"}


@pytest.mark.parametrize("name", ["data.map", "data.filter", "data.sort", "data.group"])
def test_an_expression_that_cannot_be_used_is_refused_when_the_workflow_is_created(api: Api, name: str) -> None:
    messages = refused(api, name, list=[1], expression="itm.price")
    assert list(messages) == ["/expression"]
    assert "there is no `itm` here" in messages["/expression"]


@pytest.mark.parametrize(
    ("kind", "inputs", "pointers"),
    [
        ("data.map", {"list": []}, ["/expression"]),
        ("data.map", {"list": [], "expression": "item", "fields": {"a": "item"}}, ["/fields"]),
        ("data.map", {"list": [], "fields": {"a": "item.", "b": "item", "c": 1}}, ["/fields"]),
        ("json.query", {"json": {}, "query": "a["}, ["/query"]),
        ("json.query", {"json": {}, "expression": "a["}, ["/expression"]),
        ("json.parse", {}, ["/text"]),
        ("json.parse", {"text": "1", "file": "fl-sample0csv"}, ["/file"]),
        ("csv.parse", {"text": "a", "delimiter": '"', "limit": 0}, ["/delimiter", "/limit"]),
        ("text.regex", {"text": "a", "pattern": "("}, ["/pattern"]),
        ("text.regex", {"text": "a", "pattern": "(a)", "mode": "replace"}, ["/replacement"]),
        ("text.regex", {"text": "a", "pattern": "a", "mode": "replace", "replacement": "\\1"}, ["/replacement"]),
        ("text.regex", {"text": "a", "pattern": "a", "mode": "extract"}, ["/pattern"]),
        ("text.split", {"text": "a", "by": "length"}, ["/length"]),
        ("text.hash", {}, ["/text"]),
        ("text.hash", {"text": "a", "algorithm": "crc32"}, ["/algorithm"]),
        ("data.map", {"list": 5, "expression": 5}, ["/expression", "/list"]),
    ],
)
def test_what_can_be_seen_to_be_wrong_is_refused(
    api: Api, kind: str, inputs: dict[str, Any], pointers: list[str]
) -> None:
    assert sorted(refused(api, kind, **inputs)) == pointers


def test_an_item_that_fails_fails_its_task_and_is_named(api: Api) -> None:
    inputs = {"list": [{"p": 1}, {}], "expression": "item.p"}
    shown = run(api, tasks=[{"name": "a", "type": "data.map", "inputs": inputs}])
    assert (shown["status"], shown["error"]["code"]) == ("FAILED", "expression")
    assert shown["error"]["message"].startswith("Item 1: `item.p` does not exist.")
