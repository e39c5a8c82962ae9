"""Secrets and sensitive inputs in executions: used, and neither stored nor shown where they do not belong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.test import Client

from dataflow.lib.errors import ApiProblem
from executions import downloads, files, secret_store
from executions.hidden import mask_of
from executions.models import Attempt, Delivery, Event, Execution, TaskRun
from executions.services import start_execution
from executions.triggers import schedules
from executions.verbs import Rerun, rerun_execution, resume_execution
from executions.worker.node import Node
from tests.api_client import Api
from tests.carrier_driver import go_on
from tests.executions_driver import carry, started
from tests.factories import make_file, make_workflow
from tests.stubs.openai_stub import OpenAIStub
from tests.stubs.web_stub import WebStub
from workflows.models import Workflow
from workflows.services import create_workflow

pytestmark = pytest.mark.django_db(transaction=True)

TOKEN = "tok-canary/0815+x"
PIN = "pin-canary-4711"


@pytest.fixture
def token() -> str:
    secret_store.set_secret(name="TOKEN", value=TOKEN)
    return TOKEN


@pytest.fixture
def web() -> Iterator[WebStub]:
    with WebStub() as stub:
        yield stub


@pytest.fixture
def openai(settings: Any) -> Iterator[OpenAIStub]:
    with OpenAIStub(key="sk-canary-of-openai") as stub:
        settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY = stub.base_url, ""
        yield stub


def task(name: str, kind: str, /, **inputs: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "inputs": inputs}


def done(execution: Execution) -> Execution:
    carry(execution)
    return Execution.objects.get(pk=execution.pk)


def stored() -> str:
    """Everything that the engine stored, as text."""
    models: tuple[Any, ...] = (Execution, TaskRun, Attempt, Event, Delivery)
    return json.dumps([list(model.objects.values()) for model in models], default=str, ensure_ascii=False)


def test_a_secret_reaches_the_task_and_nothing_else(token: str, web: WebStub) -> None:
    headers = {"Authorization": "Bearer {{secrets.TOKEN}}"}
    execution = done(
        started(
            task("ask", "http.request", url=web.url("/echo?t={{secrets.TOKEN}}"), headers=headers),
            task("on", "text.echo", text="got {{tasks.ask.outputs.body}}"),
            outputs=[{"name": "body", "type": "text", "value": "{{tasks.on.outputs.text}}"}],
        )
    )
    assert execution.status == "COMPLETED", execution.error
    (asked,) = web.requests
    assert asked.headers["authorization"] == f"Bearer {token}"
    assert "Bearer ***" in execution.outputs["body"]
    assert "canary" not in stored()
    assert TaskRun.objects.get(name="ask").inputs["headers"] == {"Authorization": "Bearer ***"}


def test_an_output_that_is_kept_as_a_file_does_not_hold_it(token: str, web: WebStub) -> None:
    page = web.page("/long", f"{'x' * 300_000} {token} {quote(token, safe='')} end", content_type="text/plain")
    execution = done(started(task("ask", "http.request", url=f"{page}?t={{{{secrets.TOKEN}}}}")))
    assert execution.status == "COMPLETED", execution.error
    kept = TaskRun.objects.get(name="ask").stored["body"]["file_id"]
    with files.open_stored(kept) as content:
        assert json.load(content).endswith("x *** *** end")


def test_errors_of_tasks_and_of_expressions_do_not_quote_it(token: str) -> None:
    for inputs in ({"message": "no {{secrets.TOKEN}}"}, {"message": "{{string(int(secrets.TOKEN))}}"}):
        execution = done(started(task("f", "flow.fail", **inputs), monitoring={"webhook_url": "https://example.com/"}))
        assert execution.status == "FAILED"
        assert "***" in execution.error["message"] or "int" in execution.error["message"]
    assert "canary" not in stored()


def test_each_try_reads_it_anew(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executions.hidden._FRESH_SECONDS", -1)
    execution = started(
        task("a", "text.size", text="{{secrets.TOKEN}}"), task("b", "text.size", text="{{secrets.TOKEN}}")
    )
    secret_store.set_secret(name="TOKEN", value="another value")
    carry(execution)
    assert [run.outputs["size"] for run in TaskRun.objects.order_by("position")] == [13, 13]


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"condition": "{{secrets.TOKEN == 'x'}}"}, "/tasks/0/condition", "unknown_reference"),
        ({"for_each": "{{[secrets.TOKEN]}}"}, "/tasks/0/for_each", "unknown_reference"),
        ({"inputs": {"text": "{{secrets.token}}"}}, "/tasks/0/inputs/text", "unknown_reference"),
        (
            {"type": "workflow.run", "inputs": {"workflow_id": "wf-x", "inputs": {"a": "{{secrets.TOKEN}}"}}},
            "/tasks/0/inputs/inputs",
            "secret_not_allowed",
        ),
    ],
)
def test_where_a_secret_cannot_stand(fields: dict[str, Any], pointer: str, code: str) -> None:
    with pytest.raises(ApiProblem) as refused:
        make_workflow(tasks=[task("a", "text.echo", text="x") | fields], outputs=[])
    assert (pointer, code) in [(one.pointer, one.code) for one in refused.value.errors]


NEEDS = [
    (task("a", "text.echo", text="{{secrets.ABSENT}}"), "missing_secret", "`ABSENT`"),
    (task("a", "sql.query", connection="absent", query="SELECT 1"), "missing_connection", "`absent`"),
    (task("a", "sql.query", connection="{{inputs.db}}", query="SELECT 1"), "missing_connection", "`absent`"),
]


@pytest.mark.parametrize(("one", "code", "named"), NEEDS)
def test_what_is_missing_is_refused_at_the_start(one: dict[str, Any], code: str, named: str) -> None:
    inputs = [{"name": "db", "type": "text", "default": "absent"}]
    fallback = {"task": one["type"], "inputs": one["inputs"]}
    for tasks in ([one], [task("a", "flow.fail", message="x") | {"fallback": fallback}]):
        workflow = create_workflow(document={"title": "T", "inputs": inputs, "tasks": tasks}).workflow
        with pytest.raises(ApiProblem) as refused:
            start_execution(workflow=workflow, inputs={})
        assert refused.value.status == 400
        assert [(problem.code, named in problem.detail) for problem in refused.value.errors] == [(code, True)]
        assert refused.value.errors[0].pointer.startswith("/tasks/0/")
    assert not Execution.objects.exists()


def test_it_is_a_warning_when_the_definition_is_made() -> None:
    api = Api()
    document = {"title": "T", "tasks": [task("a", "text.echo", text="{{secrets.ABSENT}}")]}
    warnings = api.call("POST", "/workflows", document, status=201)["warnings"]
    assert [(one["code"], one["pointer"]) for one in warnings] == [("missing_secret", "/tasks/0/inputs/text")]
    assert api.call("POST", "/workflows/validate", document, status=200)["warnings"] == warnings


def test_resumes_reruns_schedules_and_children_are_refused_too(token: str) -> None:
    tasks = [task("a", "flow.fail", message="{{secrets.TOKEN}}")]
    workflow = create_workflow(document={"title": "T", "tasks": tasks}).workflow
    parent = {"title": "P", "tasks": [task("run", "workflow.run", workflow_id=workflow.pk)]}
    execution = done(start_execution(workflow=workflow, inputs={}))
    outer = start_execution(workflow=create_workflow(document=parent).workflow, inputs={})
    schedule = schedules.create_schedule(workflow=workflow, document={"every_minutes": 5})
    secret_store.delete_secret(name="TOKEN")
    for call in (resume_execution, rerun_execution):
        with pytest.raises(ApiProblem, match="There is no secret `TOKEN`"):
            call(execution=execution)
    assert "no secret `TOKEN`" in done(outer).error["message"]
    schedules.run_due(schedule.next_run_at)
    schedule.refresh_from_db()
    assert schedule.last_error["code"] == "missing_secret"


@pytest.mark.parametrize("way", ["header", "secret", "environment"])
def test_the_providers_key(openai: OpenAIStub, settings: Any, way: str) -> None:
    """In this order; what is given nowhere is refused."""
    tasks = [task("a", "openai.completion", text="Hello", prompt="Say it")]
    workflow = create_workflow(document={"title": "T", "tasks": tasks}).workflow
    settings.OPENAI_API_KEY = openai.key if way == "environment" else "sk-of-the-environment" if way == "secret" else ""
    if way != "environment":
        secret_store.set_secret(name="OPENAI_API_KEY", value=openai.key if way == "secret" else "sk-of-the-secret")
    key = openai.key if way == "header" else None
    assert done(start_execution(workflow=workflow, inputs={}, openai_key=key)).status == "COMPLETED"
    assert "canary" not in stored()
    secret_store.delete_secret(name="OPENAI_API_KEY") if way != "environment" else None
    settings.OPENAI_API_KEY = ""
    with pytest.raises(ApiProblem, match="needs an OpenAI key"):
        start_execution(workflow=workflow, inputs={})


def test_executions_without_secrets_ask_for_none(django_assert_num_queries: Any, monkeypatch: Any) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("a query for secrets")

    monkeypatch.setattr(secret_store, "values_of", refuse)
    monkeypatch.setattr(secret_store, "existing_secrets", lambda names: set(names) and refuse())
    monkeypatch.setattr(secret_store, "kinds_of", lambda names: dict(names) and refuse())
    execution = done(started())
    assert execution.status == "COMPLETED"
    with django_assert_num_queries(0):
        assert not mask_of(execution)


# Sensitive inputs


@pytest.fixture
def guarded() -> Workflow:
    tasks = [
        task("first", "text.static", text="pin {{inputs.pin}}"),
        task("size", "text.size", text="{{tasks.first.outputs.text}}"),
        task("ask", "flow.approval", title="May {{inputs.pin}}?"),
        task("fail", "flow.fail", message="refused: {{tasks.first.outputs.text}}"),
    ]
    inputs = [
        {"name": "pin", "type": "text", "sensitive": True, "min_length": 4},
        {"name": "code", "type": "number", "sensitive": True, "default": 123456},
        {"name": "plain", "type": "text", "default": "seen"},
    ]
    return create_workflow(document={"title": "T", "inputs": inputs, "tasks": tasks}).workflow


def test_a_sensitive_value_goes_on_and_is_shown_nowhere(guarded: Workflow) -> None:
    api, monitoring = Api(), {"webhook": {"url": "https://example.com/", "events": ["failed", "task"]}}
    execution = start_execution(workflow=guarded, inputs={"pin": PIN}, monitoring=monitoring)
    carry(execution)
    path = f"/workflows/{guarded.pk}/executions/{execution.pk}"
    question = Client(headers={"accept": "text/html"}).get(f"/pages/executions/{execution.pk}/tasks/ask/decide")
    texts = [_shown(path), question.content.decode()]
    api.call("POST", f"{path}/tasks/ask/approve", {}, status=202)
    carry(execution)
    assert TaskRun.objects.get(name="size").outputs == {"size": len(f"pin {PIN}")}
    assert TaskRun.objects.get(name="first").outputs == {"text": f"pin {PIN}"}, "tasks get the true value"
    shown = api.call("GET", path, status=200)
    assert shown["inputs"] == {"pin": "***", "code": "***", "plain": "seen"}
    assert shown["tasks"][0]["outputs"] == {"text": "pin ***"}
    assert shown["error"]["message"] == "refused: pin ***"
    texts += [_shown(path), str(list(Delivery.objects.values("body"))), str(list(Event.objects.values("data")))]
    for text in texts:
        assert "canary" not in text
        assert "123456" not in text


def _shown(path: str) -> str:
    execution = path.rsplit("/", 1)[1]
    web = Client(headers={"accept": "text/html"})
    workflow = path.split("/executions", maxsplit=1)[0]
    pages: tuple[str, ...] = (
        path,
        "/executions",
        f"{workflow}/run?from={execution}",
        f"/pages/executions/{execution}/rerun",
    )
    pages += (f"/pages/executions/{execution}/value?kind=inputs&name=pin",)
    texts = []
    for page in pages:
        answer = web.get(page)
        assert answer.status_code == 200, page
        texts.append(answer.content.decode())
    api = Api()
    texts += [api.get(one).content.decode() for one in (path, f"{path}/events", f"{path}/logs", "/executions")]
    return "".join(texts)


def test_items_of_a_list_mask_them_too() -> None:
    one = task("each", "text.echo", text="{{item}} {{inputs.pin}}") | {"for_each": "{{inputs.many}}"}
    inputs = [{"name": "pin", "type": "text", "sensitive": True}, {"name": "many", "type": "list", "sensitive": True}]
    workflow = create_workflow(document={"title": "T", "inputs": inputs, "tasks": [one]}).workflow
    execution = start_execution(workflow=workflow, inputs={"pin": PIN, "many": ["item-canary-1", 2, "x"]})
    assert done(execution).status == "COMPLETED"
    path = f"/workflows/{workflow.pk}/executions/{execution.pk}"
    items = Api().call("GET", f"{path}/tasks/each/items", status=200)["items"]
    assert [item["outputs"]["text"] for item in items] == ["*** ***", "2 ***", "x ***"]
    assert [item["inputs"]["text"] for item in items] == ["*** ***", "2 ***", "x ***"]
    assert "canary" not in _shown(path)


def test_of_a_sensitive_file_its_name_and_its_address_are_masked() -> None:
    stored = make_file(name="canary-report.txt")
    inputs = [{"name": "file", "type": "file", "sensitive": True}]
    workflow = create_workflow(
        document={"title": "T", "inputs": inputs, "tasks": [task("read", "file.read", file="{{inputs.file}}")]}
    ).workflow
    execution = done(start_execution(workflow=workflow, inputs={"file": stored.pk}))
    shown = Api().call("GET", f"/workflows/{workflow.pk}/executions/{execution.pk}", status=200)
    assert shown["inputs"] == {"file": "***"}
    sent = shown["tasks"][0]["inputs"]["file"]
    assert (sent["file_id"], sent["name"], sent["sha256"], sent["url"]) == ("***",) * 4
    assert sent["content_type"] == stored.content_type


def test_no_search_finds_them(guarded: Workflow) -> None:
    execution = start_execution(workflow=guarded, inputs={"pin": PIN})
    root = Client(headers={"accept": "text/html"})
    root.force_login(User.objects.create_superuser("root"))
    for address in (f"/admin/executions/execution/?q={PIN}", f"/workflows?search={PIN}"):
        assert execution.pk not in root.get(address).content.decode()
    assert execution.pk in root.get("/admin/executions/execution/").content.decode()
    assert Api().call("GET", f"/executions?label=pin:{PIN}", status=200)["executions"] == []


def test_a_child_keeps_what_its_parent_must_not_show() -> None:
    child = make_workflow()
    tasks = [task("run", "workflow.run", workflow_id=child.pk, inputs={"text": "{{inputs.pin}}"})]
    inputs = [{"name": "pin", "type": "text", "sensitive": True}]
    parent = create_workflow(document={"title": "P", "inputs": inputs, "tasks": tasks}).workflow
    execution = start_execution(workflow=parent, inputs={"pin": PIN})
    go_on(Node(threads=1).run)
    inner = Execution.objects.get(parent=execution)
    assert inner.outputs == {"text": PIN[::-1]}, "reversed: what a task makes of a value is not found"
    api = Api()
    for one in (execution, inner):
        text = api.get(f"/workflows/{one.workflow_id}/executions/{one.pk}").content.decode()
        assert PIN not in text
    assert PIN not in json.dumps(list(TaskRun.objects.values("inputs")))


def test_a_rerun_keeps_the_value_that_it_was_not_shown(guarded: Workflow) -> None:
    execution = start_execution(workflow=guarded, inputs={"pin": PIN})
    shown = Api().call("GET", f"/workflows/{guarded.pk}/executions/{execution.pk}", status=200)["inputs"]
    again = rerun_execution(execution=execution, changes=Rerun(inputs=shown)).execution
    assert again.inputs == execution.inputs
    with pytest.raises(ApiProblem) as refused:
        start_execution(workflow=guarded, inputs=shown)
    assert [one.code for one in refused.value.errors] == ["masked_value"] or refused.value.errors[
        0
    ].pointer == "/inputs/pin"


def test_the_rerun_page_leaves_it_as_it_was(guarded: Workflow) -> None:
    execution = start_execution(workflow=guarded, inputs={"pin": PIN})
    web = Client(headers={"accept": "text/html"})
    answer = web.post(
        f"/pages/executions/{execution.pk}/rerun", {"version": 1, "input_pin": "", "input_plain": "other"}
    )
    assert answer.status_code == 302, answer.content.decode()
    again = Execution.objects.get(rerun_of=execution)
    assert again.inputs == {"pin": PIN, "code": 123456, "plain": "other"}


def test_schedules_show_none_and_keep_it(guarded: Workflow) -> None:
    api, path = Api(), f"/workflows/{guarded.pk}/schedules"
    document = {"every_minutes": 5, "inputs": {"pin": PIN, "plain": "x"}}
    made = api.call("POST", path, document, status=201)
    assert made["inputs"] == {"pin": "***", "plain": "x"}
    at = f"{path}/{made['schedule_id']}"
    api.call("PUT", at, {"every_minutes": 6, "inputs": made["inputs"]}, status=200)
    api.call("PATCH", at, {"inputs": {"pin": "***", "plain": "y"}}, status=200)
    assert guarded.schedules.get().inputs == {"pin": PIN, "plain": "y"}
    assert PIN not in Client(headers={"accept": "text/html"}).get(f"/workflows/{guarded.pk}").content.decode()
    api.call("POST", path, {"every_minutes": 5, "inputs": {"pin": "***"}}, status=400)


def test_a_default_of_a_sensitive_input_is_warned_of() -> None:
    inputs = [{"name": "pin", "type": "text", "sensitive": True, "default": "0000"}]
    document = {"title": "T", "inputs": inputs, "tasks": [task("a", "text.echo", text="{{inputs.pin}}")]}
    warnings = Api().call("POST", "/workflows/validate", document, status=200)["warnings"]
    assert [one["code"] for one in warnings] == ["sensitive_default"]


def large_output(filler: int) -> tuple[Execution, Client]:
    """An execution whose output has a sensitive value and is kept as a file; somebody who may only look."""
    join = task("join", "text.join", list=["{{inputs.pin}}", "{{inputs.filler}}"])
    inputs = [{"name": "pin", "type": "text", "sensitive": True}, {"name": "filler", "type": "text"}]
    outputs = [{"name": "whole", "type": "text", "value": "{{tasks.join.outputs.text}}"}]
    execution = started(join, values={"pin": PIN, "filler": "x" * filler}, inputs=inputs, outputs=outputs)
    carry(execution)
    viewer = Client()
    viewer.force_login(User.objects.create_user("viewer"))
    return Execution.objects.get(pk=execution.pk), viewer


@pytest.mark.parametrize("of_task", [True, False])
def test_an_output_kept_as_a_file_is_downloaded_without_sensitive_values(*, of_task: bool) -> None:
    execution, viewer = large_output(300_000)
    kept = TaskRun.objects.get().stored["text"] if of_task else execution.stored["whole"]
    answer = viewer.get(f"/files/{kept['file_id']}/content", headers={"range": "bytes=0-99"})
    assert answer.status_code == 200
    assert answer.json() == "***\n" + "x" * 300_000
    with files.open_stored(kept["file_id"]) as content:  # tasks get it as it is
        assert PIN in content.read(100).decode()


def test_a_larger_one_is_not_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "MAX_MASKED", 300_000)
    execution, viewer = large_output(300_000)
    answer = viewer.get(f"/files/{execution.stored['whole']['file_id']}/content")
    assert (answer.status_code, answer.json()["code"]) == (403, "authorization")
    assert PIN not in answer.content.decode()
