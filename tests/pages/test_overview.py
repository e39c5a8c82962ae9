"""The overview and the catalogue."""

from __future__ import annotations

import html as entities
import re
from datetime import UTC, datetime, timedelta

import pytest

from executions.engine.state import ExecutionStatus
from tasks_lib import registry
from tests.factories import make_execution, make_worker, make_workflow

pytestmark = pytest.mark.django_db


def test_with_nothing_at_all(read):
    html = read("/")
    assert "Nothing has run yet" in html
    assert "Write the first one" in html
    assert "No worker is running" in html


def test_with_workflows_but_nothing_run(read):
    workflow = make_workflow()
    assert f"/workflows/{workflow.pk}/run" in read("/")


def test_shows_what_runs_and_what_failed_lately(read):
    workflow, now = make_workflow(), datetime.now(UTC)
    running = make_execution(workflow, ExecutionStatus.RUNNING, created_at=now)
    make_execution(workflow, ExecutionStatus.FAILED, created_at=now - timedelta(days=2))
    html = read("/")
    assert f'id="row-{running.pk}"' in html
    assert "Good news: nothing failed in the last 24 hours." in html
    failed = make_execution(workflow, ExecutionStatus.FAILED, created_at=now)
    assert f'id="row-failed-{failed.pk}"' in read("/")


def test_the_lists_behind_the_figures_show_what_they_count(read):
    workflow, now = make_workflow(), datetime.now(UTC)
    alive = {make_execution(workflow, status).pk for status in (ExecutionStatus.PENDING, ExecutionStatus.RUNNING)}
    lately = {}
    for status in (ExecutionStatus.COMPLETED, ExecutionStatus.FAILED):
        make_execution(workflow, status, created_at=now - timedelta(days=2))
        lately[status] = {make_execution(workflow, status, created_at=now - timedelta(hours=1)).pk}
    html = entities.unescape(read("/"))
    for wanted, words in (
        (alive, "running or waiting now"),
        (lately[ExecutionStatus.COMPLETED], "of the last 24 h completed"),
        (lately[ExecutionStatus.FAILED], "of the last 24 h failed"),
    ):
        found = re.search(rf'<a href="(/executions\?[^"]*)"[^>]*><strong>(\d+)</strong><span>{words}', html)
        assert found
        assert int(found[2]) == len(wanted)
        assert set(re.findall(r'id="row-(we-[a-z0-9]+)"', read(found[1]))) == wanted


def test_workers_and_their_silence(read):
    executions = [make_execution(status=ExecutionStatus.RUNNING) for _ in range(2)]
    doing = [{"execution": one.pk, "task": f"pages[{n}]", "attempt": n + 1} for n, one in enumerate(executions)]
    make_worker(busy=7, doing=doing)
    make_worker(silent_for=timedelta(minutes=5))
    html = read("/")
    assert "7 of 10" in html
    assert "0 of 10" in html
    assert f'pages[0]: <a href="/pages/executions/{executions[0].pk}/open">' in html
    assert f'pages[1], try 2: <a href="/pages/executions/{executions[1].pk}/open">' in html
    assert "and 5 more" in html
    assert "silent" in html
    assert "No worker is running" not in html


def test_fragment_answers_304(web):
    make_worker()
    etag = web.get("/pages/overview")["ETag"]
    assert web.get("/pages/overview", headers={"if-none-match": etag}).status_code == 304
    make_execution()
    assert web.get("/pages/overview", headers={"if-none-match": etag}).status_code == 200


def test_number_of_queries_does_not_grow(read, django_assert_max_num_queries):
    workflow = make_workflow()
    for _ in range(10):
        make_execution(workflow, ExecutionStatus.RUNNING)
    with django_assert_max_num_queries(8):
        read("/")


def test_every_task_type_has_its_page(read):
    catalogue = read("/task-types")
    for task_type in registry.all():
        assert f'href="/task-types/{task_type.name}"' in catalogue
        html = read(f"/task-types/{task_type.name}")
        assert all(f"<code>{field.name}</code>" in html for field in (*task_type.inputs, *task_type.outputs))


def test_task_types_by_older_spelling_and_search(read, web):
    assert "text.reverse" in read("/task-types/text_operations.reverse")
    assert "text.reverse" in read("/task-types?search=REVERSE")
    assert "web.download" not in read("/task-types?search=REVERSE")
    assert "No task type matches" in read("/task-types?search=zzz")
    assert web.get("/task-types/nope").status_code == 404


def test_an_unknown_address_is_a_page(web):
    answer = web.get("/nope")
    assert answer.status_code == 404
    assert b"<nav" in answer.content


def test_the_same_address_gives_json_to_programs(client):
    assert client.get("/executions").json() == {"executions": [], "next_cursor": None}
