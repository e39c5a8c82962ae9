"""``POST /executions/{verb}`` and ``POST /workflows/{id}/executions/{verb}``: one verb for many, each for itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from dataflow.api.pagination import write_cursor
from dataflow.lib.errors import conflict
from executions import bulk
from executions.engine.state import ExecutionStatus
from executions.models import Execution
from executions.verbs import resume_execution
from tests.api_client import Api, assert_problem, rows
from tests.factories import DOCUMENT, START, make_execution, make_workflow
from workflows.models import Workflow
from workflows.services import archive_workflow, update_workflow

pytestmark = pytest.mark.django_db

PENDING, RUNNING, COMPLETED = ExecutionStatus.PENDING, ExecutionStatus.RUNNING, ExecutionStatus.COMPLETED
FAILED, CANCELLED = ExecutionStatus.FAILED, ExecutionStatus.CANCELLED
NOTHING_LEFT = {"remaining": 0, "next_cursor": None}
AT = START.isoformat()


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
    assert send(api, "rerun", body, workflow=workflow) == {"matched": 2} | NOTHING_LEFT
    assert send(api, "cancel", {"ids": list(each.values()), "dry_run": True}) == {"matched": 5} | NOTHING_LEFT
    assert (rows(), statuses()) == (before, states)


def test_a_dry_run_counts_what_is_there(api: Api, each: dict[str, str]) -> None:
    elsewhere = make_workflow(title="Elsewhere")
    body = {"ids": ["we-unknown", each["FAILED"], each["FAILED"]], "dry_run": True}
    assert send(api, "cancel", body) == {"matched": 1} | NOTHING_LEFT
    assert send(api, "cancel", body, workflow=elsewhere) == {"matched": 0} | NOTHING_LEFT


def test_more_than_one_request_does(
    api: Api, workflow: Workflow, each: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MAX_MANY", 2)
    dry = send(api, "rerun", {"filter": {}, "dry_run": True}, workflow=workflow)
    assert dry.pop("next_cursor")
    assert dry == {"matched": 5, "remaining": 3}
    first = send(api, "cancel", {"filter": {"status": ["PENDING", "RUNNING"]}}, workflow=workflow)
    assert {name: first[name] for name in NOTHING_LEFT} == NOTHING_LEFT
    answer = send(api, "rerun", {"filter": {}}, workflow=workflow)
    assert answer["succeeded"] == [each["PENDING"], each["RUNNING"]]
    assert answer["remaining"] == 3


def all_answers(api: Api, verb: str, body: dict[str, Any], **more: Any) -> list[Any]:
    """The answers to a request and to all that go on from it."""
    answers = [send(api, verb, body, **more)]
    while (cursor := answers[-1]["next_cursor"]) is not None:
        assert len(answers) < 10, "it never ends"
        answers.append(send(api, verb, body | {"cursor": cursor}, **more))
    return answers


@pytest.mark.parametrize("everywhere", [False, True])
def test_going_on_reaches_each_once_and_none_of_the_new_ones(
    api: Api, workflow: Workflow, each: dict[str, str], monkeypatch: pytest.MonkeyPatch, everywhere: bool
) -> None:
    monkeypatch.setattr(bulk, "MAX_MANY", 2)
    body = {"filter": {"status": list(each)}}
    more = {} if everywhere else {"workflow": workflow}
    dry = all_answers(api, "rerun", body | {"dry_run": True}, **more)
    assert [(one["matched"], one["remaining"]) for one in dry] == [(5, 3), (3, 1), (1, 0)]
    answers = all_answers(api, "rerun", body, **more)
    assert [answer["remaining"] for answer in answers] == [3, 1, 0]
    assert [key for answer in answers for key in answer["succeeded"]] == list(each.values())
    assert Execution.objects.count() == 10


def test_going_on_among_many_of_the_same_moment(api: Api, workflow: Workflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MAX_MANY", 2)
    ids = {make_execution(workflow).pk for _ in range(5)}
    answers = all_answers(api, "rerun", {"filter": {"status": ["COMPLETED"]}})
    reached = [key for answer in answers for key in answer["succeeded"]]
    assert (len(reached), set(reached)) == (5, ids)


def test_what_cannot_be_done_is_got_past(api: Api, workflow: Workflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MAX_MANY", 2)
    gone = make_workflow(title="Archived")
    for minute in range(3):
        make_execution(gone, FAILED, created_at=START + timedelta(minutes=minute))
    fits = make_execution(workflow, FAILED, created_at=START + timedelta(minutes=9))
    archive_workflow(workflow=gone)
    answers = all_answers(api, "rerun", {"filter": {"status": ["FAILED"]}})
    assert [len(answer["failed"]) for answer in answers] == [2, 1]
    assert answers[-1]["succeeded"] == [fits.pk]


def test_a_filter_does_not_resume_what_belongs_to_a_parent(
    api: Api, workflow: Workflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MAX_MANY", 2)
    parent = make_execution(workflow, FAILED)
    children = [make_execution(workflow, CANCELLED, parent=parent) for _ in range(3)]
    own = make_execution(workflow, CANCELLED, created_at=START + timedelta(minutes=9))
    answer = send(api, "resume", {"filter": {"status": ["CANCELLED"]}})
    assert (answer["succeeded"], answer["failed"], answer["remaining"]) == ([own.pk], {}, 0)
    answer = send(api, "resume", {"ids": [children[0].pk]})
    assert answer["failed"][children[0].pk]["code"] == "parent_ended"
    assert len(send(api, "rerun", {"filter": {"status": ["CANCELLED"]}})["succeeded"]) == 2


def test_an_index_is_entered_by_the_cursor(api: Api, workflow: Workflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the last thousand of a million would read all before it."""
    monkeypatch.setattr(bulk, "MAX_MANY", 1)
    for minute in range(3):
        make_execution(workflow, created_at=START + timedelta(minutes=minute))
    body = {"filter": {"status": ["COMPLETED"]}, "dry_run": True}
    cursor = send(api, "rerun", body)["next_cursor"]
    with CaptureQueriesContext(connection) as captured:
        send(api, "rerun", body | {"cursor": cursor})
    found, counted = [query["sql"] for query in captured if "created_at" in query["sql"]]
    assert '"created_at" >= ' in found
    assert '"created_at" >= ' in counted


