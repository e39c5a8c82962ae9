"""``GET /workflows/{id}/executions/{eid}``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.dateparse import parse_datetime
from rest_framework.renderers import JSONRenderer

from executions import reading
from executions.database import database_now, rows_of
from executions.engine.state import ExecutionStatus, TaskStatus
from executions.models import Attempt, Execution, TaskRun
from executions.present import describe_execution
from executions.waiting import LOST_WORKER
from tests.api_client import Api, assert_problem
from tests.factories import START, make_execution, make_file, make_task_run, make_worker, make_workflow
from workflows.models import Workflow
from workflows.services import archive_workflow

pytestmark = pytest.mark.django_db

TASK_FIELDS = {
    "name", "type", "status", "attempt", "attempts", "started_at", "completed_at", "duration", "outputs", "error", "usage",
}  # fmt: skip


def test_it_works(api: Api, workflow: Workflow) -> None:
    execution = make_execution(workflow, outputs={"text": "cba"})
    for name in ("third", "first", "second"):
        make_task_run(execution, name, outputs={"text": name}, usage={"tokens": 3})
    shown = api.call("GET", f"/workflows/{workflow.pk}/executions/{execution.pk}", status=200)
    assert shown["workflow_execution_id"] == execution.pk
    assert (shown["workflow_id"], shown["workflow_version"]) == (workflow.pk, 1)
    assert shown["status"] == "COMPLETED"
    assert [(task["name"], task["status"]) for task in shown["tasks"]] == [
        ("first", "COMPLETED"), ("second", "COMPLETED"), ("third", "COMPLETED")
    ]  # fmt: skip
    assert all(set(task) >= TASK_FIELDS for task in shown["tasks"])
    first = shown["tasks"][0]
    assert first["outputs"] == {"text": "first"}
    assert (first["started_at"], first["completed_at"]) == ("2025-11-23T08:00:00Z", "2025-11-23T08:00:01Z")
    assert (first["duration"], first["type"], first["attempt"]) == (1, "text.static", 1)
    assert shown["inputs"] == {"text": "abc"}
    assert shown["outputs"] == {"text": "cba"}
    assert shown["error"] is shown["waiting_for"] is None
    assert shown["usage"] == {"tokens": 9}
    assert shown["actions"] == ["rerun"]
    assert shown["url"] == f"/workflows/{workflow.pk}/executions/{execution.pk}"


def test_every_task_is_there_from_the_start(api: Api, workflow: Workflow) -> None:
    execution = make_execution(workflow, ExecutionStatus.PENDING)
    shown = api.call("GET", f"/workflows/{workflow.pk}/executions/{execution.pk}", status=200)
    assert shown["status"] == "PENDING"
    assert [(task["name"], task["status"]) for task in shown["tasks"]] == [
        ("first", "PENDING"), ("second", "PENDING"), ("third", "PENDING")
    ]  # fmt: skip
    assert all(set(task) >= TASK_FIELDS for task in shown["tasks"])
    assert shown["started_at"] is shown["completed_at"] is shown["outputs"] is None
    assert shown["actions"] == ["cancel", "rerun"]


def test_what_it_waits_for(api: Api, workflow: Workflow) -> None:
    execution = make_execution(workflow, ExecutionStatus.PENDING)
    path = f"/workflows/{workflow.pk}/executions/{execution.pk}"
    waiting = api.call("GET", path, status=200)["waiting_for"]
    assert waiting["for"] == "worker"
    assert "worker" in waiting["detail"]
    make_worker()
    assert api.call("GET", path, status=200)["waiting_for"]["detail"] is None
    make_task_run(execution, "first", TaskStatus.WAITING, due_at=START + timedelta(minutes=1))
    waiting = api.call("GET", path, status=200)["waiting_for"]
    assert (waiting["for"], waiting["until"]) == ("retry", "2025-11-23T08:01:00Z")


def with_items(execution: Execution, *items: dict[str, Any]) -> str:
    """Let the first task be a list under way with these items; the execution's address."""
    counted = {"total": 9, "next": len(items), "completed": 0, "failed": 0}
    make_task_run(execution, "first", TaskStatus.RUNNING, items=counted)
    for place, fields in enumerate(items):
        TaskRun.objects.create(
            execution=execution,
            name=f"first[{place}]",
            item=place,
            position=0,
            type="flow.approval",
            attempt=1,
            **fields,
        )
    make_worker()
    return f"/workflows/{execution.workflow_id}/executions/{execution.pk}"


