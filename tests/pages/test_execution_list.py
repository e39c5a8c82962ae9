"""The lists of executions."""

from __future__ import annotations

from datetime import timedelta

import pytest

from executions.engine.state import ExecutionStatus
from tests.factories import START, make_execution, make_workflow

pytestmark = pytest.mark.django_db


def test_it_works(read):
    execution = make_execution()
    html = read("/executions")
    assert execution.pk in html
    assert "COMPLETED" in html
    assert execution.pk in read("/executions/")


def test_filters_are_in_the_address(read):
    ours, other = make_workflow(title="Ours"), make_workflow(title="Other")
    done, failed = make_execution(ours), make_execution(ours, ExecutionStatus.FAILED)
    elsewhere = make_execution(other, ExecutionStatus.FAILED)
    both = read(f"/executions?status=failed&workflow_id={ours.pk}")
    assert failed.pk in both
    assert done.pk not in both
    assert elsewhere.pk not in both
    assert f'<option value="{ours.pk}" selected>' in both
    one = read(f"/workflows/{ours.pk}/executions")
    assert done.pk in one
    assert elsewhere.pk not in one


def test_empty_lists_differ(read):
    workflow = make_workflow()
    assert "No executions yet" in read("/executions")
    assert "No executions yet" in read(f"/workflows/{workflow.pk}/executions")
    make_execution(workflow)
    assert "Nothing matches: nothing has failed" in read("/executions?status=FAILED")
    assert "Clear the filters" in read("/executions?status=FAILED")


def test_pages_of_a_long_list(read):
    workflow = make_workflow()
    ids = [make_execution(workflow, created_at=START + timedelta(seconds=n)).pk for n in range(5)]
    first = read("/executions?limit=2&status=COMPLETED")
    assert ids[4] in first
    assert ids[2] not in first
    following = first.split('<a href="?')[1].split('"')[0].replace("&amp;", "&")
    assert "status=COMPLETED" in following
    second = read(f"/executions?{following}")
    assert ids[2] in second
    assert ids[4] not in second
    assert "hx-trigger" not in second  # only the newest page renews itself


@pytest.mark.parametrize("query", ["cursor=nonsense", "limit=0", "limit=x", "cursor=%00"])
def test_odd_parameters_are_refused_with_a_page(web, query):
    answer = web.get(f"/executions?{query}")
    assert answer.status_code == 400
    assert answer["Content-Type"].startswith("text/html")


def test_an_unknown_workflow_is_not_found(web):
    assert web.get("/executions?workflow_id=wf-nope").status_code == 404
    assert web.get("/executions?workflow_id=%00").status_code == 200


def test_number_of_queries_does_not_grow(read, django_assert_num_queries):
    workflow = make_workflow()
    for _ in range(10):
        make_execution(workflow)
    with django_assert_num_queries(2):  # executions with their workflow, workflows to choose from
        read("/executions")


def test_the_list_answers_304_until_something_changes(web):
    execution = make_execution(status=ExecutionStatus.RUNNING)
    etag = web.get("/pages/executions")["ETag"]
    assert web.get("/pages/executions", headers={"if-none-match": etag}).status_code == 304
    type(execution).objects.filter(pk=execution.pk).update(status="COMPLETED", completed_at=START)
    news = web.get("/pages/executions", headers={"if-none-match": etag})
    assert news.status_code == 200
    assert b"COMPLETED" in news.content
    of_workflow = web.get(f"/pages/workflows/{execution.workflow_id}/executions?status=COMPLETED")
    assert execution.pk.encode() in of_workflow.content
