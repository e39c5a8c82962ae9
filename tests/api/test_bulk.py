"""``POST /executions/{verb}`` and ``POST /workflows/{id}/executions/{verb}``: one verb for many, each for itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from executions import bulk
from executions.engine.state import ExecutionStatus
from executions.models import Execution
from tests.api_client import Api, assert_problem, rows
from tests.factories import DOCUMENT, START, make_execution, make_workflow
from workflows.models import Workflow
from workflows.services import archive_workflow, update_workflow

pytestmark = pytest.mark.django_db

PENDING, RUNNING, COMPLETED = ExecutionStatus.PENDING, ExecutionStatus.RUNNING, ExecutionStatus.COMPLETED
FAILED, CANCELLED = ExecutionStatus.FAILED, ExecutionStatus.CANCELLED


@pytest.fixture
def each(workflow: Workflow) -> dict[str, str]:
    """The id of an execution in each state, the first the oldest."""
    return {
        status.value: make_execution(workflow, status, created_at=START + timedelta(minutes=place)).pk
        for place, status in enumerate(ExecutionStatus)
    }


def send(api: Api, verb: str, body: Any, *, workflow: Workflow | None = None, **headers: str) -> Any:
    where = f"/workflows/{workflow.pk}" if workflow else ""
    return api.call("POST", f"{where}/executions/{verb}", body, status=200, **headers)


def statuses() -> dict[str, str]:
    return dict(Execution.objects.values_list("pk", "status"))


def test_it_works(api: Api, each: dict[str, str]) -> None:
    answer = send(api, "cancel", {"ids": list(each.values()), "reason": "enough"})
    assert sorted(answer["succeeded"]) == sorted([each["PENDING"], each["RUNNING"], each["CANCELLED"]])
    assert set(answer["failed"]) == {each["COMPLETED"], each["FAILED"]}
    problem = answer["failed"][each["COMPLETED"]]
    assert problem["status"] == 409
    assert problem["code"] == "already_ended"
    assert each["COMPLETED"] in problem["detail"]
    assert answer["remaining"] == 0
    assert statuses()[each["RUNNING"]] == "CANCELLED"
    assert Execution.objects.get(pk=each["RUNNING"]).error["message"] == "enough"
    assert statuses()[each["COMPLETED"]] == "COMPLETED"


def test_resume(api: Api, each: dict[str, str]) -> None:
    answer = send(api, "resume", {"ids": list(each.values())})
    assert sorted(answer["succeeded"]) == sorted([each["FAILED"], each["CANCELLED"]])
    assert {problem["code"] for problem in answer["failed"].values()} == {"not_resumable"}
    assert statuses()[each["FAILED"]] == statuses()[each["CANCELLED"]] == "PENDING"


def test_rerun(api: Api, each: dict[str, str]) -> None:
    answer = send(api, "rerun", {"ids": list(each.values())})
    assert answer["succeeded"] == list(each.values())
    assert answer["failed"] == {}
    assert set(answer["started"]) == set(each.values())
    for source, made in answer["started"].items():
        assert Execution.objects.get(pk=made).rerun_of_id == source
    assert {key: value for key, value in statuses().items() if key in each.values()} == {
        key: status for status, key in each.items()
    }


def test_rerun_with_changes(api: Api, workflow: Workflow, each: dict[str, str]) -> None:
    update_workflow(workflow=workflow, document=DOCUMENT | {"title": "Two"})
    body = {"ids": [each["FAILED"]], "workflow_version": "latest", "inputs": {"text": "new"}, "labels": {"a": "b"}}
    answer = send(api, "rerun", body)
    made = Execution.objects.get(pk=answer["started"][each["FAILED"]])
    assert (made.workflow_version, made.inputs, made.labels) == (2, {"text": "new"}, {"a": "b"})


def test_what_one_refuses_does_not_touch_the_others(api: Api, workflow: Workflow) -> None:
    other = make_workflow(inputs=[{"name": "number", "type": "number"}], tasks=[DOCUMENT["tasks"][1] | {
        "inputs": {"text": "x"}}], outputs=[])  # fmt: skip
    fits, not_fit = make_execution(workflow, FAILED), make_execution(other, FAILED, inputs={"number": 1})
    answer = send(api, "rerun", {"ids": [not_fit.pk, fits.pk], "inputs": {"text": "new"}})
    assert answer["succeeded"] == [fits.pk]
    assert {error["pointer"] for error in answer["failed"][not_fit.pk]["errors"]} == {"/inputs/text"}


def test_unknown_ids_and_the_same_twice(api: Api, each: dict[str, str]) -> None:
    answer = send(api, "cancel", {"ids": ["we-unknown", each["PENDING"], each["PENDING"], "é", "<b>"]})
    assert answer["succeeded"] == [each["PENDING"]]
    assert {key: problem["status"] for key, problem in answer["failed"].items()} == {
        "we-unknown": 404, "é": 404, "<b>": 404,
    }  # fmt: skip


def test_an_archived_workflow_is_not_run_again(api: Api, workflow: Workflow, each: dict[str, str]) -> None:
    archive_workflow(workflow=workflow)
    answer = send(api, "rerun", {"ids": [each["FAILED"]]})
    assert answer["failed"][each["FAILED"]]["code"] == "archived"


# --- filters ---
@pytest.mark.parametrize(
    ("verb", "meant"),
    [("cancel", ["PENDING", "RUNNING"]), ("resume", ["FAILED", "CANCELLED"]), ("rerun", [one.value for one in ExecutionStatus])],
)  # fmt: skip
def test_a_filter_means_what_the_verb_can_act_on(
    api: Api, workflow: Workflow, each: dict[str, str], verb: str, meant: list[str]
) -> None:
    answer = send(api, verb, {"filter": {}}, workflow=workflow)
    assert answer["succeeded"] == [each[status] for status in meant]
    assert answer["failed"] == {}


def test_a_filter_of_statuses_says_why_others_do_not_go(api: Api, each: dict[str, str]) -> None:
    answer = send(api, "resume", {"filter": {"status": ["COMPLETED", "FAILED"]}})
    assert answer["succeeded"] == [each["FAILED"]]
    assert list(answer["failed"]) == [each["COMPLETED"]]


def test_all_that_a_filter_says_must_fit(api: Api) -> None:
    ours, other = make_workflow(title="Ours"), make_workflow(title="Other")
    made = {
        name: make_execution(flow, FAILED, created_at=START + timedelta(minutes=minute), labels=labels).pk
        for name, flow, minute, labels in [
            ("early", ours, 0, {"team": "a:b"}), ("wanted", ours, 5, {"team": "a:b"}), ("late", ours, 9, {"team": "a:b"}),
            ("unlabelled", ours, 5, {}), ("elsewhere", other, 5, {"team": "a:b"}),
        ]
    }  # fmt: skip
    wanted = {
        "status": "FAILED", "workflow": ours.pk, "label": "team:a:b",
        "created_after": "2025-11-23T08:01:00Z", "created_before": "2025-11-23T10:08:00+02:00",
    }  # fmt: skip
    assert send(api, "resume", {"filter": wanted})["succeeded"] == [made["wanted"]]


def test_of_one_workflow_nothing_else_is_touched(api: Api, workflow: Workflow, each: dict[str, str]) -> None:
    other = make_execution(make_workflow(title="Other"), FAILED)
    assert other.pk not in send(api, "resume", {"filter": {}}, workflow=workflow)["succeeded"]
    answer = send(api, "resume", {"ids": [other.pk]}, workflow=workflow)
    assert answer["failed"][other.pk]["status"] == 404
    assert statuses()[other.pk] == "FAILED"


def test_a_dry_run_counts_and_does_nothing(api: Api, workflow: Workflow, each: dict[str, str]) -> None:
    before, states = rows(), statuses()
    body = {"filter": {"status": ["FAILED", "COMPLETED"]}, "dry_run": True}
    assert send(api, "rerun", body, workflow=workflow) == {"matched": 2, "remaining": 0}
    assert send(api, "cancel", {"ids": list(each.values()), "dry_run": True}) == {"matched": 5, "remaining": 0}
    assert (rows(), statuses()) == (before, states)


def test_more_than_one_request_does(
    api: Api, workflow: Workflow, each: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MAX_MANY", 2)
    dry = send(api, "rerun", {"filter": {}, "dry_run": True}, workflow=workflow)
    assert dry == {"matched": 5, "remaining": 3}
    first = send(api, "cancel", {"filter": {"status": ["PENDING", "RUNNING"]}}, workflow=workflow)
    assert first["remaining"] == 0
    answer = send(api, "rerun", {"filter": {}}, workflow=workflow)
    assert answer["succeeded"] == [each["PENDING"], each["RUNNING"]]
    assert answer["remaining"] == 3


def test_the_key_is_for_each(api: Api, settings: Any) -> None:
    settings.OPENAI_API_KEY, settings.OPENAI_BASE_URL, settings.DATAFLOW_LOCAL_VOICE_URL = "", "", ""
    ask = {"name": "ask", "type": "openai.completion", "inputs": {"text": "x", "prompt": "y"}}
    workflow = make_workflow(tasks=[ask], outputs=[])
    ids = [make_execution(workflow, FAILED).pk for _ in range(2)]
    answer = send(api, "resume", {"ids": ids})
    assert {problem["code"] for problem in answer["failed"].values()} == {"missing_key"}
    assert send(api, "resume", {"ids": ids}, X_OpenAI_Key="sk-again")["succeeded"] == ids


# --- refused ---
@pytest.mark.parametrize("verb", ["cancel", "resume", "rerun"])
@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, [""]),
        ({"ids": ["we-1"], "filter": {"status": ["FAILED"]}}, [""]),
        ({"filter": {}}, ["/filter"]),
        ({"ids": []}, ["/ids"]),
        ({"ids": "we-1"}, ["/ids"]),
        ({"ids": ["we-1"] * 1001}, ["/ids"]),
        ({"ids": [1, "we-1", "", "x" * 41, None]}, ["/ids/0", "/ids/2", "/ids/3", "/ids/4"]),
        ({"filter": []}, ["/filter"]),
        ({"filter": {"status": ["DONE"]}}, ["/filter/status/0"]),
        ({"filter": {"status": "DONE"}}, ["/filter/status"]),
        ({"filter": {"status": 5}}, ["/filter/status"]),
        ({"filter": {"status": [["FAILED"]]}}, ["/filter/status/0"]),
        ({"filter": {"colour": "red", "created_after": "x"}}, ["/filter/colour", "/filter/created_after"]),
        ({"filter": {"created_after": "2025-01-01T00:00:00"}}, ["/filter/created_after"]),
        ({"filter": {"created_before": "0001-01-01T00:00:00+14:00"}}, ["/filter/created_before"]),
        ({"filter": {"label": "team"}}, ["/filter/label"]),
        ({"filter": {"workflow": 5}}, ["/filter/workflow"]),
        ({"ids": ["we-1"], "dry_run": "yes"}, ["/dry_run"]),
        ({"ids": ["we-1"], "colour": 1}, ["/colour"]),
        ([], [""]),
        ("x", [""]),
    ],
)
def test_bad_input(api: Api, each: dict[str, str], verb: str, body: Any, pointers: list[str]) -> None:
    before, states = rows(), statuses()
    assert_problem(api.send("POST", f"/executions/{verb}", body, status=400), 400, "validation", at=pointers)
    assert (rows(), statuses()) == (before, states)


@pytest.mark.parametrize(
    ("verb", "more", "pointers"),
    [
        ("cancel", {"reason": 5}, ["/reason"]),
        ("resume", {"reason": "x"}, ["/reason"]),
        ("rerun", {"inputs": 5}, ["/inputs"]),
        ("rerun", {"workflow_version": "new"}, ["/workflow_version"]),
        ("rerun", {"from_task": "first"}, ["/from_task"]),
        ("rerun", {"priority": "high"}, ["/priority"]),
    ],
)
def test_what_belongs_to_the_verb(
    api: Api, each: dict[str, str], verb: str, more: dict[str, Any], pointers: list[str]
) -> None:
    body = {"ids": list(each.values())} | more
    assert_problem(api.send("POST", f"/executions/{verb}", body, status=400), 400, "validation", at=pointers)


def test_a_nul_in_an_id(api: Api, each: dict[str, str]) -> None:
    assert_problem(api.send("POST", "/executions/cancel", {"ids": ["we-\0"]}, status=400), 400, at=["/ids/0"])


def test_unknown(api: Api, workflow: Workflow) -> None:
    assert_problem(api.send("POST", "/workflows/wf-unknown/executions/cancel", {"filter": {}}, status=404), 404)
    assert_problem(api.send("POST", f"/workflows/{workflow.pk}/executions/explode", {"filter": {}}, status=404), 404)