APPROVAL = {"for": "approval", "since": "2025-11-23T08:00:00+00:00", "title": "Go on?"}


def test_items_that_wait_are_what_it_waits_for(api: Api, workflow: Workflow) -> None:
    execution = make_execution(workflow, ExecutionStatus.RUNNING)
    waits = {"status": TaskStatus.WAITING, "waiting": {"for": "timer"}, "due_at": START + timedelta(minutes=1)}
    path = with_items(execution, waits, {"status": TaskStatus.WAITING, "waiting": APPROVAL})
    shown = api.call("GET", path, status=200)
    assert shown["waiting_for"].items() >= {"for": "approval", "task": "first[1]", "detail": "Go on?"}.items()
    assert [reason["task"] for reason in shown["waiting_for"]["all"]] == ["first[1]", "first[0]"]
    assert shown["actions"] == ["cancel", "rerun", "approve", "reject"]


def test_an_item_that_runs_is_waited_for_by_nobody_but_a_person_may_be(api: Api, workflow: Workflow) -> None:
    execution = make_execution(workflow, ExecutionStatus.RUNNING)
    path = with_items(execution, {"status": TaskStatus.RUNNING}, {"status": TaskStatus.WAITING, "waiting": APPROVAL})
    shown = api.call("GET", path, status=200)
    assert shown["waiting_for"] is None
    assert "approve" in shown["actions"]


def test_a_list_of_which_nothing_runs_waits_for_a_worker(api: Api, workflow: Workflow) -> None:
    path = with_items(make_execution(workflow, ExecutionStatus.RUNNING))
    waiting = api.call("GET", path, status=200)["waiting_for"]
    assert waiting["for"] == "worker"


@pytest.mark.parametrize("seconds", [-60, 60])
def test_a_try_whose_worker_is_gone_waits_for_another(api: Api, workflow: Workflow, seconds: int) -> None:
    execution = make_execution(workflow, ExecutionStatus.RUNNING)
    until = database_now() + timedelta(seconds=seconds)
    make_task_run(execution, "first", TaskStatus.RUNNING, lease_until=until)
    path = f"/workflows/{workflow.pk}/executions/{execution.pk}"
    waiting = api.call("GET", path, status=200)["waiting_for"]
    if seconds > 0:
        assert waiting is None
        return
    assert (waiting["for"], waiting["task"], "worker" in waiting["detail"]) == ("worker", "first", True)
    assert parse_datetime(waiting["since"]) == until
    make_worker()
    assert api.call("GET", path, status=200)["waiting_for"]["detail"] == LOST_WORKER


def test_the_failed_tries_of_a_task(api: Api, workflow: Workflow) -> None:
    error = {"code": "timeout", "message": "Too slow."}
    execution = make_execution(workflow, ExecutionStatus.FAILED, error=error | {"task": "first"})
    run = make_task_run(execution, "first", TaskStatus.FAILED, attempt=2, error=error)
    for number in (1, 2):
        Attempt.objects.create(
            task_run=run, number=number, type="text.static", started_at=START, ended_at=START, error=error
        )
    shown = api.call("GET", f"/workflows/{workflow.pk}/executions/{execution.pk}", status=200)
    first, second, _ = shown["tasks"]
    told = error | {"detail": "Too slow.", "pointer": "/tasks/0"}
    assert [(attempt["number"], attempt["status"], attempt["error"]) for attempt in first["attempts"]] == [
        (1, "FAILED", told), (2, "FAILED", told)
    ]  # fmt: skip
    assert first["error"] == told
    assert shown["error"] == told | {"task": "first"}
    assert second["status"] == "CANCELLED"


def test_where_it_comes_from(api: Api, workflow: Workflow) -> None:
    source = make_execution(workflow)
    more = {"priority": 7, "trigger": "rerun", "trigger_ref": source.pk, "rerun_of": source, "parent": source}
    more["parent_task"] = "pages[3]"
    execution = make_execution(workflow, **more)
    shown = api.call("GET", f"/workflows/{workflow.pk}/executions/{execution.pk}", status=200)
    assert {name: shown[name] for name in more} == more | {"rerun_of": source.pk, "parent": source.pk}


