"""``GET /workflows/{id}``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from executions.engine.state import ExecutionStatus
from tests.api_client import Api, assert_problem
from tests.factories import DOCUMENT, START, make_execution, make_workflow
from workflows.models import Workflow
from workflows.services import archive_workflow

pytestmark = pytest.mark.django_db


def test_it_works(api: Api, workflow: Workflow) -> None:
    answer = api.send("GET", f"/workflows/{workflow.pk}", status=200)
    shown = answer.json()
    assert answer.headers["ETag"] == '"1"'
    assert shown["workflow_id"] == workflow.pk
    assert shown["workflow_version"] == 1
    assert shown["definition"] == DOCUMENT
    assert list(shown["definition"]) == list(DOCUMENT)
    assert shown["executions"] == {}
    assert shown["last_execution"] is None


def test_counts_by_status_and_the_last_execution(api: Api, workflow: Workflow) -> None:
    for status in (ExecutionStatus.COMPLETED, ExecutionStatus.COMPLETED, ExecutionStatus.RUNNING):
        make_execution(workflow, status)
    last = make_execution(workflow, ExecutionStatus.FAILED, created_at=START + timedelta(seconds=1))
    make_execution(make_workflow(), ExecutionStatus.CANCELLED, created_at=START + timedelta(seconds=2))
    shown = api.call("GET", f"/workflows/{workflow.pk}", status=200)
    assert shown["executions"] == {"COMPLETED": 2, "RUNNING": 1, "FAILED": 1}
    assert shown["last_execution"]["workflow_execution_id"] == last.pk
    assert shown["last_execution"]["status"] == "FAILED"


def test_an_archived_one_can_be_read(api: Api, workflow: Workflow) -> None:
    archive_workflow(workflow=workflow)
    assert api.call("GET", f"/workflows/{workflow.pk}", status=200)["archived_at"].endswith("Z")


@pytest.mark.parametrize(
    "path", ["wf-unknown", "wf-" + "a" * 37, "wf-" + "a" * 38, "wf-ABC", "wf-a%00b", "1", "wf-", "wf-a%0A", "..", "%ff"]
)
def test_unknown(api: Api, path: str) -> None:
    assert_problem(api.raw("GET", f"/workflows/{path}"), 404, "not_found")


def test_the_queries_do_not_grow_with_executions(
    api: Api, workflow: Workflow, django_assert_max_num_queries: Any
) -> None:
    for _ in range(20):
        make_execution(workflow)
    with django_assert_max_num_queries(4):
        api.call("GET", f"/workflows/{workflow.pk}", status=200)