def test_nothing_is_counted_where_one_request_does(api: Api, workflow: Workflow, each: dict[str, str]) -> None:
    with CaptureQueriesContext(connection) as captured:
        send(api, "cancel", {"filter": {"status": ["COMPLETED"]}, "dry_run": True})
    assert not [query["sql"] for query in captured if "COUNT(" in query["sql"]]


def test_a_database_that_goes_away_leaves_known_what_was_done(workflow: Workflow) -> None:
    ids = [make_execution(workflow, FAILED).pk for _ in range(4)]

    def act(execution: Execution) -> Execution:
        if execution.pk == ids[1]:
            raise conflict("Not this one.")
        if execution.pk in ids[2:]:
            raise OperationalError("server closed the connection unexpectedly")
        return execution

    results = bulk.act_on_each(ids, act, workflow=None)
    assert results.succeeded == ids[:1]
    assert {key: problem.status for key, problem in results.failed.items()} == {ids[1]: 409, ids[2]: 503, ids[3]: 503}
    assert "was not tried" in results.failed[ids[3]].detail
    with pytest.raises(OperationalError):
        bulk.act_on_each(ids[1:], act, workflow=None)


def test_what_goes_wrong_with_one_does_not_touch_the_others(workflow: Workflow) -> None:
    ids = [make_execution(workflow, FAILED).pk for _ in range(3)]

    def act(execution: Execution) -> Execution:
        if execution.pk == ids[1]:
            raise ValueError("nobody thought of this")
        return execution

    results = bulk.act_on_each(ids, act, workflow=None)
    assert results.succeeded == [ids[0], ids[2]]
    assert (results.failed[ids[1]].status, results.failed[ids[1]].code) == (500, "runtime")
    assert "nobody" not in results.failed[ids[1]].detail


def test_a_secret_that_cannot_be_opened(api: Api, workflow: Workflow) -> None:
    monitoring = {"url": "https://example.com/hook", "events": ["failed"]}
    first, second = (make_execution(workflow, FAILED, monitoring=monitoring) for _ in range(2))
    Execution.objects.filter(pk=first.pk).update(webhook_secret="gAAAAABbogus")
    answer = send(api, "rerun", {"ids": [first.pk, second.pk]})
    assert answer["succeeded"] == [second.pk]
    assert answer["failed"][first.pk]["code"] == "cannot_run_here"