def test_the_items_of_a_task_are_no_tasks(api: Api, workflow: Workflow) -> None:
    execution = make_execution(workflow, ExecutionStatus.RUNNING)
    counted = {"total": 3, "next": 2, "completed": 1, "failed": 0}
    make_task_run(execution, "first", TaskStatus.RUNNING, items=counted, child="we-child")
    item = {"type": "text.static", "position": 0, "attempt": 1, "started_at": START}
    for number, status in enumerate((TaskStatus.COMPLETED, TaskStatus.RUNNING)):
        TaskRun.objects.create(execution=execution, name=f"first[{number}]", item=number, status=status, **item)
    path = f"/workflows/{workflow.pk}/executions/{execution.pk}"
    tasks = api.call("GET", path, status=200)["tasks"]
    assert [task["name"] for task in tasks] == ["first", "second", "third"]
    assert tasks[0]["items"] == {"total": 3, "completed": 1, "failed": 0}
    assert tasks[0]["child"] == "we-child"
    assert "items" not in tasks[1]

    first = api.send("GET", f"{path}/tasks/first/items?limit=1", status=200)
    assert [(one["index"], one["status"], one["attempt"]) for one in first.json()["items"]] == [(0, "COMPLETED", 1)]
    rest = api.call("GET", first.headers["Link"][1:].partition(">")[0], status=200)
    assert [(one["index"], one["status"]) for one in rest["items"]] == [(1, "RUNNING")]
    assert rest["next_cursor"] is None
    assert api.call("GET", f"{path}/tasks/first/items?cursor=2", status=200)["items"] == []
    for name in ("second", "nothing"):
        assert_problem(api.raw("GET", f"{path}/tasks/{name}/items"), 404, "not_found")
    for query in ("cursor=x", "limit=0", "limit=201", "cursor=-1", "cursor=99999999999"):
        at = [f"/{query.partition('=')[0]}"]
        assert_problem(api.raw("GET", f"{path}/tasks/first/items?{query}"), 400, "validation", at=at)


def test_an_item_tells_of_its_tries(api: Api, workflow: Workflow) -> None:
    execution = make_execution(workflow, ExecutionStatus.FAILED)
    task = make_task_run(execution, "first", TaskStatus.FAILED, items={"total": 9, "next": 9, "completed": 0})
    said = [{"at": "2025-11-23T08:00:00Z", "level": "info", "message": "so"}]
    error = {"code": "timeout", "message": "Too slow."}

    def item(number: int, status: TaskStatus, attempt: int, **fields: Any) -> None:
        run = TaskRun.objects.create(
            execution=execution, name=f"first[{number}]", item=number, status=status, attempt=attempt, position=0,
            type="text.static", started_at=START, attempt_started_at=START, inputs={"text": "new"}, log=said, **fields,
        )  # fmt: skip
        for tried in range(1, attempt + (status != TaskStatus.COMPLETED)):
            Attempt.objects.create(
                task_run=run, number=tried, type="text.echo", started_at=START, ended_at=START, error=error,
                inputs={"text": "old"}, usage={"characters": 3}, log=said,
            )  # fmt: skip

    item(0, TaskStatus.COMPLETED, 2, usage={"characters": 4}, outputs={"text": "out"})
    item(1, TaskStatus.FAILED, 1, error=error)
    item(2, TaskStatus.COMPLETED, 1)
    path = f"/workflows/{workflow.pk}/executions/{execution.pk}/tasks/{task.name}/items"
    api.call("GET", path, status=200)  # the definition is read once
    with CaptureQueriesContext(connection) as few:
        api.call("GET", f"{path}?limit=1", status=200)
    with CaptureQueriesContext(connection) as captured:
        first, second, third = api.call("GET", path, status=200)["items"]
    assert len(captured) == len(few)
    (failed, completed) = first["attempts"]
    told = error | {"detail": "Too slow.", "pointer": "/tasks/0"}
    assert failed | {"number": 1, "status": "FAILED", "type": "text.echo", "error": told} == failed
    assert (failed["inputs"], failed["usage"], failed["log"]) == ({"text": "old"}, {"characters": 3}, said)
    assert completed | {"number": 2, "status": "COMPLETED", "error": None, "usage": {"characters": 4}} == completed
    assert (first["log"], first["name"]) == (said, "first[0]")
    assert [one["status"] for one in second["attempts"]] == ["FAILED"]
    assert [one["number"] for one in third["attempts"]] == [1]

    for query, wanted in (
        ("FAILED", [1]),
        ("failed,running", [1]),
        ("COMPLETED&status=FAILED", [0, 1, 2]),
        ("", [0, 1, 2]),
    ):
        found = api.call("GET", f"{path}?status={query}", status=200)["items"]
        assert [one["index"] for one in found] == wanted
    paged = api.send("GET", f"{path}?status=COMPLETED&limit=1", status=200)
    rest = api.call("GET", paged.headers["Link"][1:].partition(">")[0], status=200)
    assert [one["index"] for one in rest["items"]] == [2]
    assert_problem(api.raw("GET", f"{path}?status=DONE"), 400, "validation", at=["/status"])


