"""Whatever users, pages and models write is shown as text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from django.contrib.auth.models import User
from django.test import Client

from executions.engine.state import ExecutionStatus, TaskStatus
from executions.models import Attempt, DeliveryAttempt, DeliveryStatus
from tests.factories import DOCUMENT, START, make_delivery, make_execution, make_file, make_task_run, make_workflow

pytestmark = pytest.mark.django_db

PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "{{ settings.SECRET_KEY }}{% debug %}",
    "</textarea><script>alert(1)</script>",
    "</pre></code></title><iframe src=javascript:alert(1)>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\u202e<!--",
]


def poisoned(payload):
    """An execution with ``payload`` wherever text can be."""
    text = {"name": "text", "type": "text", "description": payload, "default": payload}
    outputs = [{"name": "text", "type": "text", "value": "{{tasks.third.outputs.text}}", "description": payload}]
    workflow = make_workflow(title=payload[:200], description=payload, inputs=[text], outputs=outputs)
    error = {"code": "runtime", "message": payload, "task": "second", "details": {payload: payload}}
    sound = make_file(payload, "audio/mpeg", metadata={"voice": payload}).as_value()
    odd = make_file(payload, f"image/{payload}").as_value()
    execution = make_execution(
        workflow, ExecutionStatus.FAILED, inputs={"text": payload}, error=error, labels={payload: payload},
        outputs={"text": payload, payload: {payload: [payload]}, "files": [sound, odd]}, trigger=payload[:20],
    )  # fmt: skip
    log = [{"at": "2026-11-23T08:00:00Z", "level": payload, "message": payload}]
    run = make_task_run(
        execution, "second", TaskStatus.FAILED, error=error, inputs={"text": payload}, log=log, reason=payload,
        usage={payload: payload}, worker=payload[:100], attempt=2,
    )  # fmt: skip
    Attempt.objects.create(
        task_run=run, number=1, type=payload, started_at=START, ended_at=START, inputs={payload: payload}, error=error,
        log=log, usage={payload: payload}, worker=payload[:100],
    )  # fmt: skip
    make_task_run(execution, "first", outputs={"text": payload, "audio": sound}, progress_message=payload)
    delivery = make_delivery(execution, type=payload[:40], url=payload, body=payload, status=DeliveryStatus.EXHAUSTED)
    DeliveryAttempt.objects.create(
        delivery=delivery, number=1, at=START, duration_ms=1, error=payload, response=payload, status_code=None
    )
    return execution


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_no_payload_becomes_markup(web, payload):
    execution = poisoned(payload)
    workflow = f"/workflows/{execution.workflow_id}"
    addresses = [
        "/", "/workflows", "/executions", workflow, f"{workflow}/edit", f"{workflow}/run?from={execution.pk}",
        f"{workflow}/versions", f"{workflow}/versions/1", f"{workflow}/executions",
        f"{workflow}/executions/{execution.pk}", f"/pages/executions/{execution.pk}",
    ]  # fmt: skip
    for address in addresses:
        assert_clean(web.get(address), address)
    assert_clean(web.get("/workflows", {"search": payload}), "search")
    assert_clean(web.get("/task-types", {"search": payload}), "search")


@pytest.mark.parametrize("payload", PAYLOADS[:4], ids=range(4))
def test_the_admin_escapes_too(payload):
    execution = poisoned(payload)
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    run = execution.task_runs.get(name="second")
    for model, key in (("execution", execution.pk), ("taskrun", run.pk), ("delivery", execution.deliveries.get().pk)):
        assert_clean(client.get(f"/admin/executions/{model}/{key}/change/"), model)
        assert_clean(client.get(f"/admin/executions/{model}/"), model)
    assert_clean(client.get(f"/admin/workflows/workflow/{execution.workflow_id}/change/"), "workflow")


def test_a_webhook_address_is_never_a_link(read):
    execution = poisoned("javascript:alert(1)")
    html = read(f"/workflows/{execution.workflow_id}/executions/{execution.pk}")
    assert "javascript:alert(1)" in html
    assert Markup(html).bad == []


def test_the_form_of_a_wrong_input_is_escaped(send):
    workflow = make_workflow(inputs=DOCUMENT["inputs"])
    page = f"/workflows/{workflow.pk}/run"
    payload = PAYLOADS[2]
    assert_clean(send(page, page, input_text="", webhook_url=payload), "form", status=400)


class Markup(HTMLParser):
    """Collects what would run: handlers, styles, scripts without an address, frames, odd links."""

    def __init__(self, html):
        super().__init__()
        self.bad = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag in {"iframe", "object", "embed", "base", "b"} or (tag == "script" and "src" not in given):
            self.bad.append(tag)
        for name, value in attrs:
            link = name in {"href", "src", "action", "formaction", "xlink:href"}
            if name.startswith("on") or name == "style" or (link and not re.match(r"[/?#]|https?:|$", value or "")):
                self.bad.append((tag, name, value))


def assert_clean(answer, what, status=200):
    assert answer.status_code == status, what
    assert Markup(answer.content.decode()).bad == [], what
    policy = answer["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
