"""``slack.post`` against a server on loopback that answers as Slack does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dataflow.lib.errors import TaskError
from tasks_lib import registry
from tests.stubs.context import StubContext, run
from tests.stubs.web_stub import WebStub

POST = registry.load().types["slack.post"]
TOKEN = "xoxb-canary-t0ken"
HOOK = "/services/T0/B0/canary-h00k"
API = "/api/chat.postMessage"


@pytest.fixture
def slack() -> Iterator[WebStub]:
    with WebStub() as stub:
        stub.page(HOOK, "ok", content_type="text/html")
        stub.page(API, json.dumps({"ok": True, "ts": "17.42", "channel": "C1"}), content_type="application/json")
        yield stub


def hook(slack: WebStub) -> dict[str, Any]:
    return {"webhook_url": slack.url(HOOK)}


def bot(slack: WebStub, **more: Any) -> dict[str, Any]:
    return {"token": TOKEN, "api_url": slack.url("/api"), "channel": "#reports"} | more


def post(tmp_path: Path, settings: dict[str, Any], **inputs: Any) -> Mapping[str, Any]:
    return run(POST, StubContext(tmp_path, connections={"main": ("slack", settings)}), connection="main", **inputs)


def failure(tmp_path: Path, settings: dict[str, Any], **inputs: Any) -> TaskError:
    with pytest.raises(TaskError) as raised:
        post(tmp_path, settings, **inputs)
    error = raised.value
    assert "canary" not in f"{error} {error.details} {error.__cause__}"
    return error


def test_it_works_with_a_webhook(slack: WebStub, tmp_path: Path) -> None:
    blocks = [{"type": "divider"}]
    outputs = post(tmp_path, hook(slack), text="Hi", blocks=blocks, thread_ts="1.2")
    assert outputs == {"posted": True, "ts": None, "channel": None}
    request = slack.requests[0]
    assert (request.method, request.headers["content-type"]) == ("POST", "application/json")
    assert json.loads(request.body) == {"text": "Hi", "blocks": blocks, "thread_ts": "1.2"}
    assert "authorization" not in request.headers


def test_it_works_with_a_token(slack: WebStub, tmp_path: Path) -> None:
    assert post(tmp_path, bot(slack), text="Hi") == {"posted": True, "ts": "17.42", "channel": "C1"}
    post(tmp_path, bot(slack), text="Hi", channel="C2")
    first, second = slack.requests
    assert first.headers["authorization"] == f"Bearer {TOKEN}"
    assert [json.loads(request.body)["channel"] for request in (first, second)] == ["#reports", "C2"]


def test_the_example_runs(slack: WebStub, tmp_path: Path) -> None:
    context = StubContext(tmp_path, connections={"main": ("slack", hook(slack))})
    assert run(POST, context, **POST.example)["posted"] is True


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ({}, "validation"),
        ({"text": "  "}, "validation"),
        ({"text": "x" * 40_001}, "too_large"),
        ({"blocks": [{}] * 51}, "too_large"),
        ({"blocks": ["x"]}, "validation"),
        ({"blocks": [{"type": "section", "text": "x" * 600_000}]}, "too_large"),
    ],
)
def test_what_is_no_message(inputs: dict[str, Any], code: str, slack: WebStub, tmp_path: Path) -> None:
    assert failure(tmp_path, hook(slack), **inputs).code == code
    assert slack.requests == []


def test_what_does_not_fit_the_connection(slack: WebStub, tmp_path: Path) -> None:
    assert "own channel" in failure(tmp_path, hook(slack), text="x", channel="#other").message
    assert "channel" in failure(tmp_path, bot(slack, channel=None), text="x").message
    assert failure(tmp_path, {}, text="x").code == "validation"


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        ("invalid_auth", "authentication", False),
        ("token_revoked", "authentication", False),
        ("missing_scope", "authorization", False),
        ("not_in_channel", "authorization", False),
        ("channel_not_found", "validation", False),
        ("is_archived", "validation", False),
        ("invalid_blocks", "validation", False),
        ("msg_too_long", "too_large", False),
        ("ratelimited", "rate_limited", True),
        ("service_unavailable", "provider_error", True),
        ("internal_error", "provider_error", False),
    ],
)
def test_what_slack_refuses(error: str, code: str, retryable: bool, slack: WebStub, tmp_path: Path) -> None:
    slack.page(API, json.dumps({"ok": False, "error": error}), content_type="application/json")
    raised = failure(tmp_path, bot(slack), text="x")
    assert (raised.code, raised.retryable) == (code, retryable)
    assert error in raised.message
    assert raised.details["slack_error"] == error


@pytest.mark.parametrize(
    ("status", "body", "code", "retryable"),
    [
        (404, "no_service", "authentication", False),
        (403, "action_prohibited", "authorization", False),
        (400, "invalid_payload", "validation", False),
        (404, "channel_not_found", "validation", False),
        (410, "channel_is_archived", "validation", False),
        (503, "<html>busy</html>", "provider_error", True),
        (302, "elsewhere", "output_invalid", False),
        (200, "<html>a portal</html>", "output_invalid", False),
        (403, HOOK, "authorization", False),
    ],
)
def test_what_a_webhook_refuses(
    status: int, body: str, code: str, retryable: bool, slack: WebStub, tmp_path: Path
) -> None:
    slack.page(HOOK, body, status=status, location=slack.url("/elsewhere"))
    error = failure(tmp_path, hook(slack), text="x")
    assert (error.code, error.retryable) == (code, retryable)
    assert len(slack.requests) == 1


@pytest.mark.parametrize("by", [hook, bot])
def test_too_many_messages(by: Any, slack: WebStub, tmp_path: Path) -> None:
    for path in (HOOK, API):
        slack.page(path, json.dumps({"ok": False, "error": "ratelimited"}), status=429, retry_after="30")
    error = failure(tmp_path, by(slack), text="x")
    assert (error.code, error.retryable, error.retry_after) == ("rate_limited", True, 30)


@pytest.mark.parametrize("body", ["", "{", "[]", '"ok"', '{"ok": "true"}', '{"ok": true', "[" * 100_000])
def test_an_answer_that_is_none_of_slacks(body: str, slack: WebStub, tmp_path: Path) -> None:
    slack.page(API, body)
    assert failure(tmp_path, bot(slack), text="x").code == "output_invalid"


def test_no_server(slack: WebStub, tmp_path: Path) -> None:
    with WebStub() as gone:
        url = gone.url(HOOK)
    error = failure(tmp_path, {"webhook_url": url}, text="x")
    assert (error.code, error.retryable) == ("communication", True)
    assert failure(tmp_path, {"webhook_url": f"ftp://host{HOOK}"}, text="x").code == "validation"
