"""Tasks that ask models, through the engine: tools that are workflows, what was used and paid, named connections."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from executions import store
from executions.models import Attempt, Execution, TaskRun
from executions.services import cancel_execution
from executions.worker.node import Node
from tests.api_client import Api
from tests.carrier_driver import go_on
from tests.executions_driver import age_due_times, age_wake
from tests.stubs import openai_stub
from tests.stubs.openai_stub import KEY, OpenAIStub
from workflows.services import create_workflow

pytestmark = pytest.mark.django_db(transaction=True)
HELLO = [{"role": "user", "content": "How many letters has Ann?"}]


@pytest.fixture
def server(settings: Any) -> Iterator[OpenAIStub]:
    with OpenAIStub() as stub:
        settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY = stub.base_url, KEY
        yield stub


def counter(*, task: str = "text.size", inputs: Mapping[str, Any] | None = None) -> str:
    """A workflow that counts the letters of a name."""
    document = {
        "title": "Count",
        "inputs": [{"name": "name", "type": "text"}],
        "tasks": [{"name": "work", "type": task, "inputs": inputs or {"text": "{{inputs.name}}"}}],
        "outputs": [{"name": "letters", "type": "any", "value": "{{tasks.work.outputs.size}}"}]
        if task == "text.size"
        else [],
    }
    return create_workflow(document=document).workflow.pk


def begun(api: Api, *tasks: Mapping[str, Any]) -> str:
    """The address of an execution of these tasks."""
    workflow = api.call("POST", "/workflows", {"title": "T", "tasks": list(tasks)}, status=201)["workflow_id"]
    started = api.call("POST", f"/workflows/{workflow}/executions", {"inputs": {}}, status=201)
    return str(started["url"])


def worked(api: Api, address: str) -> dict[str, Any]:
    """The execution when a worker has done all there is to do."""
    go_on(Node(threads=1).run)
    return dict(api.call("GET", address, status=200))


def chat(workflow: str, **more: Any) -> dict[str, Any]:
    tool = {"workflow": workflow, "name": "count", "description": "Counts letters"}
    return {"name": "talk", "type": "openai.chat", "inputs": {"messages": HELLO, "tools": [tool], **more}}


def sent(server: OpenAIStub, index: int = -1) -> dict[str, Any]:
    return dict(json.loads(server.requests[index].body))


def test_a_tool_runs_as_an_execution(server: OpenAIStub) -> None:
    api, workflow = Api(), counter()
    server.script(
        openai_stub.tool_calls(("count", {"name": "Ann"}), ("count", {"name": "Josephine"})),
        openai_stub.completion("Three, and nine."),
    )
    shown = worked(api, address := begun(api, chat(workflow)))
    assert shown["status"] == "COMPLETED", shown["error"]
    (task,) = shown["tasks"]
    outputs = task["outputs"]
    assert (outputs["message"], outputs["turns"]) == ("Three, and nine.", 2)
    children = list(Execution.objects.filter(parent=address.rpartition("/")[2]).order_by("created_at"))
    assert [child.inputs for child in children] == [{"name": "Ann"}, {"name": "Josephine"}]
    assert [call["execution_id"] for call in outputs["tool_calls"]] == [child.pk for child in children]
    told = [message["content"] for message in sent(server)["messages"] if message["role"] == "tool"]
    assert told == ['{"letters": 3}', '{"letters": 9}']
    # The turn before the tools was a try of its own; both are counted.
    assert shown["usage"]["models"][0]["input_tokens"] == 22
    assert task["attempt"] == 3


def test_a_tool_that_fails_is_told_to_the_model(server: OpenAIStub) -> None:
    api = Api()
    workflow = counter(task="flow.fail", inputs={"message": "No counting today, {{inputs.name}}."})
    server.script(openai_stub.tool_calls(("count", {"name": "Ann"})), openai_stub.completion("Sorry."))
    shown = worked(api, begun(api, chat(workflow)))
    assert shown["status"] == "COMPLETED", shown["error"]
    assert "No counting today, Ann." in sent(server)["messages"][-1]["content"]
    assert shown["tasks"][0]["outputs"]["tool_calls"][0]["status"] == "FAILED"


@pytest.mark.parametrize("arguments", [{"surname": "Ann"}, {"name": 5}, {}])
def test_inputs_that_do_not_fit_the_workflow_are_told_to_the_model(server: OpenAIStub, arguments: Any) -> None:
    api, workflow = Api(), counter()
    server.script(openai_stub.tool_calls(("count", arguments)), openai_stub.completion("Sorry."))
    shown = worked(api, begun(api, chat(workflow)))
    assert shown["status"] == "COMPLETED", shown["error"]
    assert "do not fit" in sent(server)["messages"][-1]["content"]


@pytest.mark.parametrize("version", [None, 7])
def test_a_tool_without_a_workflow(server: OpenAIStub, version: int | None) -> None:
    api = Api()
    workflow = counter() if version else "wf-nowhere00000"
    # Decided by an expression: one that stands in the definition is seen when that is made.
    tool = {"workflow": f"{{{{'{workflow}'}}}}", "name": "count", "version": version}
    shown = worked(api, begun(api, chat(workflow, tools=[tool])))
    assert (shown["status"], shown["error"]["code"]) == ("FAILED", "validation")
    assert workflow in shown["error"]["message"]
    assert server.requests == []


def test_what_a_tool_takes_is_what_its_workflow_declares(server: OpenAIStub) -> None:
    api = Api()
    document: dict[str, Any] = {
        "title": "Many",
        "inputs": [
            {"name": "who", "type": "text", "description": "Whom", "max_length": 9},
            {"name": "how", "type": "text", "enum": ["well", "badly"], "required": False},
            {"name": "photo", "type": "file"},
            {"name": "count", "type": "number", "default": 3},
            {"name": "more", "type": "any", "required": False},
        ],
        "tasks": [{"name": "work", "type": "text.static", "inputs": {"text": "x"}}],
    }
    workflow = create_workflow(document=document).workflow.pk
    worked(api, begun(api, chat(workflow)))
    assert sent(server)["tools"][0]["function"]["parameters"] == {
        "type": "object",
        "properties": {
            "who": {"description": "Whom", "type": "string", "maxLength": 9},
            "how": {"type": ["string", "null"], "enum": ["well", "badly", None]},
            "photo": {
                "anyOf": [
                    {"type": "string", "description": "Id of a stored file"},
                    {"type": "object", "properties": {"file_id": {"type": "string"}}, "required": ["file_id"]},
                    {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]},
                ]
            },
            "count": {"type": ["number", "null"]},
            "more": {},
        },
        "required": ["who", "photo"],
        "additionalProperties": False,
    }


def test_what_no_database_keeps(server: OpenAIStub) -> None:
    """A model may say anything: NUL characters, halves of characters, nesting without end."""
    api, workflow = Api(), counter()
    server.script(
        openai_stub.tool_calls(
            ("count", '{"name": "\0\ud800"}'),
            ("count", '{"name": ' + "[" * 45 + "]" * 45 + "}"),
            ("count", {"name": "Ann"}),
            text="\0 and \ud800",
        ),
        openai_stub.completion("\0"),
    )
    shown = worked(api, begun(api, chat(workflow)))
    assert shown["status"] == "COMPLETED", shown["error"]
    calls = shown["tasks"][0]["outputs"]["tool_calls"]
    assert [call["status"] for call in calls] == ["REFUSED", "REFUSED", "COMPLETED"]


def test_a_turn_that_fails_is_tried_again_without_the_tool(server: OpenAIStub) -> None:
    api, workflow = Api(), counter()
    server.script(
        openai_stub.tool_calls(("count", {"name": "Ann"})), openai_stub.error(500), openai_stub.completion("Three.")
    )
    task = chat(workflow) | {"retry": {"attempts": 1, "delay": 60}}
    shown = worked(api, address := begun(api, task))
    assert shown["tasks"][0]["status"] == "WAITING"
    execution = Execution.objects.get(pk=address.rpartition("/")[2])
    age_due_times(execution)
    age_wake(execution, seconds=3600)
    shown = worked(api, address)
    assert shown["status"] == "COMPLETED", shown["error"]
    assert Execution.objects.filter(parent=execution).count() == 1
    assert shown["tasks"][0]["outputs"]["message"] == "Three."


def test_a_tool_is_cancelled_with_its_chat(server: OpenAIStub) -> None:
    api = Api()
    workflow = counter(task="flow.wait", inputs={"seconds": 3600})
    server.script(openai_stub.tool_calls(("count", {"name": "Ann"})))
    shown = worked(api, address := begun(api, chat(workflow)))
    assert shown["tasks"][0]["status"] == "WAITING"
    execution = Execution.objects.get(pk=address.rpartition("/")[2])
    cancel_execution(execution=execution)
    store.cancel_orphans(execution.pk)
    assert {child.status for child in Execution.objects.filter(parent=execution)} == {"CANCELLED"}


def test_failed_tries_are_paid(server: OpenAIStub) -> None:
    """An answer that does not keep to its schema is counted, and so is the next try."""
    api = Api()
    server.script(openai_stub.completion("no JSON"))
    schema = {"type": "object", "properties": {"mood": {"type": "string"}}, "required": ["mood"]}
    inputs = {"text": "It rained.", "prompt": "The mood?", "response_schema": schema}
    task = {"name": "ask", "type": "openai.completion", "inputs": inputs, "retry": {"attempts": 1, "delay": 60}}
    address = begun(api, task)
    worked(api, address)
    execution = Execution.objects.get(pk=address.rpartition("/")[2])
    age_due_times(execution)
    age_wake(execution, seconds=3600)
    shown = worked(api, address)
    assert shown["status"] == "COMPLETED", shown["error"]
    assert [attempt["usage"].get("input_tokens") for attempt in shown["tasks"][0]["attempts"]] == [11, 11]
    assert Attempt.objects.get().usage["model"] == "gpt-test"
    models = {row["model"]: row["input_tokens"] for row in shown["usage"]["models"]}
    assert models == {"gpt-test": 11, "gpt-4o-mini": 11}
    assert shown["usage"]["cost"] is None, "nobody knows what gpt-test costs"
    assert shown["usage"]["models"][0]["cost"] == pytest.approx((8 * 0.15 + 3 * 0.075 + 7 * 0.6) / 1e6)


def test_a_connection_needs_no_key_of_the_installation(settings: Any) -> None:
    api = Api()
    settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY, settings.DATAFLOW_LOCAL_VOICE_URL = "", "", ""
    inputs = {"text": "It rained.", "prompt": "Translate"}
    task: dict[str, Any] = {"name": "ask", "type": "openai.completion", "inputs": inputs}
    workflow = api.call("POST", "/workflows", {"title": "T", "tasks": [task]}, status=201)["workflow_id"]
    refused = api.call("POST", f"/workflows/{workflow}/executions", {"inputs": {}}, status=400)
    assert refused["code"] == "missing_key"
    with OpenAIStub(key="sk-of-the-connection") as other:
        made = {"base_url": other.base_url, "api_key": "sk-of-the-connection", "default_model": "house"}
        api.call("PUT", "/connections/main", {"kind": "openai", "settings": made}, status=201)
        task["inputs"] = inputs | {"connection": "main"}
        shown = worked(api, begun(api, task))
        assert shown["status"] == "COMPLETED", shown["error"]
        assert shown["tasks"][0]["outputs"]["model"] == "house"
        assert [request.headers["authorization"] for request in other.requests] == ["Bearer sk-of-the-connection"]


def test_a_key_that_a_server_quotes_is_shown_nowhere() -> None:
    api = Api()
    canary = "sk-canary-0815-4711"
    with OpenAIStub(key="sk-another") as other:
        made = {"base_url": other.base_url, "api_key": canary}
        api.call("PUT", "/connections/main", {"kind": "openai", "settings": made}, status=201)
        other.script(openai_stub.error(401, f"Incorrect API key provided: {canary}."))
        inputs = {"text": "x", "labels": ["a", "b"], "connection": "main"}
        shown = worked(api, begun(api, {"name": "ask", "type": "ai.classify", "inputs": inputs}))
        assert (shown["status"], shown["error"]["code"]) == ("FAILED", "authentication")
        assert other.requests[0].headers["authorization"] == f"Bearer {canary}"
        assert canary not in json.dumps(shown)
        rows = [list(Execution.objects.values()), list(Attempt.objects.values()), list(TaskRun.objects.values())]
        assert canary not in str(rows)
