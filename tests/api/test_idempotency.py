"""``Idempotency-Key`` on a start."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import connections

from executions.database import database_now
from executions.models import Execution, IdempotencyKey
from tests.api_client import Api, assert_problem, rows
from tests.factories import DOCUMENT, make_workflow
from workflows.models import Workflow
from workflows.services import archive_workflow, update_workflow

BODY = {"inputs": {"text": "x"}}


@pytest.fixture
def path(workflow: Workflow) -> str:
    return f"/workflows/{workflow.pk}/executions"


def test_it_works(api: Api, path: str) -> None:
    first = api.send("POST", path, BODY, status=201, Idempotency_Key="one")
    again = api.send("POST", path, BODY, status=201, Idempotency_Key="one")
    assert again.json() == first.json()
    assert again.headers["Location"] == first.headers["Location"]
    assert Execution.objects.count() == 1


def test_another_body_is_refused(api: Api, path: str) -> None:
    api.call("POST", path, BODY, status=201, Idempotency_Key="one")
    before = rows()
    others: list[Any] = [{"inputs": {"text": "y"}}, BODY | {"labels": {"a": "b"}}, BODY | {"workflow_version": 1}]
    for other in others:
        answer = api.send("POST", path, other, status=422, Idempotency_Key="one")
        assert_problem(answer, 422, "idempotency_key_reused")
    assert rows() == before


def test_the_order_of_keys_is_no_difference(api: Api, path: str) -> None:
    body = {"labels": {"a": "1", "b": "2"}, **BODY}
    first = api.call("POST", path, body, status=201, Idempotency_Key="one")
    turned = {**BODY, "labels": {"b": "2", "a": "1"}}
    assert api.call("POST", path, turned, status=201, Idempotency_Key="one") == first


def test_other_keys_and_other_workflows_are_others(api: Api, path: str) -> None:
    other = make_workflow()
    api.call("POST", path, BODY, status=201, Idempotency_Key="one")
    api.call("POST", path, BODY, status=201, Idempotency_Key="two")
    api.call("POST", f"/workflows/{other.pk}/executions", BODY, status=201, Idempotency_Key="one")
    assert Execution.objects.count() == 3


def test_the_first_answer_comes_again_whatever_became_of_it(api: Api, path: str, workflow: Workflow) -> None:
    """Also when it has ended, and when the same request would be refused today."""
    first = api.call("POST", path, BODY, status=201, Idempotency_Key="one")
    api.call("POST", f"{first['url']}/cancel", status=202)
    changed = DOCUMENT | {"inputs": [*DOCUMENT["inputs"], {"name": "more", "type": "text"}]}
    update_workflow(workflow=workflow, document=changed)
    assert api.call("POST", path, BODY, status=201, Idempotency_Key="one") == first
    archive_workflow(workflow=workflow)
    assert api.call("POST", path, BODY, status=201, Idempotency_Key="one") == first


def test_after_a_day_it_is_a_new_request(api: Api, path: str) -> None:
    first = api.call("POST", path, BODY, status=201, Idempotency_Key="one")
    key = IdempotencyKey.objects.get()
    IdempotencyKey.objects.update(created_at=database_now() - timedelta(hours=23, minutes=59))
    assert api.call("POST", path, BODY, status=201, Idempotency_Key="one") == first
    IdempotencyKey.objects.update(created_at=database_now() - timedelta(hours=24, minutes=1))
    second = api.call("POST", path, {"inputs": {"text": "other"}}, status=201, Idempotency_Key="one")
    assert second["workflow_execution_id"] != first["workflow_execution_id"]
    assert IdempotencyKey.objects.get().pk != key.pk


def test_a_refused_request_does_not_use_up_the_key(api: Api, path: str) -> None:
    api.send("POST", path, {"inputs": {}}, status=400, Idempotency_Key="one")
    api.call("POST", path, BODY, status=201, Idempotency_Key="one")


@pytest.mark.parametrize("key", ["", "x" * 256, "é", "a\tb", "a\0b", "\udcff"])
def test_bad_keys(api: Api, path: str, key: str) -> None:
    before = rows()
    answer = api.send("POST", path, BODY, status=400, Idempotency_Key=key)
    assert_problem(answer, 400, "validation", at=["/Idempotency-Key"])
    assert rows() == before


@pytest.mark.parametrize("key", ["x" * 255, "a b", "~!@#$%^&*()"])
def test_good_keys(api: Api, path: str, key: str) -> None:
    api.call("POST", path, BODY, status=201, Idempotency_Key=key)


@pytest.mark.django_db(transaction=True)
def test_at_the_same_time_one_is_started(api: Api, path: str) -> None:
    together = Barrier(6)

    def start(_: int) -> Any:
        together.wait(10)
        try:
            return Api().call("POST", path, BODY, status=201, Idempotency_Key="one")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(start, range(6)))
    assert all(answer == answers[0] for answer in answers)
    assert Execution.objects.count() == 1
