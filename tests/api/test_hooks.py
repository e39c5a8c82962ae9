"""``/workflows/{id}/hooks``, ``…/{hk}`` and what they are for: ``POST /hooks/{token}``."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth import get_user_model
from django.test import RequestFactory

from dataflow.logs import LineFormatter
from executions import signing
from executions.database import database_now
from executions.models import Execution
from executions.trigger_models import Hook
from executions.triggers import hooks
from tests.api_client import Api, assert_nothing_queued, assert_problem, rows
from tests.executions_driver import at_once
from tests.factories import DOCUMENT, make_workflow
from workflows.models import Workflow
from workflows.services import archive_workflow, update_workflow

pytestmark = pytest.mark.django_db

FORM = "application/x-www-form-urlencoded"
FIELDS = {
    "hook_id", "workflow_id", "name", "inputs", "signature", "enabled", "last_used_at", "count", "created_by",
    "created_at",
}  # fmt: skip
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def path(workflow: Workflow) -> str:
    return f"/workflows/{workflow.pk}/hooks"


@pytest.fixture
def outside(settings: Any) -> Api:
    """Whoever sends webhooks: from elsewhere, without account or session, to an installation in production."""
    settings.DEBUG = False
    settings.SECURE_SSL_REDIRECT = False
    return Api(enforce_csrf_checks=True, REMOTE_ADDR="203.0.113.9")


def made(workflow: Workflow, **fields: Any) -> tuple[str, Hook]:
    """The address of a new hook, and the hook."""
    created = hooks.create_hook(workflow=workflow, document={"name": "Partner"} | fields)
    return f"/hooks/{created.token}", created.hook


# --- making them ---
def test_it_works(api: Api, path: str, outside: Api, settings: Any, workflow: Workflow) -> None:
    settings.DEBUG = True
    answer = api.send("POST", path, {"name": "Partner"}, status=201)
    hook = answer.json()
    assert set(hook) == FIELDS | {"token", "url"}
    assert answer.headers["Location"] == f"{path}/{hook['hook_id']}"
    assert answer.headers["Cache-Control"] == "no-store"
    assert len(hook["token"]) >= 43
    assert urlsplit(hook["url"]).path == f"/hooks/{hook['token']}"
    assert hook["token"] not in json.dumps(list(Hook.objects.values()), default=str)
    shown = api.call("GET", f"{path}/{hook['hook_id']}", status=200)
    assert set(shown) == FIELDS
    settings.DEBUG = False
    started = outside.send("POST", urlsplit(hook["url"]).path, {"text": "x"}, status=201)
    execution = Execution.objects.get()
    assert started.json() == {
        "workflow_execution_id": execution.pk, "workflow_id": workflow.pk, "workflow_version": 1, "status": "PENDING",
        "url": f"/workflows/{workflow.pk}/executions/{execution.pk}",
    }  # fmt: skip
    assert (execution.trigger, execution.trigger_ref) == ("hook", hook["hook_id"])
    assert execution.inputs == {"text": "x"}
    row = Hook.objects.get()
    assert row.count == 1
    assert row.last_used_at is not None


@pytest.mark.parametrize(
    ("document", "pointers"),
    [
        ([], [""]),
        ({"name": ""}, ["/name"]),
        ({"name": "a\nb"}, ["/name"]),
        ({"name": "x" * 101}, ["/name"]),
        ({"name": 5, "enabled": "yes", "token": "mine"}, ["/name", "/enabled", "/token"]),
        ({"signature": "none"}, ["/signature"]),
        ({"signature": {}}, ["/signature"]),
        ({"secret": "long enough"}, ["/secret"]),
        ({"signature": "github", "secret": "short"}, ["/secret"]),
        ({"signature": "github", "secret": "x" * 513}, ["/secret"]),
        ({"signature": "github", "secret": ["x"]}, ["/secret"]),
        ({"inputs": []}, ["/inputs"]),
        ({"inputs": "{{body}}"}, ["/inputs"]),
        ({"inputs": {}}, ["/inputs/text"]),
        ({"inputs": {"txt": "{{body.a}}"}}, ["/inputs/txt", "/inputs/text"]),
        ({"inputs": {"text": "{{inputs.text}}"}}, ["/inputs/text"]),
        ({"inputs": {"text": "{{secrets.KEY}}"}}, ["/inputs/text"]),
        ({"inputs": {"text": "{{size(bdy.text) > 1 ? 'a' : 'b'}}"}}, ["/inputs/text"]),
        ({"inputs": {"text": ["{{body.a}}", "{{tasks.x.outputs.y}}"]}}, ["/inputs/text"]),
        ({"inputs": {"text": "{{body."}}, ["/inputs/text"]),
        ({"inputs": {"text": "{{[1].map(x, x)}}"}}, ["/inputs/text"]),
        ({"inputs": {"text": "x" * 70_000}}, ["/inputs"]),
    ],
)
def test_bad_settings(api: Api, path: str, document: Any, pointers: list[str]) -> None:
    before = rows()
    assert_problem(api.send("POST", path, document, status=400), 400, "validation", at=pointers)
    assert rows() == before


def test_a_secret_is_made_and_shown_once(api: Api, path: str) -> None:
    hook = api.call("POST", path, {"signature": "standard"}, status=201)
    assert hook["secret"].startswith("whsec_")
    assert hook["secret"] not in Hook.objects.get().secret
    one = f"{path}/{hook['hook_id']}"
    assert "secret" not in api.call("GET", one, status=200)
    assert "secret" not in api.call("PATCH", one, {"signature": "github"}, status=200)
    own = api.call("PATCH", one, {"secret": "my own secret"}, status=200)
    assert "secret" not in own
    assert "my own secret" not in json.dumps(api.call("GET", path, status=200))
    none = api.call("PATCH", one, {"signature": None}, status=200)
    assert none["signature"] is None
    assert Hook.objects.get().secret == ""
    assert "secret" in api.call("PATCH", one, {"signature": "github"}, status=200)


def test_rotate_delete_and_switch_off(api: Api, path: str, workflow: Workflow) -> None:
    address, hook = made(workflow)
    one = f"{path}/{hook.pk}"
    for _ in range(2):
        assert api.call("PATCH", one, {"enabled": False}, status=200)["enabled"] is False
    off = assert_problem(api.send("POST", address, {"text": "x"}, status=404), 404, "not_found")
    api.call("PATCH", one, {"enabled": True}, status=200)
    api.call("POST", address, {"text": "x"}, status=201)
    rotated = api.call("POST", f"{one}/rotate", status=200)
    assert set(rotated) == FIELDS | {"token", "url"}
    gone = assert_problem(api.send("POST", address, {"text": "x"}, status=404), 404, "not_found")
    # What is off is not told from what is not there, and neither answer says the token back.
    assert gone["detail"] == off["detail"]
    assert address not in json.dumps(gone)
    api.call("POST", f"/hooks/{rotated['token']}", {"text": "x"}, status=201)
    api.call("DELETE", one, status=204)
    assert_problem(api.send("POST", f"/hooks/{rotated['token']}", {"text": "x"}, status=404), 404)
    for method, place in (("DELETE", one), ("GET", one), ("PATCH", one), ("POST", f"{one}/rotate")):
        assert_problem(api.send(method, place, {}, status=404), 404, "not_found")


def test_limits(api: Api, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "MAX_HOOKS", 1)
    api.call("POST", path, {}, status=201)
    assert_problem(api.send("POST", path, {}, status=409), 409, "too_many")


def test_permission(api: Api, path: str, settings: Any, workflow: Workflow) -> None:
    _, hook = made(workflow)
    one = f"{path}/{hook.pk}"
    changes = [("POST", path), ("PATCH", one), ("POST", f"{one}/rotate"), ("DELETE", one)]
    settings.DEBUG = False
    for method, address in [*changes, ("GET", one), ("GET", path)]:
        assert_problem(api.send(method, address, {}, status=401), 401)
    api.force_login(get_user_model().objects.create_user("reader"))
    assert "token" not in api.call("GET", one, status=200)
    for method, address in changes:
        assert_problem(api.send(method, address, {}, status=403), 403)
    assert Hook.objects.get().token_hash == hook.token_hash


# --- calling them ---
def test_inputs_are_mapped(outside: Api, workflow: Workflow) -> None:
    template = '{{body.items[0].name}} from {{headers["x-sender"]}} {{query.page == "2" ? "two" : "?"}}'
    address, _ = made(workflow, inputs={"text": template})
    outside.call("POST", f"{address}?page=2", {"items": [{"name": "Ada"}]}, status=201, X_Sender="me")
    assert Execution.objects.get().inputs == {"text": "Ada from me two"}


def test_a_form_and_nothing_at_all(outside: Api, workflow: Workflow) -> None:
    address, _ = made(workflow, inputs={"text": "{{has(body.a) ? body.a : 'nothing'}}"})
    assert outside.raw("POST", address, b"a=%C3%BC+%00", FORM).status_code == 201
    assert outside.raw("POST", address, b"", "").status_code == 201
    assert {row.inputs["text"] for row in Execution.objects.all()} == {"ü \ufffd", "nothing"}
    lists, second = made(workflow, inputs={"text": "{{body.a[1]}}"})
    assert outside.raw("POST", lists, b"a=1&a=2", FORM).status_code == 201
    assert Execution.objects.filter(trigger_ref=second.pk).get().inputs == {"text": "2"}


def test_credentials_for_others_are_not_given_away(outside: Api, workflow: Workflow) -> None:
    address, _ = made(workflow, inputs={"text": "{{headers.authorization}}"})
    problem = outside.call("POST", address, {}, status=400, Authorization="Bearer x")
    assert problem["errors"][0]["pointer"] == "/inputs/text"
    assert_nothing_queued()


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/text"]),
        ({"text": 1, "more": 2}, ["/text", "/more"]),
        ([], [""]),
        ("text", [""]),
        (5, [""]),
        ({"text": None}, ["/text"]),
    ],
)
def test_wrong_inputs_without_mapping(outside: Api, workflow: Workflow, body: Any, pointers: list[str]) -> None:
    address, hook = made(workflow)
    assert_problem(outside.send("POST", address, body, status=400), 400, "validation", at=pointers)
    assert_nothing_queued()
    hook.refresh_from_db()
    assert hook.count == 0


@pytest.mark.parametrize("body", [{}, {"a": None}, {"a": {"b": 1}}, {"a": {"b": {}}}, [], None, {"a": {"b": "x" * 1_100_000 + "y"}}])  # fmt: skip
def test_what_a_mapping_cannot_take(outside: Api, workflow: Workflow, body: Any) -> None:
    address, _ = made(workflow, inputs={"text": "{{body.a.b + 'c'}}"})
    assert_problem(outside.send("POST", address, body, status=400), 400, "validation", at=["/inputs/text"])
    assert_nothing_queued()


@pytest.mark.parametrize(
    ("raw", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[" * 200_000, "application/json", 400),
        (b'{"text": "\\ud800"}', "application/json", 400),
        (b'{"text": "\\u0000"}', "application/json", 400),
        (b'{"text": NaN}', "application/json", 400),
        (b'{"text": 1, "text": 2}', "application/json", 400),
        (b"\xff\xfe{}", "application/json", 400),
        (b'{"text": 1' + b"0" * 5000 + b"}", "application/json", 400),
        (b"{}", "application/json; charset=utf-16", 415),
        (b"x", "text/plain", 415),
        (b"<a/>", "application/xml", 415),
        (b"x", "", 415),
        (b"--b\r\n\r\n--b--", "multipart/form-data; boundary=b", 415),
        (b"a=1&" * 5000, FORM, 400),
        (b"\xff\xff=%ff", FORM, 400),
        (b'"' + b"x" * (10 * 1024 * 1024) + b'"', "application/json", 413),
        (b"a=" + b"x" * (10 * 1024 * 1024), FORM, 413),
    ],
)
def test_hostile_bodies(outside: Api, workflow: Workflow, raw: bytes, content_type: str, status: int) -> None:
    for fields in ({}, {"signature": "github"}):
        address, _ = made(workflow, **fields)
        answer = outside.raw("POST", address, raw, content_type)
        assert_problem(answer, status if status == 413 or not fields else 401)
    assert_nothing_queued()


@pytest.mark.parametrize("token", ["x", "a" * 43, "A" * 200, "hk-unknown", "-_-"])
def test_unknown_tokens(outside: Api, workflow: Workflow, token: str) -> None:
    made(workflow)
    assert_problem(outside.send("POST", f"/hooks/{token}", {"text": "x"}, status=404), 404, "not_found")
    assert_problem(outside.send("GET", f"/hooks/{token}", status=405), 405)
    assert_nothing_queued()


def test_the_stored_hash_is_no_token(outside: Api, workflow: Workflow) -> None:
    _, hook = made(workflow)
    assert_problem(outside.send("POST", f"/hooks/{hook.token_hash}", {"text": "x"}, status=404), 404)


def test_an_archived_workflow(outside: Api, workflow: Workflow) -> None:
    address, _ = made(workflow)
    archive_workflow(workflow=workflow)
    assert_problem(outside.send("POST", address, {"text": "x"}, status=409), 409, "archived")


def test_a_workflow_that_changed_since(outside: Api, workflow: Workflow) -> None:
    address, _ = made(workflow, inputs={"text": "{{body.text}}"})
    update_workflow(
        workflow=workflow, document=DOCUMENT | {"inputs": [*DOCUMENT["inputs"], {"name": "n", "type": "number"}]}
    )
    assert_problem(outside.send("POST", address, {"text": "x"}, status=400), 400, at=["/inputs/n"])


# --- signatures ---
def standard(body: bytes, *, secret: str = SECRET, at: datetime | None = None, name: str = "msg_1") -> dict[str, str]:
    signed = signing.headers_for(message_id=name, body=body.decode(), keys=[secret], at=at or database_now())
    return {name.replace("-", "_"): value for name, value in signed.items()}


def github(body: bytes, secret: str = SECRET) -> dict[str, str]:
    return {"X_Hub_Signature_256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


BODY = '{"text": "ü"}'.encode()


@pytest.mark.parametrize(
    ("kind", "headers", "status"),
    [
        ("standard", lambda: standard(BODY), 201),
        ("standard", lambda: standard(BODY, at=database_now() - timedelta(minutes=4)), 201),
        ("standard", lambda: standard(BODY, at=database_now() - timedelta(minutes=6)), 401),
        ("standard", lambda: standard(BODY, at=database_now() + timedelta(minutes=6)), 401),
        ("standard", lambda: standard(BODY, secret="whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), 401),
        ("standard", lambda: standard(b"{}"), 401),
        ("standard", lambda: standard(BODY) | {"webhook_id": "msg_2"}, 401),
        ("standard", lambda: standard(BODY) | {"webhook_timestamp": "9" * 30}, 401),
        ("standard", lambda: standard(BODY) | {"webhook_timestamp": "-1"}, 401),
        ("standard", lambda: standard(BODY) | {"webhook_signature": "é v1, v1,x " * 50}, 401),
        (
            "standard",
            lambda: standard(BODY) | {"webhook_signature": "v1,AAAA " + standard(BODY)["webhook_signature"]},
            201,
        ),
        ("standard", dict, 401),
        ("standard", lambda: github(BODY), 401),
        ("github", lambda: github(BODY), 201),
        ("github", lambda: github(BODY, "other secret"), 401),
        ("github", lambda: github(BODY + b" "), 401),
        ("github", lambda: {"X_Hub_Signature_256": "é"}, 401),
        ("github", dict, 401),
        ("github", lambda: standard(BODY), 401),
    ],
)
def test_signatures(outside: Api, workflow: Workflow, kind: str, headers: Any, status: int) -> None:
    address, _ = made(workflow, signature=kind, secret=SECRET)
    answer = outside.raw("POST", address, BODY, **headers())
    if status == 401:
        assert_problem(answer, 401, "authentication")
        assert answer.headers["WWW-Authenticate"]
        assert_nothing_queued()
    else:
        assert answer.status_code == 201, answer.content
        assert Execution.objects.get().inputs == {"text": "ü"}


def test_a_signed_body_that_is_no_text(outside: Api, workflow: Workflow) -> None:
    address, _ = made(workflow, signature="standard", secret=SECRET)
    assert_problem(outside.raw("POST", address, b"\xff", **standard(b"")), 401)


def test_a_secret_whose_key_is_gone(outside: Api, workflow: Workflow, settings: Any) -> None:
    address, _ = made(workflow, signature="github", secret=SECRET)
    settings.DATAFLOW_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    assert_problem(outside.raw("POST", address, BODY, **github(BODY)), 409, "cannot_run_here")
    assert_nothing_queued()


# --- twice ---
@pytest.mark.parametrize("header", ["webhook_id", "X_GitHub_Delivery"])
@pytest.mark.parametrize("name", ["one", "é" * 10, "x" * 2000])
def test_the_same_delivery_starts_once(outside: Api, workflow: Workflow, header: str, name: str) -> None:
    address, _ = made(workflow)
    first = outside.call("POST", address, {"text": "x"}, status=201, **{header: name})
    assert outside.call("POST", address, {"text": "x"}, status=201, **{header: name}) == first
    answer = outside.send("POST", address, {"text": "y"}, status=422, **{header: name})
    assert_problem(answer, 422, "idempotency_key_reused")
    other, _ = made(workflow)
    assert outside.call("POST", other, {"text": "x"}, status=201, **{header: name}) != first
    assert Execution.objects.count() == 2


def test_without_an_id_each_request_is_one(outside: Api, workflow: Workflow) -> None:
    address, hook = made(workflow)
    for _ in range(2):
        outside.call("POST", address, {"text": "x"}, status=201, Idempotency_Key="a client's word, not a sender's")
    assert Execution.objects.count() == 2
    hook.refresh_from_db()
    assert hook.count == 2


@pytest.mark.django_db(transaction=True)
def test_the_same_delivery_at_the_same_time() -> None:
    address, hook = made(make_workflow())

    def send() -> str:
        return str(Api().call("POST", address, {"text": "x"}, status=201, webhook_id="one")["workflow_execution_id"])

    assert len(set(at_once(*[send] * 4))) == 1
    assert Execution.objects.count() == 1
    hook.refresh_from_db()
    assert hook.count == 4


# --- what the log says ---
@pytest.mark.any_database
def test_the_log_has_no_token() -> None:
    path = RequestFactory().post("/hooks/SeCrEt-token_1?a=b").get_full_path()
    line = logging.makeLogRecord({"msg": "Internal Server Error: %s", "args": (path,), "request_id": "-"})
    shown = LineFormatter().format(line)
    assert "SeCrEt" not in shown
    assert "/hooks/…?a=b" in shown
    kept = logging.makeLogRecord({"msg": "GET /workflows/wf-1/hooks/hk-1", "request_id": "-"})
    assert LineFormatter().format(kept).endswith("/workflows/wf-1/hooks/hk-1")
