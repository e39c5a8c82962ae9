"""``GET …/{eid}/events``: the log of an execution, in pages and as a stream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from executions import log_api, store
from executions.engine.state import ExecutionStatus
from executions.models import Event, Execution
from tests.api_client import Api, assert_problem
from tests.factories import START, make_execution
from workflows.models import Workflow

pytestmark = pytest.mark.django_db

STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
def execution(workflow: Workflow) -> Execution:
    """An ended one with five events."""
    execution = make_execution(workflow)
    for sequence in range(1, 6):
        task = "first" if 1 < sequence < 5 else ""
        Event.objects.create(
            execution=execution, sequence=sequence, type=f"kind.{sequence}", task=task, at=START, data={"n": "ü"}
        )
    return execution


@pytest.fixture
def path(execution: Execution) -> str:
    return f"/workflows/{execution.workflow_id}/executions/{execution.pk}/events"


def numbers(answer: Any) -> list[int]:
    return [event["sequence"] for event in answer["events"]]


def lines(answer: Any) -> str:
    """All that a stream says; reading it to its end closes it."""
    text: str = answer.getvalue().decode()
    return text


def test_it_works(api: Api, path: str) -> None:
    answer = api.call("GET", path, status=200)
    assert numbers(answer) == [1, 2, 3, 4, 5]
    assert answer["next_cursor"] is None
    assert answer["events"][1] == {
        "sequence": 2, "type": "kind.2", "task": "first", "attempt": 0, "at": "2025-11-23T08:00:00Z", "data": {"n": "ü"}
    }  # fmt: skip
    assert answer["events"][0]["task"] is None


def test_pages(api: Api, path: str) -> None:
    first = api.send("GET", f"{path}?after=1&limit=2", status=200)
    assert numbers(first.json()) == [2, 3]
    assert first.json()["next_cursor"] == "3"
    rest = api.call("GET", first.headers["Link"][1:].partition(">")[0], status=200)
    assert numbers(rest) == [4, 5]
    assert rest["next_cursor"] is None
    assert numbers(api.call("GET", f"{path}?after=5", status=200)) == []


@pytest.mark.parametrize("query", ["after=x", "after=-1", "after=1.5", "after=99999999999", "limit=0", "limit=201"])
def test_bad_queries(api: Api, path: str, query: str) -> None:
    assert_problem(api.raw("GET", f"{path}?{query}"), 400, "validation", at=[f"/{query.partition('=')[0]}"])


def test_unknown(api: Api, execution: Execution) -> None:
    address = f"/workflows/{execution.workflow_id}/executions/we-unknown/events"
    assert_problem(api.raw("GET", address), 404, "not_found")
    assert_problem(api.raw("GET", address, **STREAM), 404, "not_found")


def test_a_stream_of_an_ended_one_ends(api: Api, path: str) -> None:
    answer = api.raw("GET", path, **STREAM)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream")
    said = lines(answer)
    assert [line for line in said.splitlines() if line.startswith("id: ")] == [f"id: {n}" for n in range(1, 6)]
    (data,) = [line for line in said.splitlines() if line.startswith("data: ") and '"kind.2"' in line]
    assert json.loads(data.removeprefix("data: ")) == api.call("GET", path, status=200)["events"][1]


@pytest.mark.parametrize(("header", "query"), [("3", ""), ("3", "?after=1"), ("", "?after=3"), ("x", "?after=3")])
def test_a_stream_goes_on_where_it_broke_off(api: Api, path: str, header: str, query: str) -> None:
    said = lines(api.raw("GET", path + query, Last_Event_ID=header, **STREAM))
    assert [line for line in said.splitlines() if line.startswith("id: ")] == ["id: 4", "id: 5"]


def test_a_stream_tells_the_end_when_it_comes(api: Api, workflow: Workflow) -> None:
    started = api.call("POST", f"/workflows/{workflow.pk}/executions", {"inputs": {"text": "x"}}, status=201)
    answer = api.raw("GET", f"{started['url']}/events", **STREAM)
    said = iter(answer.streaming_content)
    assert next(said).startswith(b"retry: ")
    assert b"event: execution.created\n" in next(said)
    assert store.cancel(started["workflow_execution_id"], reason="", by="test") is ExecutionStatus.CANCELLED
    rest = b"".join(said)
    assert b"event: execution.cancelled\n" in rest


def test_too_many_streams(api: Api, path: str) -> None:
    open_ones = [api.raw("GET", path, **STREAM) for _ in range(log_api.MAX_STREAMS)]
    refused = api.raw("GET", path, **STREAM)
    assert_problem(refused, 503, "unavailable")
    assert "Retry-After" in refused.headers
    assert all("id: 5" in lines(answer) for answer in open_ones)
    assert "id: 5" in lines(api.raw("GET", path, **STREAM))
