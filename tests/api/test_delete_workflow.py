"""``DELETE /workflows/{id}``: archived, not gone."""

from __future__ import annotations

import pytest

from executions.models import Execution
from tests.api_client import Api, assert_nothing_queued, assert_problem, rows
from tests.factories import make_execution
from workflows.models import Workflow

pytestmark = pytest.mark.django_db


def test_it_works(api: Api, workflow: Workflow) -> None:
    answer = api.send("DELETE", f"/workflows/{workflow.pk}", status=204)
    assert answer.content == b""
    workflow.refresh_from_db()
    assert workflow.archived_at is not None


def test_twice_keeps_the_first_time(api: Api, workflow: Workflow) -> None:
    api.send("DELETE", f"/workflows/{workflow.pk}", status=204)
    workflow.refresh_from_db()
    first = workflow.archived_at
    api.send("DELETE", f"/workflows/{workflow.pk}", status=204)
    workflow.refresh_from_db()
    assert workflow.archived_at == first


def test_no_row_goes(api: Api, workflow: Workflow) -> None:
    make_execution(workflow)
    before = rows()
    api.send("DELETE", f"/workflows/{workflow.pk}", status=204)
    assert rows() == before


def test_it_cannot_be_executed_any_more(api: Api, workflow: Workflow) -> None:
    api.send("DELETE", f"/workflows/{workflow.pk}", status=204)
    answer = api.send("POST", f"/workflows/{workflow.pk}/executions", {"inputs": {"text": "x"}}, status=409)
    assert_problem(answer, 409, "archived")
    assert_nothing_queued()


def test_its_executions_stay_readable(api: Api, workflow: Workflow) -> None:
    execution: Execution = make_execution(workflow)
    path = f"/workflows/{workflow.pk}/executions"
    api.send("DELETE", f"/workflows/{workflow.pk}", status=204)
    assert api.call("GET", f"{path}/{execution.pk}", status=200)["status"] == "COMPLETED"
    for address in (path, "/executions"):
        (listed,) = api.call("GET", address, status=200)["executions"]
        assert listed["workflow_execution_id"] == execution.pk


def test_unknown(api: Api) -> None:
    assert_problem(api.send("DELETE", "/workflows/wf-unknown", status=404), 404, "not_found")
