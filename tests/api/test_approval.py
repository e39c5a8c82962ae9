"""``POST …/{eid}/tasks/{name}/approve`` and ``/reject``."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model

from executions.engine.state import ExecutionStatus, TaskStatus
from executions.models import Execution
from tests.api_client import Api, assert_problem, rows
from tests.executions_driver import at_once, claim, echo, event_types, started, task
from tests.factories import make_execution, make_file, make_task_run
from tests.verbs_driver import FORM, ask, asking, complete, finish
from workflows.models import Workflow

pytestmark = pytest.mark.django_db


def path_of(execution: Execution, verb: str = "approve", name: str = "ask") -> str:
    return f"/workflows/{execution.workflow_id}/executions/{execution.pk}/tasks/{name}/{verb}"


def test_it_works(api: Api) -> None:
    execution = asking(echo("after", "{{tasks.ask.outputs.comment}}"))
    shown = api.call("GET", f"/workflows/{execution.workflow_id}/executions/{execution.pk}", status=200)
    assert shown["waiting_for"].items() >= {"for": "approval", "task": "ask", "detail": "Go on?"}.items()
    assert shown["waiting_for"]["until"] is not None
    assert shown["actions"] == ["cancel", "rerun", "approve", "reject"]
    answer = api.call("POST", path_of(execution), {"comment": "fine"}, status=202)
    outputs = answer["tasks"][0]["outputs"]
    assert outputs.items() >= {"approved": True, "by": "api", "comment": "fine", "values": {}}.items()
    assert outputs["at"].endswith("Z")
    assert answer["tasks"][0]["status"] == "COMPLETED"
    assert answer["waiting_for"]["for"] == "worker"
    assert finish(execution) == ["after"]
    assert execution.status == "COMPLETED"
    assert event_types(execution).count("task.completed ask") == 1


def test_a_worker_is_asked_to_go_on(api: Api) -> None:
    execution = asking(echo("after"))
    waits = execution.wake_at
    assert execution.status == "RUNNING"
    api.call("POST", path_of(execution), status=202)
    execution.refresh_from_db()
    assert execution.wake_at is not None
    assert waits is None or execution.wake_at < waits


def test_the_last_task_may_be_one(api: Api) -> None:
    execution = asking()
    api.call("POST", path_of(execution), status=202)
    finish(execution)
    assert execution.status == "COMPLETED"


def test_values_are_checked_and_become_outputs(api: Api) -> None:
    execution = asking(form=FORM)
    answer = api.call("POST", path_of(execution), {"values": {"budget": 5}}, status=202)
    assert answer["tasks"][0]["outputs"]["values"] == {"budget": 5, "note": None}


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/values/budget"]),
        ({"values": {}}, ["/values/budget"]),
        ({"values": {"budget": "5"}}, ["/values/budget"]),
        ({"values": {"budget": -1}}, ["/values/budget"]),
        ({"values": {"budget": 1, "bugdet": 1}}, ["/values/bugdet"]),
        ({"values": {"budget": 1, "note": 5}}, ["/values/note"]),
        ({"values": []}, ["/values"]),
        ({"values": {"budget": 1, "note": "x" * 300_000}}, ["/values"]),
        ({"values": {"budget": 1}, "comment": 5}, ["/comment"]),
        ({"values": {"budget": 1}, "comment": "x" * 2001}, ["/comment"]),
        ({"value": {"budget": 1}}, ["/value"]),
        ([], [""]),
        ("x", [""]),
    ],
)
def test_wrong_input_decides_nothing(api: Api, body: Any, pointers: list[str]) -> None:
    execution = asking(form=FORM)
    before = rows()
    assert_problem(api.send("POST", path_of(execution), body, status=400), 400, "validation", at=pointers)
    assert task(execution, "ask").status == TaskStatus.WAITING
    assert rows() == before


def test_a_file_of_the_form(api: Api) -> None:
    execution, stored = asking(form=[{"name": "proof", "type": "file"}]), make_file()
    wrong = api.send("POST", path_of(execution), {"values": {"proof": "fl-unknown"}}, status=400)
    assert_problem(wrong, 400, "validation", at=["/values/proof"])
    answer = api.call("POST", path_of(execution), {"values": {"proof": stored.pk}}, status=202)
    assert answer["tasks"][0]["outputs"]["values"]["proof"] == stored.as_value()


def test_a_rejection_fails_the_task(api: Api) -> None:
    execution = asking(echo("after"), form=FORM)
    answer = api.call("POST", path_of(execution, "reject"), {"comment": "too dear"}, status=202)
    assert answer["tasks"][0]["status"] == "FAILED"
    assert answer["tasks"][0]["error"]["code"] == "authorization"
    assert answer["tasks"][0]["error"]["message"] == "Rejected by api: too dear"
    assert finish(execution) == []
    assert execution.status == "FAILED"
    assert execution.error["code"] == "authorization"


def test_a_rejection_may_be_an_answer_like_any_other(api: Api) -> None:
    then = echo("after", condition="{{!tasks.ask.outputs.approved}}")
    execution = asking(then, on_reject="continue")
    answer = api.call("POST", path_of(execution, "reject"), status=202)
    assert answer["tasks"][0]["outputs"]["approved"] is False
    assert finish(execution) == ["after"]


def test_who_decided_is_kept(api: Api, settings: Any) -> None:
    settings.DEBUG = False
    execution = asking()
    reader = get_user_model().objects.create_user("bob")
    api.force_login(reader)
    assert_problem(api.send("POST", path_of(execution), status=403), 403, "authorization")
    assert task(execution, "ask").status == TaskStatus.WAITING
    api.force_login(get_user_model().objects.create_user("ann", is_staff=True))
    answer = api.call("POST", path_of(execution), status=202)
    assert answer["tasks"][0]["outputs"]["by"] == "ann"


@pytest.mark.parametrize(("first", "verb"), [("approve", "approved"), ("reject", "rejected")])
@pytest.mark.parametrize("second", ["approve", "reject"])
def test_twice_says_who_was_first(api: Api, first: str, verb: str, second: str) -> None:
    execution = asking(echo("after"))
    api.call("POST", path_of(execution, first), status=202)
    before = rows()
    problem = assert_problem(api.send("POST", path_of(execution, second), status=409), 409, "already_decided")
    assert f"was {verb} by api at " in problem["detail"]
    assert rows() == before


@pytest.mark.parametrize("name", ["first", "second"])
def test_what_asks_nobody(api: Api, workflow: Workflow, name: str) -> None:
    execution = make_execution(workflow, ExecutionStatus.RUNNING)
    make_task_run(execution, "first", TaskStatus.RUNNING)
    assert_problem(api.send("POST", path_of(execution, name=name), status=409), 409, "not_waiting")


def test_a_wait_for_something_else(api: Api) -> None:
    execution = make_execution(status=ExecutionStatus.RUNNING)
    make_task_run(execution, "first", TaskStatus.WAITING, waiting={"for": "retry"})
    assert_problem(api.send("POST", path_of(execution, name="first"), status=409), 409, "not_waiting")


def test_a_cancelled_execution(api: Api) -> None:
    execution = asking()
    api.call("POST", f"/workflows/{execution.workflow_id}/executions/{execution.pk}/cancel", status=202)
    assert_problem(api.send("POST", path_of(execution), status=409), 409, "not_waiting")


@pytest.mark.parametrize("name", ["nothing", "ask2", "ask%5B0%5D%5B1%5D", "%00", "ask%5Bx%5D"])
def test_unknown(api: Api, name: str) -> None:
    assert_problem(api.raw("POST", path_of(asking(), name=name)), 404, "not_found")


def test_an_item_of_a_list(api: Api) -> None:
    execution = started({"name": "ask", "type": "flow.approval", "for_each": "{{[1, 2]}}", "concurrency": 2})
    for _ in range(2):
        ask(claim(execution), on_reject="continue")
    assert_problem(api.send("POST", path_of(execution), status=409), 409, "not_waiting")
    api.call("POST", path_of(execution, name="ask%5B1%5D"), {"comment": "second"}, status=202)
    assert task(execution, "ask[1]").status == TaskStatus.COMPLETED
    api.call("POST", path_of(execution, "reject", name="ask[0]"), status=202)
    finish(execution)
    assert execution.status == "COMPLETED"
    assert task(execution, "ask").outputs["approved"] == [False, True]


def test_after_the_decision_others_go_on_as_before(api: Api) -> None:
    execution = asking(echo("beside", depends_on=[]))
    beside = claim(execution)
    api.call("POST", path_of(execution), status=202)
    complete(beside)
    assert finish(execution) == []
    assert execution.status == "COMPLETED"


@pytest.mark.django_db(transaction=True)
def test_of_several_at_once_one_counts() -> None:
    execution = asking(echo("after"))

    def decide(verb: str) -> int:
        return int(Api().raw("POST", path_of(execution, verb)).status_code)

    answers = at_once(*[lambda verb=verb: decide(verb) for verb in ("approve", "reject", "approve", "reject")])
    assert sorted(answers) == [202, 409, 409, 409]
