"""``GET /workflows/{id}/versions[/{n}]`` and ``POST …/{n}/restore``."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api_client import Api, assert_problem, rows
from tests.factories import DOCUMENT
from workflows.models import Workflow, WorkflowVersion
from workflows.services import archive_workflow, update_workflow

pytestmark = pytest.mark.django_db


@pytest.fixture
def path(workflow: Workflow) -> str:
    """Of a workflow with five versions, titled 1 to 5."""
    for number in range(2, 6):
        update_workflow(workflow=workflow, document=titled(number))
    return f"/workflows/{workflow.pk}"


def titled(number: int) -> dict[str, Any]:
    return DOCUMENT | {"title": f"Title {number}"}


def test_it_works(api: Api, path: str) -> None:
    answer = api.call("GET", f"{path}/versions", status=200)
    assert [version["workflow_version"] for version in answer["versions"]] == [5, 4, 3, 2, 1]
    assert answer["next_cursor"] is None
    newest = answer["versions"][0]
    assert newest["created_at"].endswith("Z")
    assert len(newest["hash"]) == 64
    assert newest["restored_from"] is newest["created_by"] is None
    assert "definition" not in newest


def test_one_frozen_definition(api: Api, path: str) -> None:
    assert api.call("GET", f"{path}/versions/3", status=200)["definition"] == titled(3)
    assert api.call("GET", f"{path}/versions/1", status=200)["definition"] == DOCUMENT


def test_paging(api: Api, path: str) -> None:
    found: list[int] = []
    cursor = ""
    while cursor is not None:
        answer = api.call("GET", f"{path}/versions?limit=2&cursor={cursor}", status=200)
        found += [version["workflow_version"] for version in answer["versions"]]
        cursor = answer["next_cursor"]
    assert found == [5, 4, 3, 2, 1]


@pytest.mark.parametrize("number", ["0", "6", "999999999", "9999999999", "-1", "x", "1.0", "%00", "1%0A"])
def test_unknown_versions(api: Api, path: str, number: str) -> None:
    assert_problem(api.raw("GET", f"{path}/versions/{number}"), 404, "not_found")
    assert_problem(api.raw("POST", f"{path}/versions/{number}/restore"), 404, "not_found")


def test_of_an_unknown_workflow(api: Api) -> None:
    assert_problem(api.raw("GET", "/workflows/wf-unknown/versions"), 404, "not_found")
    assert_problem(api.raw("GET", "/workflows/wf-unknown/versions/1"), 404, "not_found")
    assert_problem(api.raw("POST", "/workflows/wf-unknown/versions/1/restore"), 404, "not_found")


def test_restoring_two_over_five_makes_six(api: Api, path: str) -> None:
    answer = api.send("POST", f"{path}/versions/2/restore", status=200)
    assert answer.json()["workflow_version"] == 6
    assert answer.headers["ETag"] == '"6"'
    shown = api.call("GET", path, status=200)
    assert (shown["workflow_version"], shown["title"]) == (6, "Title 2")
    assert shown["definition"] == titled(2)
    assert api.call("GET", f"{path}/versions/6", status=200)["restored_from"] == 2
    assert api.call("GET", f"{path}/versions/2", status=200)["definition"] == titled(2)


def test_restoring_twice_makes_one_version(api: Api, path: str) -> None:
    for _ in range(2):
        answer = api.call("POST", f"{path}/versions/2/restore", status=200)
    assert answer["workflow_version"] == 6
    assert WorkflowVersion.objects.count() == 6


def test_restoring_the_current_one_changes_nothing(api: Api, path: str) -> None:
    before = rows()
    assert api.call("POST", f"{path}/versions/5/restore", status=200)["workflow_version"] == 5
    assert rows() == before


def test_an_archived_workflow_cannot_be_restored_to(api: Api, path: str, workflow: Workflow) -> None:
    archive_workflow(workflow=workflow)
    assert_problem(api.send("POST", f"{path}/versions/2/restore", status=409), 409, "archived")
    assert api.call("GET", f"{path}/versions/2", status=200)["workflow_version"] == 2


def test_few_queries_for_many_versions(api: Api, path: str, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(2):
        api.call("GET", f"{path}/versions", status=200)
