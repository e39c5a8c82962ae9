"""Workflows: list, page, versions, editor."""

from __future__ import annotations

import json

import pytest

from tests.factories import DOCUMENT, make_execution, make_workflow
from workflows.models import Workflow
from workflows.services import archive_workflow, update_workflow

pytestmark = pytest.mark.django_db


def test_list_shows_the_last_execution(read, django_assert_num_queries):
    for number in range(5):
        make_execution(make_workflow(title=f"Number {number}"))
    with django_assert_num_queries(1):
        html = read("/workflows")
    assert html.count('class="chip completed') == 5


def test_list_search_and_empty_states(read):
    assert "No workflows yet" in read("/workflows")
    workflow = make_workflow()
    assert workflow.pk in read("/workflows?search=ECHO")
    assert "No workflow matches “nope”" in read("/workflows?search=nope")
    assert "Nothing is archived" in read("/workflows?archived=1")


def test_page_has_form_graph_versions_and_call(read):
    workflow = make_workflow()
    html = read(f"/workflows/{workflow.pk}")
    assert '<textarea name="input_text"' in html
    assert html.count("<rect ") == 3
    assert 'aria-label="second, text.reverse, after first"' in html
    assert "Version 1" in html
    assert f"curl -X POST http://testserver/workflows/{workflow.pk}/executions" in html


def test_number_of_queries_of_the_page(read, django_assert_num_queries):
    workflow = make_workflow()
    for _ in range(3):
        make_execution(workflow)
    with django_assert_num_queries(6):  # workflow, version, executions, versions, schedules, hooks
        read(f"/workflows/{workflow.pk}")


def test_an_archived_workflow_cannot_be_run(read):
    workflow = make_workflow()
    archive_workflow(workflow=workflow)
    html = read(f"/workflows/{workflow.pk}")
    assert "It cannot be run any more" in html
    assert "<form" not in html
    assert workflow.pk in read("/workflows?archived=1")


def test_versions_show_what_changed_and_can_be_restored(read, send):
    workflow = make_workflow()
    update_workflow(workflow=workflow, document=DOCUMENT | {"description": "Changed"})
    html = read(f"/workflows/{workflow.pk}/versions/2")
    assert "What changed since version 1" in html
    assert '<span class="removed">-  &quot;description&quot;: &quot;Three steps&quot;,</span>' in html
    assert '<span class="added">+  &quot;description&quot;: &quot;Changed&quot;,</span>' in html
    page = f"/workflows/{workflow.pk}/versions"
    assert send(page, f"/pages/workflows/{workflow.pk}/versions/1/restore").status_code == 302
    workflow.refresh_from_db()
    assert workflow.current_version == 3
    assert workflow.current().restored_from == 1
    assert "restored from 1" in read(page)
    same = read(f"/workflows/{workflow.pk}/versions/3?against=1")
    assert "The two are the same." in same


def test_no_such_version_or_workflow(web):
    workflow = make_workflow()
    assert web.get(f"/workflows/{workflow.pk}/versions/9").status_code == 404
    assert web.get("/workflows/wf-nope").status_code == 404
    assert web.get(f"/workflows/{workflow.pk}/versions/1?against=99999999999").status_code == 200


def test_create_with_the_editor(send):
    answer = send("/workflows/new", "/workflows/new", document=json.dumps(DOCUMENT))
    workflow = Workflow.objects.get()
    assert answer.status_code == 302
    assert answer["Location"] == f"/workflows/{workflow.pk}"


def test_everything_wrong_is_said_and_nothing_is_stored(send):
    broken = DOCUMENT | {"tasks": [{"name": "a", "type": "text.revers", "inputs": {}}], "colour": 1}
    answer = send("/workflows/new", "/workflows/new", document=json.dumps(broken))
    html = answer.content.decode()
    assert answer.status_code == 400
    assert "/tasks/0/type" in html
    assert "/colour" in html
    assert "text.reverse" in html  # did you mean
    assert "text.revers&quot;" in html  # what was typed is still there
    assert not Workflow.objects.exists()


@pytest.mark.parametrize("document", ["", "{", "[" * 1000, '{"a": NaN}', '{"a": "\\ud800"}', '"x"', '{"a": 1, "a": 2}'])
def test_odd_documents_are_refused(send, document):
    answer = send("/workflows/new", "/workflows/new", document=document)
    assert answer.status_code == 400
    assert not Workflow.objects.exists()


def test_an_edit_makes_a_version_and_loses_no_other(send, read):
    workflow = make_workflow()
    page = f"/workflows/{workflow.pk}/edit"
    assert "Three steps" in read(page)
    edited = json.dumps(DOCUMENT | {"description": "Mine"})
    update_workflow(workflow=workflow, document=DOCUMENT | {"description": "Theirs"})
    assert send(page, page, document=edited, expected_version=1).status_code == 412
    assert send(page, page, document=edited, expected_version=2).status_code == 302
    workflow.refresh_from_db()
    assert workflow.current_version == 3


def test_archive(send):
    workflow = make_workflow()
    assert send(f"/workflows/{workflow.pk}", f"/pages/workflows/{workflow.pk}/archive").status_code == 302
    workflow.refresh_from_db()
    assert workflow.archived_at is not None
