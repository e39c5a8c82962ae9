"""``POST /workflows``."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model

from tests.api_client import Api, assert_problem, rows
from tests.factories import DOCUMENT
from workflows.models import Workflow, WorkflowVersion

pytestmark = pytest.mark.django_db


def test_it_works(api: Api) -> None:
    answer = api.send("POST", "/workflows", DOCUMENT, status=201)
    created = answer.json()
    workflow = Workflow.objects.get(pk=created["workflow_id"])
    assert created["workflow_id"].startswith("wf-")
    assert created["workflow_version"] == 1
    assert created["warnings"] == []
    assert answer.headers["Location"] == created["url"] == f"/workflows/{workflow.pk}"
    assert answer.headers["ETag"] == '"1"'
    assert (workflow.title, workflow.description) == (DOCUMENT["title"], DOCUMENT["description"])
    assert list(workflow.current().definition.items()) == list(DOCUMENT.items())


def test_twice_makes_two(api: Api) -> None:
    first, second = (api.call("POST", "/workflows", DOCUMENT, status=201) for _ in range(2))
    assert first["workflow_id"] != second["workflow_id"]


def test_the_maker_is_kept(api: Api) -> None:
    alice = get_user_model().objects.create_user("alice", is_staff=True)
    api.force_login(alice)
    api.call("POST", "/workflows", DOCUMENT, status=201)
    assert Workflow.objects.get().created_by == alice
    assert WorkflowVersion.objects.get().created_by == alice


def test_all_that_is_wrong_is_said_together(api: Api) -> None:
    document = {
        "titel": "Typo",
        "inputs": [{"name": "text", "type": "text"}, {"name": "text", "type": "texts"}],
        "tasks": [
            {"name": "first", "type": "text.static", "inputs": {"text": "{{inputs.txt}}"}},
            {"name": "second", "type": "text.revers", "inputs": {}},
        ],
    }
    before = rows()
    answer = api.send("POST", "/workflows", document, status=400)
    where = {"/titel", "/title", "/inputs/1/name", "/inputs/1/type", "/tasks/0/inputs/text", "/tasks/1/type"}
    problem = assert_problem(answer, 400, "validation", at=where)
    hints = {error["pointer"]: error.get("hint", "") for error in problem["errors"]}
    assert "`text`" in hints["/tasks/0/inputs/text"]
    assert "`text.reverse`" in hints["/tasks/1/type"]
    assert rows() == before


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"title": ""}, "/title"),
        ({"title": "x" * 201}, "/title"),
        ({"title": 5}, "/title"),
        ({"description": "x" * 10_001}, "/description"),
        ({"tasks": []}, "/tasks"),
        ({"tasks": DOCUMENT["tasks"] * 200}, "/tasks"),
        ({"tasks": {}}, "/tasks"),
        ({"outputs": [{"name": "x", "type": "text"}]}, "/outputs/0/value"),
        ({"timeout": 0}, "/timeout"),
        ({"monitoring": {"webhook_url": "ftp://x"}}, "/monitoring/webhook_url"),
        ({"labels": {"a": 1}}, "/labels/a"),
        ({"concurrency": {"limit": 0}}, "/concurrency/limit"),
    ],
)
def test_bad_input(api: Api, changes: dict[str, Any], pointer: str) -> None:
    answer = api.send("POST", "/workflows", DOCUMENT | changes, status=400)
    problem = assert_problem(answer, 400, "validation")
    assert pointer in [error["pointer"] for error in problem["errors"]]
    assert not Workflow.objects.exists()


def test_limits_are_allowed(api: Api) -> None:
    tasks = [{"name": f"t{place}", "type": "text.static", "inputs": {"text": "x"}} for place in range(500)]
    document = {"title": "ü" * 200, "description": "x" * 10_000, "tasks": tasks}
    created = api.call("POST", "/workflows", document, status=201)
    assert Workflow.objects.get(pk=created["workflow_id"]).title == "ü" * 200


def test_warnings_stand_beside_a_good_answer(api: Api) -> None:
    unused = [*DOCUMENT["inputs"], {"name": "unused", "type": "number", "required": False}]
    created = api.call("POST", "/workflows", DOCUMENT | {"inputs": unused}, status=201)
    assert [warning["pointer"] for warning in created["warnings"]] == ["/inputs/1"]


def test_texts_of_all_scripts_come_back_as_sent(api: Api) -> None:
    title = "Grüße 👩‍👩‍👧 日本 \u2028 {{ '\"<script>"
    created = api.call("POST", "/workflows", DOCUMENT | {"title": title}, status=201)
    shown = api.call("GET", f"/workflows/{created['workflow_id']}", status=200)
    assert shown["title"] == shown["definition"]["title"] == title


def test_it_costs_few_queries(api: Api, django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(6):
        api.call("POST", "/workflows", DOCUMENT, status=201)