def test_large_outputs_are_given_by_reference(api: Api, workflow: Workflow) -> None:
    stored = make_file("text.json", "application/json", b'"large"')
    execution = make_execution(workflow, outputs={"text": None}, stored={"text": {"file_id": stored.pk, "size": 7}})
    shown = api.call("GET", f"/workflows/{workflow.pk}/executions/{execution.pk}", status=200)
    assert shown["outputs"]["text"]["url"] == f"/files/{stored.pk}/content"


@pytest.mark.parametrize("execution", ["we-unknown", "we-" + "a" * 60, "we-ABC", "we-a%00", "1", "we-", "fl-1"])
def test_unknown(api: Api, workflow: Workflow, execution: str) -> None:
    assert_problem(api.raw("GET", f"/workflows/{workflow.pk}/executions/{execution}"), 404, "not_found")


def test_of_another_workflow(api: Api, workflow: Workflow) -> None:
    execution = make_execution(make_workflow())
    for address in (f"/workflows/{workflow.pk}", "/workflows/wf-unknown"):
        assert_problem(api.raw("GET", f"{address}/executions/{execution.pk}"), 404, "not_found")
        assert_problem(api.raw("POST", f"{address}/executions/{execution.pk}/cancel"), 404, "not_found")


def test_the_queries_do_not_grow_with_tasks(api: Api, django_assert_max_num_queries: Any) -> None:
    tasks = [{"name": f"t{place}", "type": "text.static", "inputs": {"text": "x"}} for place in range(30)]
    execution = make_execution(make_workflow(tasks=tasks, inputs=[], outputs=[]))
    for task in tasks:
        run = make_task_run(execution, str(task["name"]))
        Attempt.objects.create(task_run=run, number=1, type="text.static", started_at=START, ended_at=START)
    with django_assert_max_num_queries(4):
        shown = api.call("GET", f"/workflows/{execution.workflow_id}/executions/{execution.pk}", status=200)
    assert len(shown["tasks"]) == 30


