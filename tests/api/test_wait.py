"""``POST /workflows/{id}/executions?wait=``: the answer comes when the execution has ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from django.db import connection, connections

from dataflow.lib.gate import Gate
from executions import store, waiters
from executions.models import Event as LoggedEvent
from executions.models import Execution
from executions.services import start_execution
from executions.waiters import Ends
from tests.api_client import Api, assert_problem
from tests.plugins.stack import wait_until
from workflows.models import Workflow

pytestmark = pytest.mark.django_db(transaction=True)

BODY = {"inputs": {"text": "x"}}
Waiting = Callable[..., Future[Any]]


@pytest.fixture
def waiting(workflow: Workflow, ends: Ends) -> Iterator[Waiting]:
    """Start an execution that somebody waits for, in a thread."""

    def start(**headers: str) -> Any:
        try:
            path = f"/workflows/{workflow.pk}/executions?wait=30"
            return Api().call("POST", path, BODY, status=201, **headers)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        yield lambda **headers: pool.submit(start, **headers)


def started(number: int = 1) -> list[str]:
    """The ids of as many executions, once they are there."""
    wait_until(lambda: Execution.objects.count() == number, timeout=10, what="the executions are accepted")
    return list(Execution.objects.order_by("created_at").values_list("pk", flat=True))


def test_it_works(waiting: Waiting) -> None:
    answer = waiting()
    (execution,) = started()
    store.cancel(execution, reason="Enough.", by="test")
    shown = answer.result(10)
    assert (shown["workflow_execution_id"], shown["status"]) == (execution, "CANCELLED")
    assert shown["error"]["message"] == "Enough."
    assert [task["status"] for task in shown["tasks"]] == ["CANCELLED"] * 3


def test_each_waits_for_its_own(waiting: Waiting) -> None:
    answers = [waiting() for _ in range(3)]
    first, *others = started(3)
    store.cancel(first, reason="", by="test")
    wait_until(lambda: any(answer.done() for answer in answers), timeout=10, what="one is answered")
    (done,) = [answer for answer in answers if answer.done()]
    assert done.result()["workflow_execution_id"] == first
    for execution in others:
        store.cancel(execution, reason="", by="test")
    assert {answer.result(10)["workflow_execution_id"] for answer in answers} == {first, *others}


def test_an_end_that_nobody_tells_is_found(waiting: Waiting) -> None:
    answers = [waiting() for _ in range(2)]
    first, second = started(2)
    Execution.objects.filter(pk=first).update(status="CANCELLED")
    wait_until(lambda: any(answer.done() for answer in answers), timeout=10, what="one is answered")
    (done,) = [answer for answer in answers if answer.done()]
    assert (done.result()["workflow_execution_id"], done.result()["status"]) == (first, "CANCELLED")
    store.cancel(second, reason="", by="test")
    assert {answer.result(10)["workflow_execution_id"] for answer in answers} == {first, second}


def test_one_that_a_crash_forgot_is_to_be_started_again(workflow: Workflow, ends: Ends) -> None:
    """Others go on to be waited for."""
    path = f"/workflows/{workflow.pk}/executions?wait=30"

    def start() -> Any:
        try:
            return Api().raw("POST", path, json.dumps(BODY).encode())
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(start) for _ in range(2)]
        forgotten, other = started(2)
        LoggedEvent.objects.filter(execution=forgotten).delete()
        Execution.objects.filter(pk=forgotten).delete()
        wait_until(lambda: any(answer.done() for answer in answers), timeout=10, what="one is answered")
        assert sorted(answer.done() for answer in answers) == [False, True]
        store.cancel(other, reason="", by="test")
        told = sorted((answer.result(10) for answer in answers), key=lambda answer: answer.status_code)
    assert told[0].json()["workflow_execution_id"] == other
    assert_problem(told[1], 503, "unavailable")
    assert told[1].headers["Retry-After"]


def test_a_repeated_request_for_an_ended_one_does_not_wait(waiting: Waiting) -> None:
    first = waiting(Idempotency_Key="one")
    store.cancel(*started(), reason="", by="test")
    assert waiting(Idempotency_Key="one").result(10) == first.result(10)


def test_who_waits_is_answered_when_the_server_stops(waiting: Waiting, ends: Ends) -> None:
    answer = waiting()
    started()
    ends.close()
    assert answer.result(10)["status"] == "PENDING"


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has no listener")
def test_a_listener_that_was_cut_off_listens_again(waiting: Waiting) -> None:
    answers = [waiting()]
    store.cancel(*started(), reason="", by="test")
    answers[0].result(10)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN dataflow_ended%'"
        )
    answer = waiting()
    store.cancel(started(2)[1], reason="", by="test")
    assert answer.result(10)["status"] == "CANCELLED"


def test_who_waits_leaves_the_place_at_the_gate(
    workflow: Workflow, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(places=1, patience=60)
    monkeypatch.setattr(waiters, "REQUESTS", gate)
    execution = start_execution(workflow=workflow, inputs={"text": "x"})
    has_place = Event()

    def wait() -> None:
        try:
            with gate.inside():
                has_place.set()
                ends.wait(execution.pk, 30)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(wait)
        assert has_place.wait(10)
        with gate.inside():
            assert not waits.done()
        store.cancel(execution.pk, reason="", by="test")
        waits.result(10)
