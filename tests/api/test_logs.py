"""``GET …/{eid}/logs``: the log lines of all tasks, in the order of time."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dataflow.lib.times import rfc3339
from executions.engine.state import ExecutionStatus, TaskStatus
from executions.models import Attempt, Execution, TaskRun
from tests.api_client import Api, assert_problem
from tests.factories import START, make_execution, make_task_run
from workflows.models import Workflow

pytestmark = pytest.mark.django_db


def line(message: str, *, at: float, level: str = "info") -> dict[str, Any]:
    """A line as a try leaves it, ``at`` so many seconds from the start."""
    return {"at": rfc3339(START + timedelta(seconds=at)), "level": level, "message": message}


def make_try(run: TaskRun, number: int, *lines: dict[str, Any]) -> None:
    Attempt.objects.create(task_run=run, number=number, type=run.type, ended_at=START, log=list(lines))


def make_item(task: TaskRun, item: int, *lines: dict[str, Any]) -> TaskRun:
    return TaskRun.objects.create(
        execution=task.execution, name=f"{task.name}[{item}]", item=item, position=task.position, type=task.type,
        status=TaskStatus.COMPLETED, attempt=1, log=list(lines),
    )  # fmt: skip


@pytest.fixture
def execution(workflow: Workflow) -> Execution:
    """A task that needed two tries, one with two items, and one that failed; their lines lie across each other."""
    execution = make_execution(workflow, ExecutionStatus.FAILED)
    first = make_task_run(execution, "first", attempt=2, log=[line("d", at=1.5), line("e", at=2, level="debug")])
    make_try(first, 1, line("a", at=0, level="warning"), line("c", at=1))
    second = make_task_run(execution, "second")
    make_item(second, 0, line("b", at=0.25))
    make_item(second, 10, line("f", at=3, level="error"), line("g", at=3))
    # What failed for good has its lines in both rows.
    lines = [line("h ü", at=4, level="error")]
    make_try(make_task_run(execution, "third", TaskStatus.FAILED, log=lines), 1, *lines)
    other = make_execution(workflow)
    make_task_run(other, "first", log=[line("another's", at=0)])
    return execution


@pytest.fixture
def path(execution: Execution) -> str:
    return f"/workflows/{execution.workflow_id}/executions/{execution.pk}/logs"


def messages(answer: Any) -> str:
    """The messages, of which only the first letters matter."""
    return "".join(one["message"][0] for one in answer["logs"])


def test_it_works(api: Api, path: str) -> None:
    answer = api.call("GET", path, status=200)
    assert messages(answer) == "abcdefgh"
    assert answer["next_cursor"] is None
    assert answer["logs"][0] == {
        "at": "2025-11-23T08:00:00Z", "level": "warning", "message": "a", "task": "first", "item": None, "attempt": 1
    }  # fmt: skip
    assert answer["logs"][3]["attempt"] == 2
    assert answer["logs"][6] == {
        "at": "2025-11-23T08:00:03Z", "level": "info", "message": "g", "task": "second", "item": 10, "attempt": 1
    }  # fmt: skip
    assert answer["logs"][7]["message"] == "h ü"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("task=first", "acde"),
        ("task=second", "bfg"),
        ("task=second[10]", "fg"),
        ("task=second[1", ""),
        ("task=secon_", ""),
        ("task=unknown", ""),
        ("level=debug", "abcdefgh"),
        ("level=info", "abcdfgh"),
        ("level=WARNING", "afh"),
        ("level=error", "fh"),
        ("task=first&level=warning", "a"),
        ("task=&level=&cursor=", "abcdefgh"),
    ],
)
def test_filters(api: Api, path: str, query: str, found: str) -> None:
    assert messages(api.call("GET", f"{path}?{query}", status=200)) == found


@pytest.mark.parametrize(("query", "found"), [("", "abcdefgh"), ("&task=second", "bfg"), ("&level=info", "abcdfgh")])
def test_pages(api: Api, path: str, query: str, found: str) -> None:
    seen, following = "", f"{path}?limit=1{query}"
    while following:
        answer = api.send("GET", following, status=200)
        seen += messages(answer.json())
        assert (answer.json()["next_cursor"] is None) == ("Link" not in answer.headers)
        following = answer.headers.get("Link", "")[1:].partition(">")[0]
    assert seen == found


def cursor(*values: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode()


@pytest.mark.parametrize(
    "query",
    [
        "level=fatal", "level=info,error", "level=%00", "task=%00", "task=" + "x" * 201, "limit=0", "limit=201",
        "limit=x", "cursor=x", "cursor=%C3%BC", "cursor=W10", "cursor=bnVsbA", "cursor=" + cursor("", "", 0),
        "cursor=" + cursor("", "", 0, "1"), "cursor=" + cursor("", "", True, 1), "cursor=" + cursor(0, "", 0, 1),
        "cursor=" + cursor("\0", "", 0, 1), "cursor=" + cursor("", "ü", 0, 1), "cursor=" + cursor("", "", 0, 2**31),
        "cursor=" + cursor("", "", -1, 0), "cursor=" + "W1tb" * 20_000,
    ],
)  # fmt: skip
def test_bad_queries(api: Api, path: str, query: str) -> None:
    assert_problem(api.raw("GET", f"{path}?{query}"), 400, "validation", at=[f"/{query.partition('=')[0]}"])


def test_unknown(api: Api, path: str, execution: Execution) -> None:
    assert_problem(api.raw("GET", path.replace(execution.pk, "we-unknown")), 404, "not_found")
    assert_problem(api.raw("GET", path.replace(execution.workflow_id, "wf-unknown")), 404, "not_found")


def test_nothing_logged(api: Api, workflow: Workflow) -> None:
    execution = make_execution(workflow, ExecutionStatus.PENDING)
    path = f"/workflows/{execution.workflow_id}/executions/{execution.pk}/logs"
    assert api.call("GET", path, status=200) == {"logs": [], "next_cursor": None}


def test_a_page_of_many_items_is_one_query_of_its_lines(api: Api, path: str, execution: Execution) -> None:
    task = TaskRun.objects.get(execution=execution, name="second")
    TaskRun.objects.bulk_create(
        TaskRun(
            execution=execution, name=f"second[{item}]", item=item, position=task.position, type=task.type,
            status=TaskStatus.COMPLETED, attempt=1, log=[line(f"item {item}", at=item)],
        )
        for item in range(100, 400)
    )  # fmt: skip
    with CaptureQueriesContext(connection) as queries:
        answer = api.call("GET", f"{path}?task=second&limit=5&level=info", status=200)
    assert [one["item"] for one in answer["logs"]] == [0, 10, 10, 100, 101]
    logs = [query["sql"] for query in queries if "log" in query["sql"] and "executions_attempt" in query["sql"]]
    assert len(logs) == 1
    assert "LIMIT 6" in logs[0]
