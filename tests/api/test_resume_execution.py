"""``POST /workflows/{id}/executions/{eid}/resume``."""

from __future__ import annotations

import json
from typing import Any

import pytest

from executions import services, vault
from executions.engine.state import ExecutionStatus, TaskStatus
from executions.models import Attempt, Event, Execution
from tests.api_client import Api, assert_problem, rows
from tests.executions_driver import at_once, claim, echo, event_types, failed, started, task
from tests.factories import make_execution, make_task_run, make_workflow
from tests.verbs_driver import CHAIN, broken, complete, end, finish
from workflows.models import Workflow

pytestmark = pytest.mark.django_db


def path_of(execution: Execution) -> str:
    return f"/workflows/{execution.workflow_id}/executions/{execution.pk}/resume"


def test_it_works(api: Api) -> None:
    execution = broken(outputs=[{"name": "text", "type": "text", "value": "{{tasks.c.outputs.text}}"}])
    answer = api.call("POST", path_of(execution), status=202)
    assert answer["workflow_execution_id"] == execution.pk
    assert answer["status"] == "PENDING"
    assert [one["status"] for one in answer["tasks"]] == ["COMPLETED", "PENDING", "PENDING"]
    assert (answer["completed_at"], answer["error"], answer["outputs"]) == (None, None, None)
    assert answer["waiting_for"]["for"] == "worker"
    assert answer["actions"] == ["cancel", "rerun"]
    assert finish(execution) == ["b", "c"]
    assert execution.status == "COMPLETED"
    assert execution.outputs == {"text": "c done"}
    assert execution.resumed_at is not None


def test_history_is_kept(api: Api) -> None:
    execution = broken()
    api.call("POST", path_of(execution), status=202)
    finish(execution)
    log = event_types(execution)
    resumed = log.index("execution.resumed")
    assert log[:resumed].count("task.failed b") == 1
    assert log[resumed + 1 :][:2] == ["task.requeued b", "task.requeued c"]
    assert Event.objects.get(type="execution.resumed").data == {"by": "api", "tasks": ["b", "c"]}
    assert (task(execution, "a").attempt, task(execution, "b").attempt) == (1, 2)
    assert [tried.number for tried in Attempt.objects.filter(task_run__name="b")] == [1]
    assert execution.started_at is not None
    assert execution.resumed_at is not None
    assert execution.started_at < execution.resumed_at


def test_a_cancelled_one_goes_on(api: Api) -> None:
    execution = started(*CHAIN)
    complete(claim(execution))
    services.cancel_execution(execution=execution)
    api.call("POST", path_of(execution), {}, status=202)
    assert finish(execution) == ["b", "c"]
    assert execution.status == "COMPLETED"


def test_one_that_never_began(api: Api) -> None:
    execution = started(*CHAIN)
    services.cancel_execution(execution=execution)
    api.call("POST", path_of(execution), status=202)
    assert finish(execution) == ["a", "b", "c"]


def test_retries_begin_again(api: Api) -> None:
    execution = started(echo("a", retry={"attempts": 1, "delay": 0, "jitter": 0}))
    end(claim(execution), failed())
    end(claim(execution), failed())
    execution.refresh_from_db()
    assert execution.status == "FAILED"
    api.call("POST", path_of(execution), status=202)
    end(claim(execution), failed())
    assert task(execution, "a").status in (TaskStatus.WAITING, TaskStatus.RUNNING)
    assert task(execution, "a").failures == 1


def test_outputs_that_could_not_be_evaluated_are_evaluated_again(api: Api) -> None:
    outputs = [{"name": "n", "type": "number", "value": "{{int(tasks.a.outputs.text)}}"}]
    execution = started(echo("a"), outputs=outputs)
    complete(claim(execution))
    execution.refresh_from_db()
    assert execution.status == "FAILED"
    answer = api.call("POST", path_of(execution), status=202)
    assert answer["status"] == "PENDING"
    execution.refresh_from_db()
    assert execution.wake_at is not None
    assert finish(execution) == []
    assert execution.status == "FAILED"


def test_items_that_completed_are_kept(api: Api) -> None:
    execution = started(echo("a", "{{string(item)}}", for_each="{{[1, 2, 3]}}", concurrency=1))
    complete(claim(execution))
    second = claim(execution)
    assert second.task == "a[1]"
    end(second, failed())
    execution.refresh_from_db()
    assert execution.status == "FAILED"
    api.call("POST", path_of(execution), status=202)
    assert task(execution, "a").items == {"total": 3, "next": 2, "completed": 1, "failed": 0}
    assert finish(execution) == ["a[1]", "a[2]"]
    assert execution.status == "COMPLETED"
    assert task(execution, "a").items == {"total": 3, "next": 3, "completed": 3, "failed": 0}
    assert len(task(execution, "a").outputs["text"]) == 3


def test_failed_items_that_were_accepted_are_results(api: Api) -> None:
    each = echo("a", "{{string(item)}}", for_each="{{[1, 2]}}", concurrency=1, on_item_failure="null")
    execution = started(each)
    end(claim(execution), failed())
    services.cancel_execution(execution=execution)
    api.call("POST", path_of(execution), status=202)
    assert task(execution, "a").items == {"total": 2, "next": 1, "completed": 0, "failed": 1}
    assert finish(execution) == ["a[1]"]
    assert execution.status == "COMPLETED"
    assert task(execution, "a").outputs["text"] == [None, "a[1] done"]


