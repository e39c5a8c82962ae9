"""``GET /workflows/{id}/executions`` and ``GET /executions``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from executions.engine.state import ExecutionStatus
from executions.filters import HasLabel
from executions.models import Execution
from tests.api_client import Api, assert_problem
from tests.factories import START, make_execution, make_workflow
from workflows.models import Workflow

pytestmark = pytest.mark.django_db

#: The fields of the documented example.
DOCUMENTED = {"workflow_execution_id", "status", "created_at", "started_at", "completed_at"}


@pytest.fixture(params=["workflow", "all"])
def path(request: pytest.FixtureRequest, workflow: Workflow) -> str:
    """Both lists."""
    return "/executions" if request.param == "all" else f"/workflows/{workflow.pk}/executions"


def make_many(workflow: Workflow, number: int) -> list[str]:
    """Ids of executions a second apart, newest first; every third one failed."""
    statuses = (ExecutionStatus.COMPLETED, ExecutionStatus.RUNNING, ExecutionStatus.FAILED)
    made = [
        make_execution(workflow, statuses[place % 3], created_at=START + timedelta(seconds=place))
        for place in range(number)
    ]
    return [one.pk for one in reversed(made)]


def ids_of(answer: Any) -> list[str]:
    return [one["workflow_execution_id"] for one in answer["executions"]]


def test_it_works(api: Api, workflow: Workflow, path: str) -> None:
    ids = make_many(workflow, 3)
    answer = api.call("GET", path, status=200)
    assert set(answer) == {"executions", "next_cursor"}
    assert answer["next_cursor"] is None
    assert ids_of(answer) == ids
    failed, running, completed = answer["executions"]
    assert all(set(one) >= DOCUMENTED for one in answer["executions"])
    assert (failed["status"], running["status"], completed["status"]) == ("FAILED", "RUNNING", "COMPLETED")
    assert completed["created_at"] == completed["started_at"] == "2025-11-23T08:00:00Z"
    assert completed["completed_at"] == "2025-11-23T08:00:02Z"
    assert running["completed_at"] is None
    assert completed["duration"] == 2
    assert completed["workflow_id"] == workflow.pk


def test_only_those_of_the_workflow(api: Api, workflow: Workflow) -> None:
    mine, other = make_execution(workflow), make_execution(make_workflow())
    assert ids_of(api.call("GET", f"/workflows/{workflow.pk}/executions", status=200)) == [mine.pk]
    assert sorted(ids_of(api.call("GET", "/executions", status=200))) == sorted([mine.pk, other.pk])
    assert ids_of(api.call("GET", f"/executions?workflow={other.workflow_id}", status=200)) == [other.pk]


def test_pages_are_stable_while_others_are_started(api: Api, workflow: Workflow, path: str) -> None:
    ids = make_many(workflow, 7)
    found: list[str] = []
    cursor = ""
    while cursor is not None:
        answer = api.call("GET", f"{path}?limit=3&cursor={cursor}", status=200)
        found += ids_of(answer)
        cursor = answer["next_cursor"]
        make_execution(workflow, created_at=START + timedelta(hours=1))
    assert found == ids


def test_many_of_the_same_moment(api: Api, workflow: Workflow, path: str) -> None:
    for _ in range(5):
        make_execution(workflow)
    found: list[str] = []
    cursor = ""
    while cursor is not None:
        answer = api.call("GET", f"{path}?limit=2&cursor={cursor}", status=200)
        found += ids_of(answer)
        cursor = answer["next_cursor"]
    assert found == list(Execution.objects.values_list("pk", flat=True))


def test_the_link_keeps_every_filter(api: Api, workflow: Workflow, path: str) -> None:
    make_many(workflow, 9)
    answer = api.send(
        "GET", f"{path}?status=FAILED&status=COMPLETED&limit=4&created_after=2025-11-23T08:00:00Z", status=200
    )
    link = answer.headers["Link"]
    assert link.startswith(f"<{path}?")
    assert link.endswith('>; rel="next"')
    rest = api.call("GET", link[1:].partition(">")[0], status=200)
    assert {one["status"] for one in answer.json()["executions"]} == {"FAILED", "COMPLETED"}
    assert len(answer.json()["executions"]) + len(rest["executions"]) == 5
    assert {one["status"] for one in rest["executions"]} == {"FAILED"}


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ("status=FAILED", [2]),
        ("status=failed", [2]),
        ("status=FAILED,RUNNING", [2, 1]),
        ("status=FAILED&status=RUNNING", [2, 1]),
        ("status=CANCELLED", []),
        ("status=", [2, 1, 0]),
        ("created_after=2025-11-23T08:00:00Z", [2, 1]),
        ("created_before=2025-11-23T08:00:02Z", [1, 0]),
        ("created_after=2025-11-23T08:00:00Z&created_before=2025-11-23T08:00:02%2B00:00", [1]),
        ("created_after=2025-11-23T09:00:00.5%2B01:00", [2, 1]),
        ("created_after=2025-11-23T09:00:00+01:00", [2, 1]),
        ("created_after=2027-01-01T00:00:00Z", []),
        ("created_after=", [2, 1, 0]),
    ],
)
def test_filters(api: Api, workflow: Workflow, path: str, query: str, places: list[int]) -> None:
    ids = list(reversed(make_many(workflow, 3)))
    assert ids_of(api.call("GET", f"{path}?{query}", status=200)) == [ids[place] for place in places]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("status=DONE", "/status"),
        ("status=FAILED,x", "/status"),
        ("status=%00", "/status"),
        ("status=" + "x" * 5000, "/status"),
        ("created_after=yesterday", "/created_after"),
        ("created_after=2025-11-23", "/created_after"),
        ("created_after=2025-11-23T08:00:00", "/created_after"),
        ("created_after=2026-13-23T08:00:00Z", "/created_after"),
        ("created_after=0001-01-01T00:00:00%2B14:00", "/created_after"),
        ("created_before=9999-12-31T23:59:59-14:00", "/created_before"),
        ("created_before=1", "/created_before"),
        ("created_before=%00", "/created_before"),
        ("label=team", "/label"),
        ("label=:x", "/label"),
        ("label=a:%00", "/label"),
        ("&".join(f"label=a{number}:" for number in range(11)), "/label"),
        ("trigger=%00", "/trigger"),
        ("parent=%00", "/parent"),
        ("limit=0", "/limit"),
        ("limit=201", "/limit"),
        ("cursor=x", "/cursor"),
        ("workflow=%00", "/workflow"),
        ("search=%00", "/search"),
    ],
)
def test_bad_queries(api: Api, path: str, query: str, pointer: str) -> None:
    assert_problem(api.raw("GET", f"{path}?{query}"), 400, "validation", at=[pointer])


def test_labels(api: Api, workflow: Workflow, path: str) -> None:
    quoted = make_execution(workflow, labels={'a"b': 'x":"y', "team": "blue"})
    accented = make_execution(workflow, labels={"näme": "ü:1", "team": ""}, created_at=START - timedelta(1))
    make_execution(workflow, labels={"other": "blue", "blue": "team"})

    def found(*labels: str) -> list[str]:
        query = "&".join(urlencode({"label": label}) for label in labels)
        return ids_of(api.call("GET", f"{path}?{query}", status=200))

    assert found("team:blue") == found("team:blue", 'a"b:x":"y') == [quoted.pk]
    assert found("näme:ü:1") == found("team:") == [accented.pk]
    assert found("team:blu") == found("team:%") == found("blue:blue") == found("team:blue", "other:blue") == []


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has no such index")
def test_an_index_knows_the_labels(workflow: Workflow) -> None:
    wanted = make_execution(workflow, labels={"team": "blue"})
    with connection.cursor() as cursor:
        # So few rows would rather be read one by one.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_indexscan = off")
    found = Execution.objects.filter(HasLabel("team", "blue")).order_by("-created_at", "-id")
    assert "execution_labels" in found.explain()
    assert list(found) == [wanted]


def test_what_started_them(api: Api, workflow: Workflow, path: str) -> None:
    parent = make_execution(workflow, trigger="schedule", trigger_ref="sc-1")
    child = make_execution(workflow, parent=parent, parent_task="call[2]", trigger="workflow")
    for query, wanted in (("trigger=schedule", parent), ("trigger_ref=sc-1", parent), (f"parent={parent.pk}", child)):
        assert ids_of(api.call("GET", f"{path}?{query}", status=200)) == [wanted.pk]
    (listed,) = api.call("GET", f"{path}?trigger=workflow", status=200)["executions"]
    assert (listed["parent"], listed["parent_task"]) == (parent.pk, "call[2]")
    (listed,) = api.call("GET", f"{path}?trigger=schedule", status=200)["executions"]
    assert (listed["parent"], listed["parent_task"]) == (None, None)


def test_search(api: Api, workflow: Workflow) -> None:
    mine, other = make_execution(workflow), make_execution(make_workflow(title="Über uns", description="of that day"))

    def found(text: str) -> list[str]:
        return ids_of(api.call("GET", f"/executions?{urlencode({'search': text})}", status=200))

    assert found(mine.pk.upper()) == [mine.pk]
    assert found("ber UNS") == found("that day") == found(other.workflow_id) == [other.pk]
    assert found("we-unknown") == found("%") == []


def test_an_index_is_entered_by_the_cursor(api: Api, workflow: Workflow) -> None:
    """Else page 10,000 would read all pages before it."""
    make_many(workflow, 3)
    cursor = api.call("GET", "/executions?limit=1", status=200)["next_cursor"]
    with CaptureQueriesContext(connection) as captured:
        api.call("GET", f"/executions?limit=1&cursor={cursor}", status=200)
    (listed,) = [query["sql"] for query in captured if "created_at" in query["sql"]]
    assert '"created_at" <= ' in listed


def test_of_an_unknown_workflow(api: Api) -> None:
    assert_problem(api.raw("GET", "/workflows/wf-unknown/executions"), 404, "not_found")
    assert api.call("GET", "/executions?workflow=wf-unknown", status=200)["executions"] == []


def test_the_same_number_of_queries_for_one_and_for_many(api: Api, workflow: Workflow, path: str) -> None:
    def queries(limit: int) -> int:
        with CaptureQueriesContext(connection) as captured:
            api.call("GET", f"{path}?limit={limit}", status=200)
        return len(captured)

    make_many(workflow, 30)
    assert queries(1) == queries(30) <= 2


def test_large_columns_are_not_read_for_a_list(api: Api, workflow: Workflow, path: str) -> None:
    make_execution(workflow, outputs={"text": "x" * 1000})
    with CaptureQueriesContext(connection) as captured:
        answer = api.call("GET", path, status=200)
    assert not any('"outputs"' in query["sql"] for query in captured)
    assert "outputs" not in answer["executions"][0]