def test_one_that_is_removed_meanwhile(workflow: Workflow) -> None:
    first, second = (make_execution(workflow, FAILED) for _ in range(2))

    def act(execution: Execution) -> Execution:
        if execution.pk == first.pk:
            Execution.objects.filter(pk=first.pk).delete()
        return resume_execution(execution=execution)

    results = bulk.act_on_each([first.pk, second.pk], act, workflow=None)
    assert results.succeeded == [second.pk]
    assert results.failed[first.pk].status == 404


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
        ({"filter": {"workflow": None}}, ["/filter"]),
        ({"filter": {"label": None, "status": None, "created_after": None, "created_before": None}}, ["/filter"]),
        ({"filter": {"workflow": ""}}, ["/filter/workflow"]),
        ({"filter": {"status": []}}, ["/filter/status"]),
        ({"filter": {"status": ["FAILED"], "workflow": ""}}, ["/filter/workflow"]),
        ({"filter": {"status": ["FAILED"]}, "cursor": "x"}, ["/cursor"]),
        ({"filter": {"status": ["FAILED"]}, "cursor": ""}, ["/cursor"]),
        ({"filter": {"status": ["FAILED"]}, "cursor": 5}, ["/cursor"]),
        ({"filter": {"status": ["FAILED"]}, "cursor": "x" * 5000}, ["/cursor"]),
        ({"filter": {"status": ["FAILED"]}, "cursor": write_cursor(AT, "we-1")}, ["/cursor"]),
        ({"filter": {"status": ["FAILED"]}, "cursor": write_cursor(AT, "we-1", "now")}, ["/cursor"]),
        ({"filter": {"status": ["FAILED"]}, "cursor": write_cursor(AT, "we-1", AT[:-6])}, ["/cursor"]),
        (
            {"filter": {"status": ["FAILED"]}, "cursor": write_cursor("0001-01-01T00:00:00+14:00", "we-1", AT)},
            ["/cursor"],
        ),
        ({"filter": {"status": ["FAILED"]}, "cursor": write_cursor(AT, "\0", AT)}, ["/cursor"]),
        ({"ids": ["we-1"], "cursor": write_cursor(AT, "we-1", AT)}, ["/cursor"]),
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
        ({"filter": {"label": ":x"}}, ["/filter/label"]),
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
        ("rerun", {"labels": 5}, ["/labels"]),
        ("rerun", {"monitoring": {"webhook_url": 5}}, ["/monitoring/webhook_url"]),
        # With what else is wrong.
        ("cancel", {"reason": 5, "dry_run": 1}, ["/dry_run", "/reason"]),
        ("rerun", {"cursor": "x", "priority": "high", "labels": 5}, ["/cursor", "/labels", "/priority"]),
    ],
)
def test_what_belongs_to_the_verb(
    api: Api, each: dict[str, str], verb: str, more: dict[str, Any], pointers: list[str]
) -> None:
    body = {"ids": list(each.values())} | more
    assert_problem(api.send("POST", f"/executions/{verb}", body, status=400), 400, "validation", at=pointers)


@pytest.mark.parametrize(
    ("wanted", "pointer"), [({"workflow": ""}, "/filter/workflow"), ({"status": []}, "/filter/status")]
)
def test_of_one_workflow_a_filter_may_be_empty_but_not_its_fields(
    api: Api, workflow: Workflow, each: dict[str, str], wanted: dict[str, Any], pointer: str
) -> None:
    answer = api.send("POST", f"/workflows/{workflow.pk}/executions/cancel", {"filter": wanted}, status=400)
    assert_problem(answer, 400, "validation", at=[pointer])
    assert len(send(api, "cancel", {"filter": {"workflow": None}}, workflow=workflow)["succeeded"]) == 2


def test_a_cursor_of_a_bulk_request_is_none_of_a_list(api: Api, workflow: Workflow) -> None:
    assert_problem(api.raw("GET", f"/executions?cursor={write_cursor(AT, 'we-1', AT)}"), 400, at=["/cursor"])


def test_a_nul_in_an_id(api: Api, each: dict[str, str]) -> None:
    assert_problem(api.send("POST", "/executions/cancel", {"ids": ["we-\0"]}, status=400), 400, at=["/ids/0"])


def test_unknown(api: Api, workflow: Workflow) -> None:
    assert_problem(api.send("POST", "/workflows/wf-unknown/executions/cancel", {"filter": {}}, status=404), 404)
    assert_problem(api.send("POST", f"/workflows/{workflow.pk}/executions/explode", {"filter": {}}, status=404), 404)
