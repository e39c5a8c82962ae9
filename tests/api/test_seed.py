"""The documented requests (shared/seed/overview.txt), copied as they stand, with only the host changed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from executions.engine.state import ExecutionStatus, TaskStatus
from executions.models import Delivery, Execution
from executions.store import cancel
from tests.api_client import Api, assert_problem
from tests.factories import make_execution, make_task_run, make_workflow

pytestmark = pytest.mark.django_db

CREATE = """
{
"title": "Hello World Workflow",
"description": "A simple text-to-speech workflow",
"inputs": [
{
"name": "text",
"type": "text",
"description": "Text to convert to speech"
}
],
"tasks": [
{
"name": "text_to_speech",
"type": "openai.audio.text_to_speech",
"inputs": {
"text": "{{inputs.text}}",
"voice": "alloy"
}
}
],
"outputs": [
{
"name": "audio",
"type": "file",
"value": "{{tasks.text_to_speech.outputs.audio}}"
}
]
}
"""
EXECUTE = """
{
"inputs": {
"webpage_url": "https://example.com"
}
}
"""
MONITOR = """
{
"inputs": {
"webpage_url": "https://example.com"
},
"monitoring": {
"webhook_url": "https://example.com/webhook"
}
}
"""
#: The workflow that the documented executions are of: its tasks by their names in the documented answer.
SUMMARISE: dict[str, Any] = {
    "title": "Summarise a web page",
    "inputs": [{"name": "webpage_url", "type": "text"}],
    "tasks": [
        {"name": "download_webpage", "type": "web.download", "inputs": {"url": "{{inputs.webpage_url}}"}},
        {"name": "extract_text", "type": "web.extract_text", "inputs": {"html": "{{tasks.download_webpage.outputs.html}}"}},
        {"name": "summarize_text", "type": "openai.completion",
         "inputs": {"text": "{{tasks.extract_text.outputs.text}}", "prompt": "Summarise in 3 bullet points"}},
    ],
    "outputs": [{"name": "summary_text", "type": "text", "value": "{{tasks.summarize_text.outputs.completion}}"}],
}  # fmt: skip


@pytest.fixture(autouse=True)
def key(settings: Any) -> None:
    """The installation has a key, as the documented one does."""
    settings.OPENAI_API_KEY = "sk-test"


def sent(api: Api, path: str, body: str) -> Any:
    return api.raw("POST", path, body.encode())


def test_1_create_your_first_workflow(api: Api) -> None:
    answer = sent(api, "/workflows", CREATE)
    assert answer.status_code == 201
    workflow_id = answer.json()["workflow_id"]
    assert workflow_id.startswith("wf-")
    assert api.call("GET", f"/workflows/{workflow_id}", status=200)["definition"] == json.loads(CREATE)
    assert api.call("GET", f"/workflows/{workflow_id}/executions", status=200)["executions"] == []


def test_1_each_request_is_validated(api: Api) -> None:
    assert_problem(
        sent(api, "/workflows", CREATE.replace('"alloy"', "5")), 400, "validation", at=["/tasks/0/inputs/voice"]
    )


def test_2_execute_your_workflow(api: Api) -> None:
    workflow = make_workflow(**SUMMARISE)
    answer = sent(api, f"/workflows/{workflow.pk}/executions", EXECUTE)
    assert answer.status_code == 201
    started = answer.json()
    assert started["workflow_execution_id"].startswith("we-")
    assert started["workflow_id"] == workflow.pk
    assert started["workflow_version"] == 1
    assert started["status"] == "PENDING"


def test_2_wrong_input_is_a_bad_request(api: Api) -> None:
    workflow_id = sent(api, "/workflows", CREATE).json()["workflow_id"]
    answer = sent(api, f"/workflows/{workflow_id}/executions", EXECUTE)
    assert_problem(answer, 400, "validation", at=["/inputs/text", "/inputs/webpage_url"])
    assert not Execution.objects.exists()


def test_2_the_snapshot_holds(api: Api) -> None:
    workflow = make_workflow(**SUMMARISE)
    path = f"/workflows/{workflow.pk}"
    first = sent(api, f"{path}/executions", EXECUTE).json()
    api.call("PATCH", path, {"tasks": SUMMARISE["tasks"][:1], "outputs": []}, status=200)
    second = sent(api, f"{path}/executions", EXECUTE).json()
    assert (first["workflow_version"], second["workflow_version"]) == (1, 2)
    shown = api.call("GET", f"{path}/executions/{first['workflow_execution_id']}", status=200)
    assert len(shown["tasks"]) == 3


def test_3_get_execution_status(api: Api) -> None:
    workflow = make_workflow(**SUMMARISE)
    execution = make_execution(workflow, ExecutionStatus.RUNNING, inputs={"webpage_url": "https://example.com"})
    make_task_run(execution, "download_webpage", TaskStatus.RUNNING)
    shown = api.call("GET", f"/workflows/{workflow.pk}/executions/{execution.pk}", status=200)
    documented = {
        "workflow_execution_id": execution.pk, "workflow_id": workflow.pk, "workflow_version": 1, "status": "RUNNING",
    }  # fmt: skip
    assert shown.items() >= documented.items()
    assert [{"name": task["name"], "status": task["status"]} for task in shown["tasks"]] == [
        {"name": "download_webpage", "status": "RUNNING"},
        {"name": "extract_text", "status": "PENDING"},
        {"name": "summarize_text", "status": "PENDING"},
    ]


def test_4_list_executions(api: Api) -> None:
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    workflow = make_workflow(**SUMMARISE)
    completed = make_execution(workflow, created_at=moment, started_at=moment, completed_at=moment)
    running = make_execution(workflow, ExecutionStatus.RUNNING, created_at=moment + timedelta(seconds=1))
    listed = api.call("GET", f"/workflows/{workflow.pk}/executions", status=200)["executions"]
    assert [(one["workflow_execution_id"], one["status"]) for one in listed] == [
        (running.pk, "RUNNING"), (completed.pk, "COMPLETED")
    ]  # fmt: skip
    times = {
        "created_at": "2024-01-01T00:00:00Z",
        "started_at": "2024-01-01T00:00:00Z",
        "completed_at": "2024-01-01T00:00:00Z",
    }
    assert listed[1].items() >= times.items()


def test_5_monitor_workflow_execution(api: Api) -> None:
    workflow = make_workflow(**SUMMARISE)
    answer = sent(api, f"/workflows/{workflow.pk}/executions", MONITOR)
    assert answer.status_code == 201
    cancel(answer.json()["workflow_execution_id"], reason="", by="test")
    delivery = Delivery.objects.get()
    assert delivery.url == "https://example.com/webhook"
    body = json.loads(delivery.body)
    assert body["type"] == "execution.cancelled"
    assert body["data"]["workflow_execution_id"] == answer.json()["workflow_execution_id"]
    assert body["data"]["status"] == "CANCELLED"
