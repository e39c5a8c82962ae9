"""``POST /workflows/{id}/executions``."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from executions import vault
from executions.database import database_now
from executions.models import Event, Execution
from tests.api_client import Api, assert_nothing_queued, assert_problem
from tests.factories import DOCUMENT, make_file, make_workflow
from workflows.models import Workflow
from workflows.services import update_workflow

pytestmark = pytest.mark.django_db

KEY = "sk-very-secret-key-0123456789"
COMPLETION = {
    "title": "Summarise",
    "tasks": [
        {"name": "a", "type": "text.static", "inputs": {"text": "x"}},
        {"name": "b", "type": "openai.completion", "inputs": {"text": "x", "prompt": "y"}},
    ],
}


@pytest.fixture
def path(workflow: Workflow) -> str:
    return f"/workflows/{workflow.pk}/executions"


def start(api: Api, workflow: Workflow, document: Any, status: int = 201, **headers: str) -> Any:
    return api.send("POST", f"/workflows/{workflow.pk}/executions", document, status=status, **headers)


def test_it_works(api: Api, workflow: Workflow, path: str) -> None:
    answer = api.send("POST", path, {"inputs": {"text": "Hello"}}, status=201)
    started = answer.json()
    execution = Execution.objects.get()
    documented = {
        "workflow_execution_id": execution.pk,
        "workflow_id": workflow.pk,
        "workflow_version": 1,
        "status": "PENDING",
    }
    assert started.items() >= documented.items()
    assert list(started)[:4] == list(documented)
    assert answer.headers["Location"] == f"{path}/{execution.pk}"
    assert execution.inputs == {"text": "Hello"}
    assert Event.objects.get().type == "execution.created"


def test_it_is_due_at_once(api: Api, path: str) -> None:
    api.call("POST", path, {"inputs": {"text": "Hello"}}, status=201)
    row = Execution.objects.get()
    assert row.wake_at is not None
    assert row.pick_at is not None
    assert row.wake_at <= database_now()
    assert (row.priority, row.trigger, row.trigger_ref) == (0, "api", "")


def test_priority_and_times_of_its_own(api: Api, path: str) -> None:
    at = "2031-02-03T04:05:06+01:00"
    options: list[dict[str, Any]] = [
        {"priority": -100}, {"priority": 100}, {"delay": 0}, {"delay": 3600.5}, {"delay": 366 * 86400}, {"start_at": at}
    ]  # fmt: skip
    before = database_now()
    started = [api.call("POST", path, {"inputs": {"text": "x"}} | one, status=201) for one in options]
    rows = [Execution.objects.get(pk=one["workflow_execution_id"]) for one in started]
    assert [row.priority for row in rows] == [-100, 100, 0, 0, 0, 0]
    delays = [row.wake_at - before for row in rows]
    assert delays[2] < timedelta(minutes=1)
    assert timedelta(hours=1) <= delays[3] < timedelta(hours=2)
    assert timedelta(days=366) <= delays[4] < timedelta(days=367)
    assert rows[5].wake_at == datetime(2031, 2, 3, 3, 5, 6, tzinfo=UTC)
    assert all(row.pick_at >= row.wake_at for row in rows)
    waiting = api.call("GET", started[5]["url"], status=200)["waiting_for"]
    assert (waiting["for"], waiting["until"]) == ("timer", "2031-02-03T03:05:06Z")


LIMITED = {"limit": 1, "key": "{{inputs.text}}"}


def test_a_limit_queues(api: Api) -> None:
    workflow = make_workflow(concurrency=LIMITED)
    for text in ("a", "a", "b"):
        start(api, workflow, {"inputs": {"text": text}})
    keys = list(Execution.objects.order_by("created_at").values_list("concurrency_key", "concurrency_limit"))
    assert keys == [(f"{workflow.pk}:a", 1), (f"{workflow.pk}:a", 1), (f"{workflow.pk}:b", 1)]


def test_a_limit_that_refuses(api: Api) -> None:
    workflow = make_workflow(concurrency=LIMITED | {"on_limit": "reject"})
    first = start(api, workflow, {"inputs": {"text": "a"}}).json()
    start(api, workflow, {"inputs": {"text": "b"}})
    for headers in ({}, {"Idempotency_Key": "one"}):
        refused = start(api, workflow, {"inputs": {"text": "a"}}, 429, **headers)
        assert_problem(refused, 429, "concurrency_limit")
        assert int(refused.headers["Retry-After"]) >= 1
    assert Execution.objects.count() == 2
    api.call("POST", f"{first['url']}/cancel", status=202)
    start(api, workflow, {"inputs": {"text": "a"}}, Idempotency_Key="one")


@pytest.mark.django_db(transaction=True)
def test_a_start_at_a_later_time_replaces_nobody_yet(api: Api) -> None:
    workflow = make_workflow(concurrency=LIMITED | {"on_limit": "cancel_running"})
    first = start(api, workflow, {"inputs": {"text": "a"}}).json()
    later = start(api, workflow, {"inputs": {"text": "a"}, "delay": 3600}).json()
    assert [api.call("GET", one["url"], status=200)["status"] for one in (first, later)] == ["PENDING", "PENDING"]


def test_a_start_at_a_later_time_is_no_reason_to_refuse(api: Api) -> None:
    workflow = make_workflow(concurrency=LIMITED | {"on_limit": "reject"})
    body = {"inputs": {"text": "a"}}
    start(api, workflow, body | {"delay": 3600})
    start(api, workflow, body)
    start(api, workflow, body | {"delay": 3600})
    for more in ({}, {"delay": 0}, {"start_at": "2020-01-01T00:00:00Z"}):
        assert_problem(start(api, workflow, body | more, 429), 429, "concurrency_limit")


@pytest.mark.django_db(transaction=True)
def test_a_limit_by_which_the_newest_one_counts(api: Api) -> None:
    workflow = make_workflow(concurrency=LIMITED | {"on_limit": "cancel_running"})
    first, other, last = (start(api, workflow, {"inputs": {"text": text}}).json() for text in ("a", "b", "a"))
    shown = [api.call("GET", one["url"], status=200) for one in (first, other, last)]
    assert [one["status"] for one in shown] == ["CANCELLED", "PENDING", "PENDING"]
    assert last["workflow_execution_id"] in shown[0]["error"]["message"]


def test_twice_makes_two(api: Api, path: str) -> None:
    ids = {api.call("POST", path, {"inputs": {"text": "x"}}, status=201)["workflow_execution_id"] for _ in range(2)}
    assert len(ids) == Execution.objects.count() == 2


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/inputs/text"]),
        ({"inputs": None}, ["/inputs/text"]),
        ({"inputs": {}}, ["/inputs/text"]),
        ({"inputs": {"text": 5}}, ["/inputs/text"]),
        ({"inputs": {"text": None}}, ["/inputs/text"]),
        ({"inputs": {"text": ["x"]}}, ["/inputs/text"]),
        ({"inputs": {"text": "x", "other": 1}}, ["/inputs/other"]),
        ({"inputs": {"txt": "x"}}, ["/inputs/text", "/inputs/txt"]),
        ({"inputs": [{"name": "text", "value": "x"}]}, ["/inputs"]),
        ({"inputs": "x"}, ["/inputs"]),
        ({"input": {"text": "x"}}, ["/input"]),
        ({"inputs": {"text": "x"}, "a/b~c": 1}, ["/a~1b~0c"]),
        ({"inputs": {"text": "x"}, "labels": {"a": 1}}, ["/labels/a"]),
        ({"inputs": {"text": "x"}, "labels": []}, ["/labels"]),
        ({"inputs": {"text": "x"}, "monitoring": {"webhook_url": "x"}}, ["/monitoring/webhook_url"]),
        ({"inputs": {"text": "x"}, "monitoring": {}}, ["/monitoring"]),
        ({"inputs": {}, "monitoring": [], "labels": "x"}, ["/inputs/text", "/labels", "/monitoring"]),
        ({"inputs": {"text": "x"}, "workflow_version": "1"}, ["/workflow_version"]),
        ({"inputs": {"text": "x"}, "workflow_version": 0}, ["/workflow_version"]),
        ({"inputs": {"text": "x"}, "workflow_version": True}, ["/workflow_version"]),
        ({"inputs": {"text": "x"}, "workflow_version": 1.5}, ["/workflow_version"]),
        ({"inputs": {"text": "x"}, "priority": 101}, ["/priority"]),
        ({"inputs": {"text": "x"}, "priority": -101}, ["/priority"]),
        ({"inputs": {"text": "x"}, "priority": 1.5}, ["/priority"]),
        ({"inputs": {"text": "x"}, "priority": True}, ["/priority"]),
        ({"inputs": {"text": "x"}, "delay": -1}, ["/delay"]),
        ({"inputs": {"text": "x"}, "delay": "5"}, ["/delay"]),
        ({"inputs": {"text": "x"}, "delay": True}, ["/delay"]),
        ({"inputs": {"text": "x"}, "delay": 366 * 86400 + 1}, ["/delay"]),
        ({"inputs": {"text": "x"}, "start_at": "tomorrow"}, ["/start_at"]),
        ({"inputs": {"text": "x"}, "start_at": "2031-02-03T04:05:06"}, ["/start_at"]),
        ({"inputs": {"text": "x"}, "start_at": "0001-01-01T00:00:00+14:00"}, ["/start_at"]),
        ({"inputs": {"text": "x"}, "start_at": 5}, ["/start_at"]),
        ({"inputs": {"text": "x"}, "start_at": "2031-02-03T04:05:06Z", "delay": 5}, ["/delay"]),
        (
            {"inputs": {}, "priority": "x", "delay": "x", "start_at": "x"},
            ["/inputs/text", "/priority", "/delay", "/start_at"],
        ),
        ([], [""]),
        ("text", [""]),
        (5, [""]),
    ],
)
def test_wrong_input_is_refused_and_nothing_queued(api: Api, path: str, body: Any, pointers: list[str]) -> None:
    assert_problem(api.send("POST", path, body, status=400), 400, "validation", at=pointers)
    assert_nothing_queued()


def test_all_checks_of_an_input(api: Api) -> None:
    inputs = [
        {"name": "n", "type": "number", "minimum": 1, "maximum": 5},
        {"name": "t", "type": "text", "min_length": 2, "max_length": 3, "pattern": "^a"},
        {"name": "e", "type": "text", "enum": ["a", "b"]},
        {"name": "b", "type": "boolean"},
        {"name": "o", "type": "object"},
        {"name": "l", "type": "list"},
    ]
    workflow = make_workflow(
        inputs=inputs, tasks=[{"name": "x", "type": "text.static", "inputs": {"text": "x"}}], outputs=[]
    )
    good = {"n": 5, "t": "ab", "e": "b", "b": False, "o": {}, "l": []}
    start(api, workflow, {"inputs": good})
    bad = {"n": 6, "t": "b", "e": "c", "b": 0, "o": [], "l": {}}
    answer = start(api, workflow, {"inputs": bad}, 400)
    assert_problem(answer, 400, "validation", at=[f"/inputs/{name}" for name in bad])
    assert Execution.objects.count() == 1


def test_defaults_and_optional_inputs(api: Api) -> None:
    inputs = [
        {"name": "a", "type": "text", "default": "A"},
        {"name": "b", "type": "number", "required": False},
        {"name": "c", "type": "text"},
    ]
    tasks = [{"name": "x", "type": "text.static", "inputs": {"text": "{{inputs.c}}"}}]
    workflow = make_workflow(inputs=inputs, tasks=tasks, outputs=[])
    start(api, workflow, {"inputs": {"c": "C"}})
    assert Execution.objects.get().inputs == {"a": "A", "b": None, "c": "C"}


def test_a_workflow_without_inputs_needs_no_body(api: Api) -> None:
    workflow = make_workflow(
        inputs=[], tasks=[{"name": "x", "type": "text.static", "inputs": {"text": "x"}}], outputs=[]
    )
    start(api, workflow, None)
    start(api, workflow, {})
    start(api, workflow, {"inputs": {}})
    assert Execution.objects.count() == 3


def test_an_older_version(api: Api, workflow: Workflow, path: str) -> None:
    only = [{"name": "only", "type": "text.static", "inputs": {"text": "x"}}]
    update_workflow(workflow=workflow, document=DOCUMENT | {"inputs": [], "tasks": only, "outputs": []})
    assert api.call("POST", path, {}, status=201)["workflow_version"] == 2
    old = api.call("POST", path, {"inputs": {"text": "x"}, "workflow_version": 1}, status=201)
    assert old["workflow_version"] == 1
    shown = api.call("GET", f"{path}/{old['workflow_execution_id']}", status=200)
    assert [task["name"] for task in shown["tasks"]] == ["first", "second", "third"]


@pytest.mark.parametrize("version", [2, 999_999_999])
def test_an_unknown_version(api: Api, path: str, version: int) -> None:
    answer = api.send("POST", path, {"inputs": {"text": "x"}, "workflow_version": version}, status=404)
    assert_problem(answer, 404, "not_found")
    assert_nothing_queued()


def test_labels_of_request_and_definition(api: Api) -> None:
    workflow = make_workflow(labels={"team": "a", "kind": "b"})
    body = {"inputs": {"text": "x"}, "labels": {"kind": "c", "näme": ""}}
    started = start(api, workflow, body).json()
    shown = api.call("GET", started["url"], status=200)
    assert shown["labels"] == {"team": "a", "kind": "c", "näme": ""}


def test_the_secret_of_a_webhook_is_not_shown(api: Api, path: str) -> None:
    webhook = {"url": "https://example.com/hook", "events": ["completed"], "secret": "whsec_" + "c2VjcmV0" * 4}
    body = {"inputs": {"text": "x"}, "monitoring": {"webhook": webhook}}
    started = api.call("POST", path, body, status=201)
    execution = Execution.objects.get()
    assert execution.monitoring == {"url": webhook["url"], "events": ["completed"]}
    assert vault.decrypt(execution.webhook_secret) == webhook["secret"]
    assert webhook["secret"] not in api.send("GET", started["url"], status=200).content.decode()


def test_a_file_by_id(api: Api) -> None:
    stored = make_file()
    tasks = [{"name": "x", "type": "text.static", "inputs": {"text": "x"}}]
    workflow = make_workflow(inputs=[{"name": "f", "type": "file"}], tasks=tasks, outputs=[])
    for value in (stored.pk, {"file_id": stored.pk}):
        start(api, workflow, {"inputs": {"f": value}})
    start(api, workflow, {"inputs": {"f": {"url": "https://example.com/x.mp3"}}})
    inputs = [execution.inputs["f"] for execution in Execution.objects.order_by("created_at", "pk")]
    assert inputs.count(stored.as_value()) == 2


@pytest.mark.parametrize(
    "value",
    ["fl-unknown", {"file_id": "fl-unknown"}, "x", 5, {}, {"url": "file:///etc/passwd"}, {"url": 5}, {"file_id": 5},
     {"file_id": "../x"}, {"url": "https://x", "file_id": "fl-1"}, ["fl-1"], {"url": "https://x", "other": 1}],
)  # fmt: skip
def test_a_file_that_is_none(api: Api, value: Any) -> None:
    tasks = [{"name": "x", "type": "text.static", "inputs": {"text": "x"}}]
    workflow = make_workflow(inputs=[{"name": "f", "type": "file"}], tasks=tasks, outputs=[])
    answer = start(api, workflow, {"inputs": {"f": value}}, 400)
    assert_problem(answer, 400, "validation", at=["/inputs/f"])
    assert_nothing_queued()


def test_a_missing_key_is_refused_naming_the_header(api: Api) -> None:
    answer = start(api, make_workflow(**COMPLETION, inputs=[], outputs=[]), {}, 400)
    problem = assert_problem(answer, 400, "missing_key", at=["/tasks/1"])
    assert "X-OpenAI-Key" in problem["detail"]
    assert "X-OpenAI-Key" in problem["errors"][0]["detail"]
    assert_nothing_queued()


def test_the_local_voice_does_not_complete_texts(api: Api, settings: Any) -> None:
    settings.DATAFLOW_LOCAL_VOICE_URL = "http://127.0.0.1:9/v1"
    answer = start(api, make_workflow(**COMPLETION, inputs=[], outputs=[]), {}, 400)
    problem = assert_problem(answer, 400, "missing_key")
    assert "X-OpenAI-Key" in problem["detail"]
    assert "local voice" in problem["errors"][0]["detail"]


def test_a_fallback_needs_its_key_too(api: Api) -> None:
    task = {"name": "a", "type": "text.static", "inputs": {"text": "x"},
            "fallback": {"task": "openai.completion", "inputs": {"text": "x", "prompt": "y"}}}  # fmt: skip
    assert_problem(start(api, make_workflow(inputs=[], outputs=[], tasks=[task]), {}, 400), 400, "missing_key")


def test_a_key_is_kept_encrypted_and_shown_nowhere(api: Api) -> None:
    workflow = make_workflow(**COMPLETION, inputs=[], outputs=[])
    answer = start(api, workflow, {}, X_OpenAI_Key=KEY)
    execution = Execution.objects.get()
    assert json.loads(vault.decrypt(execution.secrets)) == {"OPENAI_API_KEY": KEY}
    stored = [str(value) for model in (Execution, Event) for row in model.objects.values_list() for value in row]  # type: ignore[attr-defined]  # every model has its manager
    assert not any(KEY in value for value in stored)
    seen = [answer, *(api.raw("GET", address) for address in
                      (execution_path(execution), f"/workflows/{workflow.pk}", "/executions", f"/workflows/{workflow.pk}/executions"))]  # fmt: skip
    assert not any(KEY in one.content.decode() + str(one.headers) for one in seen)
    page = api.raw("GET", execution_path(execution), Accept="text/html")
    assert page.status_code == 200
    assert KEY not in page.content.decode()


def test_a_key_is_gone_when_the_execution_has_ended(api: Api) -> None:
    start(api, make_workflow(**COMPLETION, inputs=[], outputs=[]), {}, X_OpenAI_Key=KEY)
    execution = Execution.objects.get()
    api.call("POST", f"{execution_path(execution)}/cancel", status=202)
    execution.refresh_from_db()
    assert execution.secrets == ""


@pytest.mark.parametrize("key", ["", " ", "two words", "é", "x" * 501, "a\tb", "a\0b"])
def test_bad_keys(api: Api, path: str, key: str) -> None:
    answer = api.send("POST", path, {"inputs": {"text": "x"}}, status=400, X_OpenAI_Key=key)
    problem = assert_problem(answer, 400, at=["/X-OpenAI-Key"])
    assert key not in problem["detail"] or not key.strip()
    assert_nothing_queued()


@pytest.mark.parametrize("wait", ["-1", "61", "x", "nan", "inf", "%00", "1e9"])
def test_bad_waits(api: Api, path: str, wait: str) -> None:
    answer = api.send("POST", f"{path}?wait={wait}", {"inputs": {"text": "x"}}, status=400)
    assert_problem(answer, 400, "validation", at=["/wait"])
    assert_nothing_queued()


def test_a_wait_that_is_over_answers_with_the_state_by_then(api: Api, path: str) -> None:
    answer = api.call("POST", f"{path}?wait=0.05", {"inputs": {"text": "x"}}, status=201)
    assert answer["status"] == "PENDING"
    assert [task["status"] for task in answer["tasks"]] == ["PENDING"] * 3


def test_of_an_unknown_workflow(api: Api) -> None:
    assert_problem(api.send("POST", "/workflows/wf-unknown/executions", {}, status=404), 404, "not_found")


def test_it_costs_few_queries(api: Api, path: str, django_assert_max_num_queries: Any) -> None:
    api.call("POST", path, {"inputs": {"text": "x"}}, status=201)
    with django_assert_max_num_queries(8):
        api.call("POST", path, {"inputs": {"text": "x"}}, status=201)


def execution_path(execution: Execution) -> str:
    return f"/workflows/{execution.workflow_id}/executions/{execution.pk}"