def test_one_query_reads_it_all(api: Api, workflow: Workflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PostgreSQL; and what it reads is what the models hold."""
    execution = make_execution(workflow, outputs={"text": "cba"}, completed_at=START + timedelta(microseconds=120_000))
    odd = {"text": '\u2028 \u00fc \U0001f600 \\ " \n', "numbers": [1.0, 1e300, 2**53 + 1, -0.5, None, True], "é": {}}
    make_task_run(
        execution, "first", outputs=odd, inputs=odd, usage={"tokens": 1.0}, log=[{"message": "x"}], progress=1.0,
        completed_at=START + timedelta(microseconds=1), items={"total": 2, "completed": 1, "next": 2, "failed": 1},
        worker="w", progress_message="half",
    )  # fmt: skip
    make_task_run(execution, "second", outputs=None, inputs=None, progress=None, error={"code": "x", "message": "y"})
    TaskRun.objects.create(execution=execution, name="first[0]", item=0, type="x", position=0)
    by_models = Execution.objects.get(pk=execution.pk), TaskRun.objects.filter(execution=execution, item=None)
    expected = describe_execution(*by_models)
    api.call("GET", f"/workflows/{workflow.pk}/executions/{execution.pk}", status=200)
    sent: list[str] = []

    def counted(statement: str, values: Any) -> Any:
        sent.append(statement)
        return rows_of(statement, values)

    monkeypatch.setattr(reading, "rows_of", counted)
    found = reading.read_shown(workflow.pk, execution.pk)
    assert found is not None
    assert len(sent) == (1 if connection.vendor == "postgresql" else 2)
    with CaptureQueriesContext(connection) as others:
        assert JSONRenderer().render(describe_execution(*found)) == JSONRenderer().render(expected)
    assert [query["sql"][:40] for query in others.captured_queries if "executions_execution" in query["sql"]] == []
    assert len(sent) == (1 if connection.vendor == "postgresql" else 3)


@pytest.mark.parametrize("archived", [False, True])
def test_of_an_archived_workflow_nothing_is_run_again(api: Api, workflow: Workflow, *, archived: bool) -> None:
    execution = make_execution(workflow)
    if archived:
        archive_workflow(workflow=workflow)
    shown = api.call("GET", f"/workflows/{workflow.pk}/executions/{execution.pk}", status=200)
    assert shown["actions"] == ([] if archived else ["rerun"])


def test_what_models_were_used_and_what_it_cost(api: Api, workflow: Workflow) -> None:
    """Every try is paid: those that failed, and those of items."""
    execution = make_execution(workflow)
    mini = {"model": "gpt-4o-mini-2024-07-18", "input_tokens": 1_000_000}
    first = make_task_run(execution, "first", usage=mini, attempt=2)
    Attempt.objects.create(task_run=first, number=1, type="x", started_at=START, ended_at=START, usage=mini)
    failed = make_task_run(execution, "second", TaskStatus.FAILED, usage={"model": "tts-1", "characters": 1000})
    Attempt.objects.create(
        task_run=failed, number=1, type="x", started_at=START, ended_at=START, error={"code": "x", "message": "x"},
        usage={"model": "tts-1", "characters": 1000},
    )  # fmt: skip
    make_task_run(execution, "third", items={"total": 2, "next": 2, "completed": 1, "failed": 1})
    own = {"type": "x", "position": 2, "attempt": 1, "started_at": START}
    for number, status in enumerate((TaskStatus.COMPLETED, TaskStatus.FAILED)):
        item = TaskRun.objects.create(
            execution=execution, name=f"third[{number}]", item=number, status=status, usage=mini, **own
        )
    Attempt.objects.create(task_run=item, number=1, type="x", started_at=START, ended_at=START, usage=mini)
    shown = api.call("GET", f"/workflows/{workflow.pk}/executions/{execution.pk}", status=200)
    assert shown["usage"] == {
        "input_tokens": 4_000_000, "characters": 1000, "cost": 0.615,
        "models": [
            {"model": "gpt-4o-mini-2024-07-18", "input_tokens": 4_000_000, "cost": 0.6},
            {"model": "tts-1", "characters": 1000, "cost": 0.015},
        ],
    }  # fmt: skip
    assert [task["cost"] for task in shown["tasks"]] == [0.3, 0.015, 0.3]


def test_the_queries_do_not_grow_with_items(api: Api, workflow: Workflow, django_assert_max_num_queries: Any) -> None:
    execution = make_execution(workflow)
    make_task_run(execution, "first", items={"total": 30, "next": 30, "completed": 30, "failed": 0})
    own = {
        "type": "x",
        "position": 0,
        "attempt": 2,
        "status": TaskStatus.COMPLETED,
        "usage": {"model": "m", "images": 1},
    }
    for number in range(30):
        item = TaskRun.objects.create(execution=execution, name=f"first[{number}]", item=number, **own)
        Attempt.objects.create(
            task_run=item, number=1, type="x", started_at=START, ended_at=START, usage={"model": "m", "images": 1}
        )
    with django_assert_max_num_queries(6):
        shown = api.call("GET", f"/workflows/{execution.workflow_id}/executions/{execution.pk}", status=200)
    assert shown["usage"] == {"images": 60, "cost": None, "models": [{"model": "m", "images": 60, "cost": None}]}
