"""Who may open pages and send their forms."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from executions.engine.state import ExecutionStatus
from executions.models import Execution
from executions.triggers.hooks import create_hook
from executions.triggers.schedules import create_schedule
from tests.factories import DOCUMENT, make_delivery, make_execution, make_task_run, make_workflow
from tests.verbs_driver import asking
from workflows.services import update_workflow

pytestmark = pytest.mark.django_db


@pytest.fixture
def closed(settings):
    settings.DEBUG = False
    settings.SECURE_SSL_REDIRECT = False
    return Client(headers={"accept": "text/html"})


def addresses():
    execution = make_execution()
    workflow = f"/workflows/{execution.workflow_id}"
    page = f"{workflow}/executions/{execution.pk}"
    shared = ["/", "/workflows", "/executions", "/task-types", "/task-types/text.echo", workflow, page]
    own = [f"{workflow}/versions", f"{workflow}/versions/1", f"{workflow}/executions", f"{workflow}/run"]
    fragments = ["/pages/overview", "/pages/executions", f"/pages/executions/{execution.pk}"]
    return [*shared, *own, *fragments, "/workflows/new", f"{workflow}/edit"]


def test_without_debug_every_page_asks_for_a_login(closed):
    for address in addresses():
        answer = closed.get(address)
        assert answer.status_code == 302, address
        assert answer["Location"].startswith("/admin/login/?next=")


def test_who_is_signed_in_may_read_but_only_staff_may_start(closed):
    workflow = make_workflow()
    closed.force_login(User.objects.create_user("reader"))
    for address in addresses():
        assert closed.get(address).status_code == 200, address
    run = reverse("page-run", args=[workflow.pk])
    before = Execution.objects.count()
    assert closed.post(run, {"input_text": "x"}).status_code == 403
    assert Execution.objects.count() == before
    closed.force_login(User.objects.create_user("staff", is_staff=True))
    assert closed.post(run, {"input_text": "x"}).status_code == 302
    assert Execution.objects.filter(trigger="page", created_by__username="staff").count() == 1


def test_who_may_only_read_is_offered_nothing_that_is_refused(closed, settings):
    """On no page: no form that posts, no link to a form or to what is the administrators' alone."""
    flow = make_workflow()
    update_workflow(workflow=flow, document=DOCUMENT | {"description": "Another"})
    create_schedule(workflow=flow, document={"every_minutes": 5, "inputs": {"text": "x"}})
    create_hook(workflow=flow, document={"name": "In"})
    alive, failed = (make_execution(flow, status) for status in (ExecutionStatus.RUNNING, ExecutionStatus.FAILED))
    make_delivery(failed)
    make_task_run(failed, "first")
    asks = asking()
    of_flow = [
        f"/workflows/{flow.pk}{rest}"
        for rest in ("", "/versions", "/versions/1", "/schedules", "/hooks", "/edit", "/run")
    ]
    of_runs = [f"/workflows/{one.workflow_id}/executions/{one.pk}" for one in (alive, failed, asks)]
    forms = [reverse(name, args=[failed.pk]) for name in ("page-rerun", "page-resume")]
    decide = reverse("page-decide", args=[asks.pk, "ask"])
    lists = ["/", "/workflows", "/workflows/new", "/executions", f"/workflows/{flow.pk}/executions", "/task-types"]
    pages = [*lists, "/task-types/text.echo", *of_flow, *of_runs, *forms, decide]
    refused = re.compile(
        r'<form[^>]*method="post"|href="(/workflows/new|/workflows/[^"]*/(run|edit)|/secrets|/admin/|[^"]*/rerun[^"]*|[^"]*#try)"'
    )
    closed.force_login(User.objects.create_user("reader"))
    for page in pages:
        answer = closed.get(page)
        assert answer.status_code == 200, page
        found = refused.search(answer.content.decode())
        assert found is None, (page, found)
    closed.force_login(User.objects.create_user("staff", is_staff=True))
    for page in pages:
        shown = closed.get(page).content.decode()
        assert 'href="/admin/"' in shown
        assert 'href="/secrets"' not in shown
        assert page == "/" or len(refused.findall(shown)) > 1, page
    closed.force_login(User.objects.create_superuser("root"))
    assert 'href="/secrets"' in closed.get("/").content.decode()


def test_forms_are_checked_against_csrf_at_shared_addresses_too(web):
    workflow = make_workflow()
    assert web.post(f"/workflows/{workflow.pk}/run", {"input_text": "x"}).status_code == 403
    assert web.post("/workflows", {"document": "{}"}).status_code in {403, 405}
