"""The admin: every model, read-only where frozen, actions through the services."""

from __future__ import annotations

import json

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.test import Client
from django_q.models import OrmQ, Schedule

from executions.engine.state import ExecutionStatus
from executions.models import (
    Attempt,
    Delivery,
    DeliveryAttempt,
    Event,
    Execution,
    FileUse,
    IdempotencyKey,
    SigningSecret,
)
from executions.signing import installation_keys
from tests.factories import (
    DOCUMENT,
    START,
    make_delivery,
    make_execution,
    make_file,
    make_task_run,
    make_worker,
    make_workflow,
)
from workflows.models import Workflow

pytestmark = pytest.mark.django_db


@pytest.fixture
def root():
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def rows():
    """One of everything."""
    execution = make_execution(status=ExecutionStatus.RUNNING)
    run = make_task_run(execution, "first")
    attempt = Attempt.objects.create(task_run=run, number=1, type="x", ended_at=START)
    event = Event.objects.create(execution=execution, sequence=1, type="execution.created", at=START)
    delivery = make_delivery(execution)
    sent = DeliveryAttempt.objects.create(delivery=delivery, number=1, at=START, duration_ms=1)
    key = IdempotencyKey.objects.create(key="k", request_hash="h", execution=execution)
    installation_keys()
    job = OrmQ.objects.create(key="dataflow", payload="never opened", lock=START)
    secret = SigningSecret.objects.get()
    file = make_file()
    use = FileUse.objects.create(file=file, execution=execution)
    return [
        execution, run, attempt, event, delivery, sent, key, job, secret, file, file.blob, use, make_worker(),
        execution.workflow, execution.version,
    ]  # fmt: skip


def test_every_model_of_ours_is_registered():
    for app in ("workflows", "executions"):
        for model in apps.get_app_config(app).get_models():
            assert admin.site.is_registered(model), model


def test_every_page_opens(root, rows):
    assert root.get("/admin/").status_code == 200
    for row in rows:
        base = f"/admin/{row._meta.app_label}/{row._meta.model_name}/"
        assert root.get(base).status_code == 200, base
        assert root.get(f"{base}?q=abc").status_code == 200, base
        assert root.get(f"{base}{row.pk}/change/").status_code == 200, base


def test_rows_of_the_engine_cannot_be_added_changed_or_deleted(root, rows):
    for row in rows:
        if isinstance(row, Workflow):
            continue
        base = f"/admin/{row._meta.app_label}/{row._meta.model_name}/"
        assert root.get(f"{base}add/").status_code == 403, base
        assert root.post(f"{base}{row.pk}/change/", {}).status_code == 403, base
        assert root.post(f"{base}{row.pk}/delete/", {"post": "yes"}).status_code == 403, base


def test_schedules_are_gone_and_results_are_read_only(root):
    assert not admin.site.is_registered(Schedule)
    assert root.get("/admin/django_q/schedule/").status_code == 404
    assert root.get("/admin/django_q/success/").status_code == 200
    assert root.get("/admin/django_q/failure/").status_code == 200
    assert root.get("/admin/django_q/success/add/").status_code == 403
    assert b"resubmit" not in root.get("/admin/django_q/failure/").content.lower()


def action(client, model, name, *rows):
    data = {"action": name, "_selected_action": [row.pk for row in rows]}
    return client.post(f"/admin/{model}/", data, follow=True)


def test_cancel(root):
    workflow = make_workflow()
    alive, ended = make_execution(workflow, ExecutionStatus.PENDING), make_execution(workflow)
    html = action(root, "executions/execution", "cancel", alive, ended).content.decode()
    assert Execution.objects.get(pk=alive.pk).status == "CANCELLED"
    assert Execution.objects.get(pk=ended.pk).status == "COMPLETED"
    assert "Cancelled: 1 of 2." in html
    assert "has ended" in html


def test_redeliver(root, rows):
    delivery = Delivery.objects.get()
    assert "Sent again: 1 of 1." in action(root, "executions/delivery", "redeliver", delivery).content.decode()
    delivery.refresh_from_db()
    assert delivery.status == "PENDING"


def test_rotate_the_signing_secret(root):
    (old,) = installation_keys()
    action(root, "executions/signingsecret", "rotate", SigningSecret.objects.get())
    new, still = installation_keys()
    assert still == old
    assert new != old
    newest = SigningSecret.objects.latest("pk")
    assert new in root.get(f"/admin/executions/signingsecret/{newest.pk}/change/").content.decode()


def test_who_may_only_look_can_neither_act_nor_see_the_secret(rows):
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    viewer = Client()
    viewer.force_login(user)
    execution, secret = Execution.objects.get(), SigningSecret.objects.get()
    action(viewer, "executions/execution", "cancel", execution)
    action(viewer, "executions/signingsecret", "rotate", secret)
    assert Execution.objects.get().status == "RUNNING"
    assert SigningSecret.objects.count() == 1
    page = viewer.get(f"/admin/executions/signingsecret/{secret.pk}/change/")
    assert page.status_code == 200
    assert installation_keys()[0] not in page.content.decode()


def test_archive(root):
    workflow = make_workflow()
    action(root, "workflows/workflow", "archive", workflow)
    workflow.refresh_from_db()
    assert workflow.archived_at is not None


def test_create_and_edit_a_workflow_through_the_same_validation(root):
    no_versions = {"versions-TOTAL_FORMS": 0, "versions-INITIAL_FORMS": 0}
    root.post("/admin/workflows/workflow/add/", {"document": json.dumps(DOCUMENT), **no_versions})
    workflow = Workflow.objects.get()
    assert workflow.current().definition == DOCUMENT
    change = f"/admin/workflows/workflow/{workflow.pk}/change/"
    wrong = root.post(change, {"document": json.dumps(DOCUMENT | {"tasks": []}), "expected_version": 1, **no_versions})
    assert wrong.status_code == 200
    assert "/tasks" in wrong.content.decode()
    edited = {"document": json.dumps(DOCUMENT | {"title": "Edited"}), "expected_version": 1, **no_versions}
    assert root.post(change, edited).status_code == 302
    workflow.refresh_from_db()
    assert (workflow.title, workflow.current_version) == ("Edited", 2)
    late = root.post(change, edited)
    assert "was saved in the meantime" in late.content.decode()
    assert root.post(f"/admin/workflows/workflow/{workflow.pk}/delete/", {"post": "yes"}).status_code == 403
