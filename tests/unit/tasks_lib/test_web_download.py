"""``web.download`` against a real server on loopback."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from dataflow.lib.errors import TaskError
from tasks_lib import registry
from tests.stubs.context import StubContext, run
from tests.stubs.web_stub import WebStub

DOWNLOAD = registry.load().types["web.download"]


@pytest.fixture
def web() -> Iterator[WebStub]:
    with WebStub() as stub:
        yield stub


def download(tmp_path: Path, url: str, **inputs: Any) -> Mapping[str, Any]:
    return run(DOWNLOAD, StubContext(tmp_path), url=url, **inputs)


def failure(tmp_path: Path, url: str, **inputs: Any) -> TaskError:
    with pytest.raises(TaskError) as raised:
        download(tmp_path, url, **inputs)
    return raised.value


def test_it_works(web: WebStub, tmp_path: Path) -> None:
    url = web.page("/page", "<p>Hällo</p>", x_one="1")
    outputs = download(tmp_path, web.url("/redirect?to=/page"))
    assert outputs["html"] == "<p>Hällo</p>"
    assert (outputs["status_code"], outputs["final_url"]) == (200, url)
    assert outputs["content_type"] == "text/html; charset=utf-8"
    assert outputs["headers"]["x-one"] == "1"


def test_what_is_sent(web: WebStub, tmp_path: Path) -> None:
    download(tmp_path, web.url("/echo"), method="PUT", headers={"X-N": 1, "X-Not": None}, body="grüße")
    request = web.requests[0]
    assert (request.method, request.headers["x-n"], request.body.decode()) == ("PUT", "1", "grüße")
    assert "x-not" not in request.headers


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        ("é".encode(), "text/html", "é"),
        ("é".encode("latin-1"), "text/html; charset=iso-8859-1", "é"),
        ("€".encode("cp1252"), "text/html; charset=latin1", "€"),
        ("é".encode("latin-1"), "text/html", "é"),
        (b'<meta charset="shift_jis">' + "日本".encode("shift_jis"), "text/html", '<meta charset="shift_jis">日本'),
        (b"\xef\xbb\xbfx", "text/html; charset=latin1", "x"),
        ("é".encode("utf-16"), "text/html", "é"),
        ("é".encode(), "text/html; charset=nonsense", "é"),
        ("é".encode(), "text/html; charset=unicode_escape", "é"),
        (b"abc", "text/html; charset=punycode", "abc"),
        (b"abc", "text/html; charset=zip", "abc"),
        (
            b"good \xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9 cut \xc3",
            "text/html",
            "good éééééééééé" + "é cut \ufffd",
        ),
        (b'{"a": 1}', "application/json", '{"a": 1}'),
        (b"<rss/>", "application/rss+xml", "<rss/>"),
        (b"plain", "", "plain"),
    ],
)
def test_characters(web: WebStub, tmp_path: Path, body: bytes, kind: str, text: str) -> None:
    assert download(tmp_path, web.page("/", body, content_type=kind))["html"] == text


@pytest.mark.parametrize("kind", ["application/pdf", "image/png", "application/octet-stream", ""])
def test_what_is_no_text(web: WebStub, tmp_path: Path, kind: str) -> None:
    error = failure(tmp_path, web.page("/", b"%PDF\0\1\2", content_type=kind))
    assert (error.code, error.retryable) == ("output_invalid", False)
    assert "http.request" in error.message


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (400, "communication", False), (401, "authentication", False), (403, "authorization", False),
        (404, "communication", False), (408, "timeout", True), (410, "communication", False),
        (425, "communication", True), (429, "rate_limited", True), (500, "communication", True),
        (502, "communication", True), (503, "communication", True), (599, "communication", True), (304, "communication", False),
    ],
)  # fmt: skip
def test_statuses(web: WebStub, tmp_path: Path, status: int, code: str, *, retryable: bool) -> None:
    error = failure(tmp_path, web.url(f"/status?code={status}&retry_after=7"))
    assert (error.code, error.retryable, error.details["status"]) == (code, retryable, status)
    assert error.retry_after == (7 if retryable else None)
    assert str(status) in error.message


def test_retry_after_as_a_date(web: WebStub, tmp_path: Path) -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    error = failure(tmp_path, web.page("/", "later", status=503, retry_after=until))
    assert 55 < (error.retry_after or 0) <= 60


def test_its_timeout(web: WebStub, tmp_path: Path) -> None:
    started = time.monotonic()
    assert failure(tmp_path, web.url("/drip"), timeout=0.4).code == "timeout"
    assert time.monotonic() - started < 1.4


def test_inside_addresses(web: WebStub, tmp_path: Path) -> None:
    with pytest.raises(TaskError) as raised:
        run(DOWNLOAD, StubContext(tmp_path, allow_loopback=False), url=web.url("/echo"))
    assert raised.value.code == "blocked_address"
    assert web.requests == []


@pytest.mark.parametrize(
    ("method", "repeatable"),
    [("GET", True), ("head", True), ("PUT", True), ("DELETE", True), ("POST", False), ("PATCH", False)],
)
@pytest.mark.parametrize("name", ["web.download", "http.request"])
def test_repeatable(name: str, method: str, *, repeatable: bool) -> None:
    assert registry.load().types[name].is_repeatable({"url": "x", "method": method}) is repeatable
    assert registry.load().types[name].is_repeatable({"url": "x"})
