"""The sections of schedules and webhooks in on a workflow's page, and their own pages."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from executions.database import database_now
from executions.models import Execution
from executions.trigger_models import Hook, Schedule
from executions.triggers.hooks import create_hook
from executions.triggers.schedules import create_schedule, run_due
from tests.factories import DOCUMENT, make_workflow
from workflows.services import archive_workflow, update_workflow

pytestmark = pytest.mark.django_db

EVERY = {"every_minutes": 10, "inputs": {"text": "x"}}


@pytest.fixture
def workflow(db):
    return make_workflow()


@pytest.fixture
def page(workflow):
    return f"/workflows/{workflow.pk}"


def test_the_workflow_page_shows_both(read, workflow, page):
    assert "None: it runs when somebody starts it." in read(page)
    schedule = create_schedule(workflow=workflow, document=EVERY)
    create_schedule(
        workflow=workflow, document={"cron": "0 8 * * *", "timezone": "Asia/Tokyo", "inputs": {"text": "x"}}
    )
    create_hook(workflow=workflow, document={"name": "A <b>partner</b>"})
    html = read(page)
    assert "every 10 minutes" in html
    assert "<code>0 8 * * *</code> <small>Asia/Tokyo</small>" in html
    section = html[html.index('id="schedules"') : html.index('id="hooks"')]
    assert section.count("<time ") == 6  # three next runs each
    assert f"/pages/workflows/{workflow.pk}/schedules/{schedule.pk}/pause" in html
    assert "A &lt;b&gt;partner&lt;/b&gt;" in html
    assert "style=" not in section
    assert "<script" not in html[html.index("<main") :]


def test_the_page_costs_two_queries_more(read, workflow, page, django_assert_num_queries):
    for _ in range(3):
        create_schedule(workflow=workflow, document=EVERY)
        create_hook(workflow=workflow, document={})
    Schedule.objects.update(next_run_at=database_now())
    assert run_due() == 3
    with django_assert_num_queries(6):  # workflow, version, executions, versions, schedules, hooks
        read(page)


def test_add_a_schedule(send, page):
    answer = send(
        page, f"{page}/schedules", cron="0 8 * * *", timezone="Europe/Berlin", missed="run_once", inputs='{"text": "a"}'
    )
    assert answer.status_code == 302
    assert answer["Location"] == f"{page}#schedules"
    row = Schedule.objects.get()
    assert (row.cron, row.timezone, row.missed, row.inputs) == ("0 8 * * *", "Europe/Berlin", "run_once", {"text": "a"})
    # The zone of the form counts for cron alone.
    send(page, f"{page}/schedules", cron="", timezone="UTC", every_minutes="5", missed="skip", inputs='{"text": "a"}')
    assert Schedule.objects.filter(every_minutes=5, timezone="").exists()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"cron": "0 8 *", "inputs": '{"text": "a"}'}, "five fields"),
        ({"cron": "0 8 * * *", "timezone": "Berlin", "inputs": '{"text": "a"}'}, "There is no time zone `Berlin`."),
        ({"every_minutes": "0.5", "inputs": '{"text": "a"}'}, "a whole number from 1 to 44640"),
        ({"every_minutes": "x", "inputs": '{"text": "a"}'}, "Write a number"),
        ({"every_minutes": "5", "inputs": '{"text": 5}'}, "`inputs.text`"),
        ({"every_minutes": "5", "inputs": "{"}, "This is not JSON"),
        ({"every_minutes": "5", "inputs": "[" * 5000}, "nested more than"),
        (
            {"every_minutes": "5", "missed": "never", "inputs": '{"text": "a"}'},
            "never is not one of the available choices",
        ),
        ({}, "A schedule needs a time."),
    ],
)
def test_what_is_wrong_is_said_at_its_field(send, page, fields, said):
    answer = send(page, f"{page}/schedules", **fields)
    html = answer.content.decode().replace("&#x27;", "'")
    assert answer.status_code == 400
    assert said.replace("`inputs.text`", "text") in html
    assert 'class="wrong"' in html
    assert '<details class="fold" open>' in html
    assert not Schedule.objects.exists()


def test_pause_resume_and_delete(send, read, workflow, page):
    schedule = create_schedule(workflow=workflow, document=EVERY)
    act = f"/pages/workflows/{workflow.pk}/schedules/{schedule.pk}"
    for _ in range(2):
        assert send(page, f"{act}/pause").status_code == 302
    assert "none while it is paused" in read(page)
    assert send(page, f"{act}/resume").status_code == 302
    assert "none while it is paused" not in read(page)
    assert send(page, f"{act}/delete").status_code == 302
    assert send(page, f"{act}/delete").status_code == 404
    assert not Schedule.objects.exists()


def test_a_schedule_that_cannot_run_says_why(read, workflow, page):
    create_schedule(workflow=workflow, document=EVERY)
    update_workflow(
        workflow=workflow, document=DOCUMENT | {"inputs": [*DOCUMENT["inputs"], {"name": "n", "type": "number"}]}
    )
    Schedule.objects.update(next_run_at=database_now())
    assert run_due() == 0
    html = read(page)
    assert "The execution was not started: its request is not valid." in html
    assert "/inputs/n" in html


def test_a_hook_shows_its_address_once(send, read, page, web):
    answer = send(page, f"{page}/hooks", name="Partner", signature="github")
    html = answer.content.decode()
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    address = re.search(r"http://testserver(/hooks/[\w-]+)", html)
    assert address
    assert "curl -X POST" in html
    assert "whsec_" in html
    hook = Hook.objects.get()
    token = address[1].removeprefix("/hooks/")
    assert token not in read(page)
    assert token not in read(f"{page}/hooks")
    act = f"/pages/workflows/{hook.workflow_id}/hooks/{hook.pk}"
    rotated = send(page, f"{act}/rotate").content.decode()
    assert token not in rotated
    assert "/hooks/" in rotated
    assert web.post(address[1], "{}", content_type="application/json").status_code == 404


def test_a_hook_is_switched_off_on_and_deleted(send, read, workflow, page):
    made = create_hook(workflow=workflow, document={"inputs": {"text": "{{body.a}}"}})
    act = f"/pages/workflows/{workflow.pk}/hooks/{made.hook.pk}"
    assert send(page, f"{act}/off").status_code == 302
    assert Client().post(f"/hooks/{made.token}", {"a": "x"}, content_type="application/json").status_code == 404
    assert send(page, f"{act}/on").status_code == 302
    assert Client().post(f"/hooks/{made.token}", {"a": "x"}, content_type="application/json").status_code == 201
    assert Execution.objects.get().trigger == "hook"
    assert "{{body.a}}" in read(page)
    assert send(page, f"{act}/delete").status_code == 302
    assert not Hook.objects.exists()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "x", "secret": "a long secret"}, "goes with"),
        ({"name": "x", "signature": "github", "secret": "short"}, "8 to 512 characters"),
        ({"name": "x", "signature": "md5"}, "not one of the available choices"),
        ({"name": "x", "inputs": '{"txt": "{{inputs.a}}"}'}, "there is no `inputs` here"),
        ({"name": "x", "inputs": "[]"}, "an object of templates"),
    ],
)
def test_what_is_wrong_with_a_hook(send, page, fields, said):
    answer = send(page, f"{page}/hooks", **fields)
    assert answer.status_code == 400
    assert said in answer.content.decode()
    assert not Hook.objects.exists()


def test_an_archived_workflow_has_no_forms(read, workflow, page):
    create_schedule(workflow=workflow, document=EVERY)
    create_hook(workflow=workflow, document={})
    archive_workflow(workflow=workflow)
    html = read(page)
    assert "none: the workflow is archived" in html
    assert "<form" not in html


def test_who_may(workflow, page, settings):
    schedule, made = create_schedule(workflow=workflow, document=EVERY), create_hook(workflow=workflow, document={})
    settings.DEBUG, settings.SECURE_SSL_REDIRECT = False, False
    client = Client(headers={"accept": "text/html"})
    changes = [f"{page}/schedules", f"{page}/hooks"]
    changes += [f"/pages{page}/schedules/{schedule.pk}/{action}" for action in ("pause", "resume", "delete")]
    changes += [f"/pages{page}/hooks/{made.hook.pk}/{action}" for action in ("off", "on", "rotate", "delete")]
    for address in (f"{page}/schedules", f"{page}/hooks"):
        assert client.get(address).status_code == 302
    client.force_login(get_user_model().objects.create_user("reader"))
    for address in (f"{page}/schedules", f"{page}/hooks", page):
        assert client.get(address).status_code == 200
    for address in changes:
        assert client.post(address, EVERY).status_code == 403
    made.hook.refresh_from_db()
    schedule.refresh_from_db()
    assert made.hook.enabled
    assert schedule.enabled
    client.force_login(get_user_model().objects.create_user("staff", is_staff=True))
    for address in changes[2:]:
        assert client.post(address).status_code in (200, 302)


def test_forms_need_their_token(web, page):
    assert web.post(f"{page}/schedules", {"every_minutes": "5"}).status_code == 403
    assert web.post(f"{page}/hooks", {"name": "x"}).status_code == 403


def test_the_admin_shows_neither_token_nor_secret(workflow):
    schedule = create_schedule(workflow=workflow, document=EVERY)
    made = create_hook(workflow=workflow, document={"signature": "github"})
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("root"))
    for kind, key in (("schedule", schedule.pk), ("hook", made.hook.pk)):
        for address in (f"/admin/executions/{kind}/", f"/admin/executions/{kind}/{key}/change/"):
            html = client.get(address, follow=True).content.decode()
            assert key in html
            assert made.hook.token_hash not in html
            assert made.hook.secret not in html
        data = {"action": "switch_off", "_selected_action": [key]}
        assert client.post(f"/admin/executions/{kind}/", data).status_code == 302
    made.hook.refresh_from_db()
    schedule.refresh_from_db()
    assert not made.hook.enabled
    assert not schedule.enabled
