"""``PUT`` and ``PATCH /workflows/{id}``: new versions, ``If-Match``, and saves that change nothing."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connections

from tests.api_client import Api, assert_problem, rows
from tests.factories import DOCUMENT, make_execution
from workflows.models import Workflow, WorkflowVersion
from workflows.services import archive_workflow

pytestmark = pytest.mark.django_db

CHANGED = DOCUMENT | {"title": "Changed"}


@pytest.fixture
def path(workflow: Workflow) -> str:
    return f"/workflows/{workflow.pk}"


def test_it_works(api: Api, path: str) -> None:
    answer = api.send("PUT", path, CHANGED, status=200)
    assert answer.json()["workflow_version"] == 2
    assert answer.headers["ETag"] == '"2"'
    shown = api.call("GET", path, status=200)
    assert (shown["workflow_version"], shown["title"]) == (2, "Changed")
    assert shown["definition"] == CHANGED
    assert shown["updated_at"] > shown["created_at"]


def test_patch_is_a_merge_patch(api: Api, path: str) -> None:
    answer = api.call("PATCH", path, {"description": None, "labels": {"team": "a"}}, status=200)
    assert answer["workflow_version"] == 2
    answer = api.call("PATCH", path, {"labels": {"team": None, "cost": "b"}}, status=200)
    assert answer["workflow_version"] == 3
    shown = api.call("GET", path, status=200)
    wanted = {key: value for key, value in DOCUMENT.items() if key != "description"} | {"labels": {"cost": "b"}}
    assert shown["definition"] == wanted
    assert shown["description"] == ""


def test_the_older_version_is_as_it_was(api: Api, path: str) -> None:
    api.call("PUT", path, CHANGED, status=200)
    assert api.call("GET", f"{path}/versions/1", status=200)["definition"] == DOCUMENT


def test_executions_keep_their_version(api: Api, path: str, workflow: Workflow) -> None:
    execution = make_execution(workflow)
    api.call("PUT", path, CHANGED | {"tasks": DOCUMENT["tasks"][:1], "outputs": []}, status=200)
    shown = api.call("GET", f"{path}/executions/{execution.pk}", status=200)
    assert shown["workflow_version"] == 1
    assert [task["name"] for task in shown["tasks"]] == ["first", "second", "third"]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_save_that_changes_nothing_makes_no_version(api: Api, path: str, method: str) -> None:
    before = rows()
    reordered = dict(reversed(DOCUMENT.items()))
    answer = api.send(method, path, reordered, status=200)
    assert answer.json()["workflow_version"] == 1
    assert answer.headers["ETag"] == '"1"'
    assert rows() == before


def test_an_empty_patch_changes_nothing(api: Api, path: str) -> None:
    assert api.call("PATCH", path, {}, status=200)["workflow_version"] == 1


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("tag", ['"1"', "1", 'W/"1"', "*", ' "1" '])
def test_if_match_of_the_current_version(api: Api, path: str, method: str, tag: str) -> None:
    assert api.call(method, path, CHANGED, status=200, If_Match=tag)["workflow_version"] == 2


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize(
    "tag", ['"2"', '"0"', '"x"', '"1", "2"', '""', "", "-1", '"99999999999999999999"', '"1\0"', "é"]
)
def test_if_match_of_another_version(api: Api, path: str, method: str, tag: str) -> None:
    before = rows()
    answer = api.raw(method, path, b'{"title": "Lost update"}' if method == "PATCH" else b"{}", If_Match=tag)
    if method == "PUT":
        answer = api.send("PUT", path, CHANGED, status=412, If_Match=tag)
    assert_problem(answer, 412, "version_changed")
    assert rows() == before


def test_if_match_guards_a_save_that_changes_nothing_too(api: Api, path: str) -> None:
    api.call("PUT", path, CHANGED, status=200)
    assert_problem(api.send("PUT", path, CHANGED, status=412, If_Match='"1"'), 412)


def test_the_answer_to_a_read_is_what_if_match_takes(api: Api, path: str) -> None:
    tag = api.send("GET", path, status=200).headers["ETag"]
    assert api.call("PUT", path, CHANGED, status=200, If_Match=tag)["workflow_version"] == 2
    assert_problem(api.send("PUT", path, DOCUMENT, status=412, If_Match=tag), 412)


@pytest.mark.parametrize(
    ("method", "document", "pointer"),
    [
        ("PUT", {"title": "No tasks"}, "/tasks"),
        ("PUT", [], ""),
        ("PUT", "text", ""),
        ("PATCH", {"title": None}, "/title"),
        ("PATCH", {"tasks": [{"name": "x"}]}, "/tasks/0/type"),
        ("PATCH", {"no_such_field": 1}, "/no_such_field"),
        ("PATCH", [{"op": "replace", "path": "/title", "value": "x"}], ""),
        ("PATCH", "text", ""),
        ("PATCH", 5, ""),
        ("PATCH", False, ""),
    ],
)
def test_bad_input(api: Api, path: str, method: str, document: Any, pointer: str) -> None:
    before = rows()
    problem = assert_problem(api.send(method, path, document, status=400), 400)
    assert pointer in [error["pointer"] for error in problem["errors"]]
    assert rows() == before


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_an_archived_one_cannot_be_changed(api: Api, path: str, workflow: Workflow, method: str) -> None:
    archive_workflow(workflow=workflow)
    assert_problem(api.send(method, path, CHANGED, status=409), 409, "archived")


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_unknown(api: Api, db: None, method: str) -> None:
    assert_problem(api.send(method, "/workflows/wf-unknown", CHANGED, status=404), 404, "not_found")


def test_it_costs_few_queries(api: Api, path: str, django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(9):
        api.call("PUT", path, CHANGED, status=200)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_at_the_same_time_one_wins_and_the_others_hear_of_it(path: str, method: str) -> None:
    together = Barrier(5)

    def save(number: int) -> int:
        together.wait(10)
        document = json.dumps(DOCUMENT | {"title": f"Title {number}"}).encode()
        try:
            return int(Api().raw(method, path, document, If_Match='"1"').status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(5) as pool:
        statuses = sorted(pool.map(save, range(5)))
    assert statuses == [200, 412, 412, 412, 412]
    assert WorkflowVersion.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_patches_at_the_same_time_all_count(path: str) -> None:
    together = Barrier(5)

    def save(number: int) -> int:
        together.wait(10)
        try:
            return int(Api().raw("PATCH", path, b'{"labels": {"l%d": "x"}}' % number).status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(5) as pool:
        assert list(pool.map(save, range(5))) == [200] * 5
    assert len(Workflow.objects.get().current().definition["labels"]) == 5


def test_a_merge_patch_under_its_own_media_type(api: Api, path: str) -> None:
    answer = api.raw("PATCH", path, b'{"title": "Patched"}', content_type="application/merge-patch+json")
    assert answer.status_code == 200, answer.content
    assert api.call("GET", path, status=200)["title"] == "Patched"
    assert_problem(api.raw("PUT", path, b"{}", content_type="application/json5"), 415)


def test_an_execution_keeps_the_title_of_its_version(api: Api, path: str) -> None:
    started = api.call("POST", f"{path}/executions", {"inputs": {"text": "x"}}, status=201)
    api.call("PATCH", path, {"title": "Renamed"}, status=200)
    assert api.call("GET", started["url"], status=200)["title"] == DOCUMENT["title"]
    assert api.call("GET", "/executions", status=200)["executions"][0]["title"] == DOCUMENT["title"]
