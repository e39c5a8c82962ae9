"""Who may open pages and send their forms."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from executions.models import Execution
from tests.factories import make_execution, make_workflow

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


def test_forms_are_checked_against_csrf_at_shared_addresses_too(web):
    workflow = make_workflow()
    assert web.post(f"/workflows/{workflow.pk}/run", {"input_text": "x"}).status_code == 403
    assert web.post("/workflows", {"document": "{}"}).status_code in {403, 405}
