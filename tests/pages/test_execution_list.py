"""The lists of executions."""

from __future__ import annotations

import html as entities
import re
from datetime import timedelta

import pytest
from django.http import QueryDict

from executions.engine.state import ExecutionStatus
from tests.factories import START, make_execution, make_workflow
from workflows.services import archive_workflow

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


def listed(html):
    """The ids of the table, in its order."""
    return re.findall(r'id="row-(we-[a-z0-9]+)"', html)


def test_the_page_shows_what_the_api_gives_for_the_same_query(read, client):
    workflow = make_workflow(title="Ours")
    parent = make_execution(workflow, trigger="schedule", trigger_ref="sc-1")
    made = [
        make_execution(workflow, labels={"team": "blue", "at": "a:b"}, created_at=START + timedelta(minutes=1)),
        make_execution(workflow, ExecutionStatus.FAILED, labels={"team": "red"}),
        make_execution(make_workflow(title="Other"), parent=parent, trigger="workflow"),
    ]
    queries = {
        "status=FAILED,RUNNING": [made[1]],
        "status=failed&status=running": [made[1]],
        f"workflow={made[2].workflow_id}": [made[2]],
        "label=team:blue&label=at:a:b": [made[0]],
        "created_after=2025-11-23T08:00:30Z": [made[0]],
        "created_before=2025-11-23T08:00:00Z": [],
        "trigger=schedule": [parent],
        "trigger_ref=sc-1": [parent],
        f"parent={parent.pk}": [made[2]],
        "search=OTHER": [made[2]],
        f"search={made[0].pk}": [made[0]],
        "search=we-unknown": [],
    }
    for query, wanted in queries.items():
        assert listed(read(f"/executions?{query}")) == [one.pk for one in wanted], query
        assert listed(read(f"/pages/executions?{query}")) == [one.pk for one in wanted], query
        answer = client.get(f"/executions?{query}").json()["executions"]
        assert [one["workflow_execution_id"] for one in answer] == [one.pk for one in wanted], query
    one = read(f"/workflows/{workflow.pk}/executions?label=team:red")
    assert listed(one) == [made[1].pk]


def led_to(html, link):
    """The query of the address of a link."""
    found = re.search(rf'<a href="[^"?]*\?([^"]+)"[^>]*>{link}', html)
    assert found, link
    return found[1]


def test_every_filter_stays_in_every_address(read):
    workflow = make_workflow()
    for n in range(3):
        made = {"labels": {"a": "1", "b": "2"}, "trigger": "schedule", "created_at": START + timedelta(seconds=n)}
        make_execution(workflow, ExecutionStatus.FAILED, **made)
    asked = "status=FAILED&status=COMPLETED&label=a%3A1&label=b%3A2&created_before=2026-01-01T00%3A00%3A00Z"
    asked = f"{asked}&trigger=schedule&workflow={workflow.pk}&limit=2"
    page = entities.unescape(read(f"/executions?{asked}"))
    assert f"<code>GET /executions?{asked}</code>" in page
    assert f'hx-get="/pages/executions?{asked}"' in page
    following = led_to(page, "Older")
    assert following.startswith(f"{asked}&cursor=")
    pill = led_to(page, "Running")
    assert QueryDict(pill).getlist("status") == ["RUNNING"]
    assert {name: QueryDict(pill).getlist(name) for name in ("label", "trigger", "limit")} == {
        "label": ["a:1", "b:2"], "trigger": ["schedule"], "limit": ["2"],
    }  # fmt: skip
    older = entities.unescape(read(f"/executions?{following}"))
    assert len(listed(older)) == 1
    assert "cursor" not in led_to(older, "Running")
    assert f'<a href="?{asked}">← Newest' in older


def test_the_form_is_filled_in_and_needs_no_script(read):
    workflow = make_workflow(title="Put away")
    archive_workflow(workflow=workflow)
    make_execution(workflow, labels={"a": "1"})
    html = read(
        f"/executions?workflow_id={workflow.pk}&label=a:1&created_after=2025-11-23T09:30:00%2B02:00&status=COMPLETED"
        "&created_before=2025-11-24T08:00&search=put&trigger=api&label="
    )
    assert f'<option value="{workflow.pk}" selected>Put away' in html
    assert html.count('name="label" value="a:1"') == html.count('name="label" value=""') == 1
    assert 'name="created_after" value="2025-11-23T07:30:00"' in html
    assert 'name="created_before" value="2025-11-24T08:00:00"' in html
    assert 'name="search" value="put"' in html
    assert '<input type="hidden" name="status" value="COMPLETED">' in html
    assert '<input type="hidden" name="trigger" value="api">' in html
    assert "created_before=2025-11-24T08%3A00Z" in html  # as the API takes it
    assert f"workflow={workflow.pk}" in html
    assert len(listed(html)) == 1


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("status=DONE", "<code>status</code> is one of PENDING"),
        ("label=team", "<code>label</code> is <code>key:value</code>"),
        ("created_after=yesterday", "<code>created_after</code> is a time"),
        ("created_before=2025-11-23", "<code>created_before</code> is a time"),
        ("trigger=%00", "<code>trigger</code> is a text"),
        ("workflow=%00", "<code>workflow</code> is a text"),
        ("search=" + "x" * 201, "<code>search</code> is a text"),
        ("limit=0", "<code>limit</code> is a whole number"),
    ],
)
def test_a_filter_that_cannot_be_read_shows_nothing_and_says_so(web, query, said):
    execution = make_execution()
    answer = web.get(f"/executions?{query}")
    html = answer.content.decode()
    assert answer.status_code == 400
    assert said in html
    assert execution.pk not in html
    assert 'name="verb"' not in html  # nothing that could be done to what was not asked for
    assert '<form method="get" action="/executions"' in html  # to mend it
    assert web.get(f"/pages/executions?{query}").status_code == 400


def test_empty_lists_differ(read):
    workflow = make_workflow()
    assert "No executions yet" in read("/executions")
    assert "No executions yet" in read(f"/workflows/{workflow.pk}/executions")
    make_execution(workflow)
    assert "Nothing matches: nothing has failed" in read("/executions?status=FAILED")
    assert "Clear the filters" in read("/executions?status=FAILED")
    other = read("/executions?status=FAILED&label=a:b")
    assert "nothing has failed" not in other
    assert "Nothing matches" in other


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
    assert web.get("/executions?workflow_id=%00").status_code == 400


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