@pytest.mark.parametrize("status", [ExecutionStatus.PENDING, ExecutionStatus.RUNNING, ExecutionStatus.COMPLETED])
def test_only_what_failed_or_was_cancelled(api: Api, workflow: Workflow, status: ExecutionStatus) -> None:
    execution = make_execution(workflow, status)
    before = rows()
    assert_problem(api.send("POST", path_of(execution), status=409), 409, "not_resumable")
    execution.refresh_from_db()
    assert execution.status == status
    assert rows() == before


def test_twice(api: Api) -> None:
    execution = broken()
    api.call("POST", path_of(execution), status=202)
    before = rows()
    assert_problem(api.send("POST", path_of(execution), status=409), 409, "not_resumable")
    assert rows() == before


@pytest.mark.django_db(transaction=True)
def test_of_several_at_once_one_counts() -> None:
    execution = broken()

    def send() -> int:
        return int(Api().raw("POST", path_of(execution)).status_code)

    assert sorted(at_once(*[send] * 4)) == [202, 409, 409, 409]
    assert event_types(execution).count("execution.resumed") == 1


def test_names_that_differ_in_case_are_two_tasks(api: Api) -> None:
    each = {"for_each": "{{[1, 2]}}", "concurrency": 1, "depends_on": []}
    execution = started(
        echo("a", "{{string(item)}}", **each), echo("A", "{{string(item)}}", on_item_failure="null", **each)
    )
    begun = {tried.task: tried for tried in (claim(execution), claim(execution))}
    complete(begun["a[0]"])
    end(begun["A[0]"], failed())
    begun = {tried.task: tried for tried in (claim(execution), claim(execution))}
    end(begun["a[1]"], failed())
    api.call("POST", path_of(execution), status=202)
    assert task(execution, "a").items == {"total": 2, "next": 2, "completed": 1, "failed": 0}
    assert task(execution, "A").items == {"total": 2, "next": 2, "completed": 0, "failed": 1}
    assert sorted(finish(execution)) == ["A[1]", "a[1]"]


def test_a_child_of_which_nobody_waits_any_more(api: Api, workflow: Workflow) -> None:
    parent = make_execution(workflow, ExecutionStatus.FAILED)
    child = make_execution(workflow, ExecutionStatus.FAILED, parent=parent, parent_task="first")
    problem = assert_problem(api.send("POST", path_of(child), status=409), 409, "parent_ended")
    assert parent.pk in problem["detail"]
    child.refresh_from_db()
    assert child.status == "FAILED"


def test_a_task_that_ran_another_workflow_starts_a_new_one(api: Api) -> None:
    execution = make_execution(status=ExecutionStatus.FAILED)
    make_task_run(execution, "first", TaskStatus.FAILED, child="we-old")
    api.call("POST", path_of(execution), status=202)
    assert task(execution, "first").child == ""


def test_the_key_must_come_again(api: Api, settings: Any) -> None:
    settings.OPENAI_API_KEY, settings.OPENAI_BASE_URL, settings.DATAFLOW_LOCAL_VOICE_URL = "", "", ""
    ask = {"name": "ask", "type": "openai.completion", "inputs": {"text": "x", "prompt": "y"}}
    execution = make_execution(make_workflow(tasks=[ask], outputs=[]), ExecutionStatus.FAILED)
    assert_problem(api.send("POST", path_of(execution), status=400), 400, "missing_key", at=["/tasks/0"])
    execution.refresh_from_db()
    assert execution.status == "FAILED"
    answer = api.send("POST", path_of(execution), status=202, X_OpenAI_Key="sk-again")
    assert "sk-again" not in answer.content.decode()
    execution.refresh_from_db()
    assert json.loads(vault.decrypt(execution.secrets)) == {"OPENAI_API_KEY": "sk-again"}


def test_a_bad_key(api: Api) -> None:
    execution = broken()
    answer = api.send("POST", path_of(execution), status=400, X_OpenAI_Key="two words")
    assert_problem(answer, 400, at=["/X-OpenAI-Key"])


@pytest.mark.parametrize("body", [b'{"inputs": {}}', b"[1]", b'"x"', b"{"])
def test_bad_input(api: Api, body: bytes) -> None:
    execution = broken()
    assert_problem(api.raw("POST", path_of(execution), body), 400)
    execution.refresh_from_db()
    assert execution.status == "FAILED"


@pytest.mark.parametrize("content_type", ["", "application/json"])
def test_without_a_body_as_curl_does(api: Api, content_type: str) -> None:
    assert api.raw("POST", path_of(broken()), b"", content_type=content_type).status_code == 202


def test_unknown(api: Api, workflow: Workflow) -> None:
    assert_problem(api.raw("POST", f"/workflows/{workflow.pk}/executions/we-unknown/resume"), 404, "not_found")


def test_what_failed_and_was_accepted_is_kept(api: Api) -> None:
    execution = started(echo("a", continue_on_failure=True), echo("b"))
    end(claim(execution), failed())
    assert claim(execution).task == "b"
    services.cancel_execution(execution=execution)
    api.call("POST", path_of(execution), status=202)
    assert task(execution, "a").status == "FAILED"
    assert finish(execution) == ["b"]
    assert execution.status == "COMPLETED"
