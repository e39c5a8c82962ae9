"""``POST /workflows/{id}/executions/{eid}/cancel``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connections

from executions.engine.state import ExecutionStatus, TaskStatus
from executions.models import Event, Execution
from tests.api_client import Api, assert_problem, rows
from tests.factories import make_execution, make_task_run
from workflows.models import Workflow

pytestmark = pytest.mark.django_db


@pytest.fixture
def execution(api: Api, workflow: Workflow) -> Execution:
    """One that was started and not yet taken by a worker."""
    api.call("POST", f"/workflows/{workflow.pk}/executions", {"inputs": {"text": "x"}}, status=201)
    return Execution.objects.get()


def path_of(execution: Execution) -> str:
    return f"/workflows/{execution.workflow_id}/executions/{execution.pk}/cancel"


def test_it_works(api: Api, execution: Execution) -> None:
    answer = api.call("POST", path_of(execution), {"reason": "Not wanted any more"}, status=202)
    assert answer["workflow_execution_id"] == execution.pk
    assert answer["status"] == "CANCELLED"
    assert answer["error"]["code"] == "cancelled"
    assert "Not wanted any more" in answer["error"]["message"]
    assert [task["status"] for task in answer["tasks"]] == ["CANCELLED"] * 3
    assert answer["completed_at"] is not None
    execution.refresh_from_db()
    assert execution.status == ExecutionStatus.CANCELLED
    assert "execution.cancelled" in Event.objects.values_list("type", flat=True)


def test_twice_is_the_same_answer_and_changes_nothing(api: Api, execution: Execution) -> None:
    first = api.call("POST", path_of(execution), {"reason": "one"}, status=202)
    before = rows()
    assert api.call("POST", path_of(execution), {"reason": "two"}, status=202) == first
    assert rows() == before


@pytest.mark.parametrize("body", [b"", b"{}", b'{"reason": ""}'])
def test_a_reason_is_not_needed(api: Api, execution: Execution, body: bytes) -> None:
    assert api.raw("POST", path_of(execution), body).status_code == 202


def test_without_body_and_type_as_curl_does(api: Api, execution: Execution) -> None:
    assert api.raw("POST", path_of(execution), b"", content_type="").status_code == 202


def test_a_running_one(api: Api, workflow: Workflow) -> None:
    execution = make_execution(workflow, ExecutionStatus.RUNNING)
    make_task_run(execution, "first")
    make_task_run(execution, "second", TaskStatus.RUNNING)
    answer = api.call("POST", path_of(execution), status=202)
    assert [task["status"] for task in answer["tasks"]] == ["COMPLETED", "CANCELLED", "CANCELLED"]


@pytest.mark.parametrize("status", [ExecutionStatus.COMPLETED, ExecutionStatus.FAILED])
def test_one_that_has_ended_otherwise(api: Api, workflow: Workflow, status: ExecutionStatus) -> None:
    execution = make_execution(workflow, status)
    before = rows()
    assert_problem(api.send("POST", path_of(execution), status=409), 409, "already_ended")
    execution.refresh_from_db()
    assert execution.status == status
    assert rows() == before


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"reason": 5}, "/reason"),
        ({"reason": None}, "/reason"),
        ({"reason": "x" * 501}, "/reason"),
        ({"reasn": "x"}, "/reasn"),
        ([], ""),
        ("x", ""),
    ],
)
def test_bad_input(api: Api, execution: Execution, body: Any, pointer: str) -> None:
    assert_problem(api.send("POST", path_of(execution), body, status=400), 400, "validation", at=[pointer])
    execution.refresh_from_db()
    assert execution.status == ExecutionStatus.PENDING


def test_unknown(api: Api, workflow: Workflow) -> None:
    answer = api.raw("POST", f"/workflows/{workflow.pk}/executions/we-unknown/cancel")
    assert_problem(answer, 404, "not_found")


@pytest.mark.django_db(transaction=True)
def test_at_the_same_time_it_is_cancelled_once(execution: Execution) -> None:
    together = Barrier(5)

    def cancel(_: int) -> int:
        together.wait(10)
        try:
            return int(Api().raw("POST", path_of(execution)).status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(5) as pool:
        assert list(pool.map(cancel, range(5))) == [202] * 5
    assert Event.objects.filter(type="execution.cancelled").count() == 1
