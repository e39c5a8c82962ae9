"""What a webhook says, how small it stays, and how it is signed."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from dataflow.lib.errors import TaskError
from executions import database, deliveries, files, jobs, signing, store, vault, webhooks
from executions.engine.outcomes import Completed, Failed
from executions.models import Delivery, Execution, SigningSecret, StoredFile
from tests.engine_driver import after
from tests.executions_driver import carry, claim, echo, failed, settle, started
from tests.stubs.web_stub import WebStub
from workflows.definition.monitoring import EVENTS

pytestmark = pytest.mark.django_db
URL = "http://example.com/hook"
ALL = {"webhook": {"url": URL, "events": list(EVENTS)}}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def bodies(execution: Execution) -> list[dict[str, Any]]:
    found = []
    for delivery in Delivery.objects.filter(execution=execution):
        assert len(delivery.body.encode()) < 20_000
        found.append(json.loads(delivery.body))
    return found


# --- what they say ---
def test_the_documented_fields() -> None:
    execution = started(monitoring={"webhook_url": URL})
    carry(execution)
    first, last = bodies(execution)
    assert [body["type"] for body in (first, last)] == ["execution.started", "execution.completed"]
    assert set(last) == {"type", "timestamp", "sequence", "data"}
    data = last["data"]
    assert {key: data[key] for key in ("workflow_execution_id", "workflow_id", "workflow_version", "status")} == {
        "workflow_execution_id": execution.pk,
        "workflow_id": execution.workflow_id,
        "workflow_version": 1,
        "status": "COMPLETED",
    }
    assert data["tasks"] == [{"name": name, "status": "COMPLETED"} for name in ("first", "second", "third")]
    assert (data["outputs"], data["error"]) == ({"text": "cba"}, None)
    for moment in (last["timestamp"], data["created_at"], data["started_at"], data["completed_at"]):
        assert moment.endswith("Z")
        assert abs(datetime.fromisoformat(moment) - datetime.now(UTC)) < timedelta(minutes=1)
    assert (first["data"]["status"], first["data"]["completed_at"]) == ("RUNNING", None)
    assert first["sequence"] < last["sequence"]


def test_no_event_tells_of_an_end_that_comes_after_it() -> None:
    """Quick tasks begin and end in the step that ends the execution."""
    execution = started(echo("a"), monitoring=ALL, outputs=[{"name": "text", "type": "text", "value": after("a")}])
    carry(execution)
    *before, last = bodies(execution)
    assert [body["type"] for body in before] == ["execution.started", "task.started", "task.completed"]
    for body in before:
        data = body["data"]
        assert (data["status"], data["completed_at"], data["outputs"]) == ("RUNNING", None, {})
    assert (last["type"], last["data"]["status"]) == ("execution.completed", "COMPLETED")
    assert last["data"]["outputs"] != {}


def test_tasks_that_are_cancelled_before_anything_began() -> None:
    execution = started(echo("a"), monitoring=ALL)
    store.cancel(execution.pk, reason="enough", by="ann")
    said = [(body["type"], body["data"]["status"], body["data"]["error"] is None) for body in bodies(execution)]
    assert said == [("task.cancelled", "PENDING", True), ("execution.cancelled", "CANCELLED", False)]


def test_a_failure_and_its_task() -> None:
    execution = started(echo("a"), monitoring=ALL)
    settle(claim(execution), failed("authorization", retryable=False))
    by_type = {body["type"]: body["data"] for body in bodies(execution)}
    assert list(by_type) == ["execution.started", "task.started", "task.failed", "execution.failed"]
    assert by_type["execution.failed"]["error"]["code"] == "authorization"
    assert by_type["task.failed"]["task"]["name"] == "a"
    assert by_type["task.failed"]["task"]["error"]["code"] == "authorization"


def test_a_cancel_says_so() -> None:
    execution = started(monitoring={"webhook_url": URL})
    store.cancel(execution.pk, reason="enough", by="ann")
    (body,) = bodies(execution)
    assert (body["type"], body["data"]["status"]) == ("execution.cancelled", "CANCELLED")
    assert body["data"]["error"]["message"] == "enough"


# --- how small they stay ---
@pytest.mark.parametrize("size", [15_000, 100_000, 400_000])
def test_large_outputs_go_by_reference(size: int) -> None:
    output = {"name": "text", "type": "text", "value": "{{tasks.a.outputs.text}}"}
    execution = started(echo("a"), echo("b"), monitoring=ALL, outputs=[output])
    first = claim(execution)
    outputs = {"text": "ä" * size}
    kept = files.keep_large(outputs, execution_id=execution.pk, task="a")
    second = settle(first, Completed(outputs=kept[0], stored=kept[1]))
    assert second is not None
    settle(second)
    shown = bodies(execution)[-1]["data"]["outputs"]["text"]
    assert shown["size"] == 2 * size + 2
    own = f"/workflows/{execution.workflow_id}/executions/{execution.pk}"
    stored = [f"/files/{one.pk}/content" for one in StoredFile.objects.all()]
    assert shown["url"] in [own, *stored]


def test_500_tasks_and_all_that_is_long_at_once() -> None:
    tasks = [echo(f"{number:064d}".replace("0", "t", 1), depends_on=[]) for number in range(500)]
    outputs = [
        {"name": f"output_{number}", "type": "text", "value": after(tasks[number]["name"])} for number in range(60)
    ]
    execution = started(*tasks, monitoring=ALL, outputs=outputs)
    for _ in range(3):
        first = claim(execution)
    settle(first, Failed(error=TaskError("runtime", "💥" * 8000, details={"said": "💥" * 5000})))
    said = bodies(execution)
    assert {body["type"] for body in said} >= {"execution.started", "task.started", "task.failed", "execution.failed"}
    last = said[-1]["data"]
    assert last["tasks_url"] == f"/workflows/{execution.workflow_id}/executions/{execution.pk}"
    assert [task["status"] for task in last["tasks"]] == ["FAILED"]
    assert last["error"]["code"] == "runtime"


def test_everything_long_still_fits() -> None:
    """The worst of each part together, which no single run has."""
    message = {
        "data": {
            "tasks": [{"name": "t" * 64, "status": "RUNNING"}] * 500,
            "outputs": {f"o{number:063d}": "💥" * 120 for number in range(100)},
            "error": {"code": "runtime", "message": "💥" * 8000, "details": {"said": "💥" * 8000}},
            "task": {"name": "t" * 64, "error": {"code": "runtime", "message": "💥" * 8000}},
        }
    }
    assert len(webhooks._bounded(message, "/workflows/wf-1/executions/we-1").encode()) < webhooks.MAX_BODY_BYTES


# --- signatures ---
def test_the_vector_of_the_specification() -> None:
    headers = signing.headers_for(
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        body='{"test": 2432232314}',
        keys=[SECRET],
        at=datetime.fromtimestamp(1_614_265_330, tz=UTC),
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def sent(monitoring: dict[str, Any] | None = None) -> list[tuple[str, dict[str, str]]]:
    """Body and headers of what a receiver gets of one short execution."""
    with WebStub() as stub:
        stub.page("/hook", "thanks")
        webhook = {"url": stub.url("/hook")} | (monitoring or {})
        execution = started(echo("a", "ünïcode 💥"), monitoring={"webhook": webhook})
        carry(execution)
        jobs.deliver(execution.pk)
        assert len(stub.requests) == 2
        return [(request.body.decode(), request.headers) for request in stub.requests]


@pytest.mark.parametrize("secret", [SECRET, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "c2VjcmV0"])
def test_a_receiver_verifies_the_secret_of_the_request(secret: str) -> None:
    for body, headers in sent({"secret": secret}):
        assert Webhook(secret).verify(body, headers)["data"]["workflow_version"] == 1
        assert headers["content-type"] == "application/json"
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body + " ", headers)
        with pytest.raises(WebhookVerificationError):
            Webhook(signing.new_secret()).verify(body, headers)


def test_a_secret_that_is_no_base64_is_the_key_itself() -> None:
    secret = "pass word!"
    for body, headers in sent({"secret": secret}):
        assert Webhook(secret.encode()).verify(body, headers)


def test_the_secret_of_a_request_is_kept_encrypted() -> None:
    execution = started(monitoring={"webhook": {"url": URL, "secret": SECRET}})
    row = Execution.objects.values().get(pk=execution.pk)
    assert SECRET not in str(row)
    assert SECRET[6:] not in str(row)
    assert vault.decrypt(row["webhook_secret"]) == SECRET


def test_without_one_the_installations_own_secret_signs() -> None:
    ((body, headers), _) = sent()
    (secret,) = signing.installation_keys()
    assert Webhook(secret).verify(body, headers)
    assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"))) <= 64
    assert secret not in SigningSecret.objects.get().secret


def test_while_it_is_rotated_both_sign() -> None:
    old = signing.rotate()
    new = signing.rotate()
    assert signing.installation_keys() == [new, old]
    ((body, headers), _) = sent()
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (old, new):
        assert Webhook(secret).verify(body, headers)
    SigningSecret.objects.exclude(retired_at=None).update(
        retired_at=datetime.now(UTC) - signing.ROTATION - timedelta(seconds=1)
    )
    assert signing.installation_keys() == [new]


def test_each_try_has_a_timestamp_and_a_signature_of_its_own() -> None:
    execution = started(echo("a"), monitoring={"webhook": {"url": URL, "events": ["completed"], "secret": SECRET}})
    carry(execution)
    seen: list[tuple[bytes, dict[str, str]]] = []

    def refuse(url: str, body: bytes, headers: Any) -> deliveries.Answer:
        seen.append((body, dict(headers)))
        return deliveries.Answer(status=500)

    for _ in range(2):
        deliveries.deliver(execution.pk, refuse)
        past = database.database_now() - timedelta(seconds=1)
        Delivery.objects.update(next_attempt_at=past)
    assert len(seen) == 2
    assert len({body for body, _ in seen}) == len({headers["webhook-id"] for _, headers in seen}) == 1
    for body, headers in seen:
        assert Webhook(SECRET).verify(body, headers)
