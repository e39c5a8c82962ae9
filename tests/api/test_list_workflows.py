"""``GET /workflows``: search and cursor paging (which all lists share)."""

from __future__ import annotations

import base64
import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.api_client import Api, assert_problem
from tests.factories import DOCUMENT, START, make_workflow
from workflows.models import Workflow
from workflows.services import archive_workflow

pytestmark = pytest.mark.django_db


def make_many(number: int, *, at_once: bool = False) -> list[str]:
    """Ids of workflows of last year, newest first; ``at_once``: all made in the same moment."""
    start = START - timedelta(days=365)
    made = [
        Workflow(title=f"W{place}", created_at=start + timedelta(seconds=0 if at_once else place))
        for place in range(number)
    ]
    Workflow.objects.bulk_create(made)
    return [one.pk for one in Workflow.objects.all()]


def walk(api: Api, path: str, key: str = "workflows") -> list[list[str]]:
    """The ids of every page, by following ``Link``."""
    pages: list[list[str]] = []
    while path:
        answer = api.send("GET", path, status=200)
        pages.append([one["workflow_id"] for one in answer.json()[key]])
        link = re.fullmatch(r'<(.+)>; rel="next"', answer.headers.get("Link", ""))
        assert (link is None) is (answer.json()["next_cursor"] is None)
        path = link[1] if link else ""
    return pages


def test_it_works(api: Api, workflow: Workflow) -> None:
    answer = api.call("GET", "/workflows", status=200)
    (shown,) = answer["workflows"]
    assert answer["next_cursor"] is None
    assert shown["workflow_id"] == workflow.pk
    assert shown["workflow_version"] == 1
    assert (shown["title"], shown["description"]) == (DOCUMENT["title"], DOCUMENT["description"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", shown["created_at"])
    assert shown["archived_at"] is None


def test_empty(api: Api) -> None:
    assert api.call("GET", "/workflows", status=200) == {"workflows": [], "next_cursor": None}


@pytest.mark.parametrize("at_once", [False, True])
def test_pages_hold_everything_once_newest_first(api: Api, at_once: bool) -> None:
    ids = make_many(7, at_once=at_once)
    pages = walk(api, "/workflows?limit=3")
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [one for page in pages for one in page] == ids


def test_a_full_last_page_has_no_next(api: Api) -> None:
    make_many(4)
    assert [len(page) for page in walk(api, "/workflows?limit=2")] == [2, 2]


def test_pages_are_stable_while_others_are_added_and_removed(api: Api) -> None:
    ids = make_many(6)
    first = api.call("GET", "/workflows?limit=2", status=200)
    make_workflow()
    archive_workflow(workflow=Workflow.objects.get(pk=ids[1]))
    (second,) = walk(api, f"/workflows?limit=10&cursor={first['next_cursor']}")
    assert second == ids[2:]


def test_limits(api: Api) -> None:
    make_many(201)
    assert len(api.call("GET", "/workflows", status=200)["workflows"]) == 50
    assert len(api.call("GET", "/workflows?limit=200", status=200)["workflows"]) == 200
    assert len(api.call("GET", "/workflows?limit=1", status=200)["workflows"]) == 1
    assert len(api.call("GET", "/workflows?limit=", status=200)["workflows"]) == 50


@pytest.mark.parametrize(
    "limit", ["0", "-1", "201", "1.5", "x", "1e2", "%00", "%D9%A3", "9" * 4000, "000000001999999", "+5", "0x10"]
)
def test_bad_limits(api: Api, limit: str) -> None:
    assert_problem(api.raw("GET", f"/workflows?limit={limit}"), 400, "validation", at=["/limit"])


def cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


BAD_CURSORS = [
    "x", "%00", "%ff", "****", "é", "A" * 5000, cursor("~"), cursor("2026-11-23T08:00:00~wf-1"),
    cursor("2026-11-23T08:00:00+00:00"), cursor("yesterday~wf-1"), cursor("2026-11-23T08:00:00+00:00~wf-1~2"),
    cursor("2026-11-23T08:00:00+00:00~"), cursor("2026-11-23T08:00:00+00:00~a\0b"),
    cursor("0001-01-01T00:00:00+14:00~wf-1"), cursor("9999-12-31T23:59:59-14:00~wf-1"),
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_CURSORS)
def test_bad_cursors(api: Api, workflow: Workflow, bad: str) -> None:
    for path in ("/workflows", "/executions", f"/workflows/{workflow.pk}/versions"):
        assert_problem(api.raw("GET", f"{path}?cursor={bad}"), 400, "validation", at=["/cursor"])


def test_a_cursor_of_another_list_is_no_server_error(api: Api, workflow: Workflow) -> None:
    make_many(2)
    other = api.call("GET", "/workflows?limit=1", status=200)["next_cursor"]
    assert api.raw("GET", f"/workflows/{workflow.pk}/versions?cursor={other}").status_code in (200, 400)


def test_the_same_number_of_queries_on_every_page(api: Api) -> None:
    make_many(60)
    counts = set()
    path = "/workflows?limit=5"
    for _ in range(10):
        with CaptureQueriesContext(connection) as queries:
            answer = api.call("GET", path, status=200)
        counts.add(len(queries))
        assert not any("OFFSET" in query["sql"] and "OFFSET 0" not in query["sql"] for query in queries)
        path = f"/workflows?limit=5&cursor={answer['next_cursor']}"
    assert counts == {1}


@pytest.mark.parametrize(
    ("search", "found"),
    [("hello", True), ("HELLO", True), ("speak", True), ("nothing like it", False), ("100%25", True), ("%25", True),
     ("_", False), ("%27", False), ("\\", False)],
)  # fmt: skip
def test_search_in_title_and_description(api: Api, search: str, found: bool) -> None:
    make_workflow(title="Hello there", description="Speaks 100% of it")
    make_workflow(title="Other", description="")
    titles = [one["title"] for one in api.call("GET", f"/workflows?search={search}", status=200)["workflows"]]
    assert titles == (["Hello there"] if found else [])


def test_a_moment_in_the_database_is_equal_to_itself(api: Api) -> None:
    """Rows made by the database's clock, one in a whole second as it happens, are neither repeated nor left out."""
    ids = [make_workflow().pk for _ in range(3)]
    Workflow.objects.filter(pk=ids[0]).update(created_at=START)
    assert sorted(one for page in walk(api, "/workflows?limit=1") for one in page) == sorted(ids)


def test_search_goes_on_over_pages(api: Api) -> None:
    make_many(5)
    Workflow.objects.create(title="Other", created_at=START)
    pages = walk(api, "/workflows?limit=2&search=W")
    assert [len(page) for page in pages] == [2, 2, 1]


@pytest.mark.parametrize("search", ["%00", "a%00b", "x" * 201])
def test_bad_search(api: Api, search: str) -> None:
    assert_problem(api.raw("GET", f"/workflows?search={search}"), 400, "validation", at=["/search"])


def test_archived_ones_are_left_out(api: Api, workflow: Workflow) -> None:
    archive_workflow(workflow=workflow)
    assert api.call("GET", "/workflows", status=200)["workflows"] == []


def test_a_definition_is_not_read_for_a_list(api: Api, workflow: Workflow) -> None:
    with CaptureQueriesContext(connection) as queries:
        api.call("GET", "/workflows", status=200)
    assert not any("workflowversion" in query["sql"] for query in queries)


def test_parameters_that_nobody_knows_change_nothing(api: Api, workflow: Workflow) -> None:
    answer: Any = api.call("GET", "/workflows?format=xml&page=5&_=1", status=200)
    assert len(answer["workflows"]) == 1
