"""``http.request`` against a real server on loopback."""

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

REQUEST = registry.load().types["http.request"]


@pytest.fixture
def web() -> Iterator[WebStub]:
    with WebStub() as stub:
        yield stub


@pytest.fixture
def context(tmp_path: Path) -> StubContext:
    return StubContext(tmp_path / "files")


def echoed(web: WebStub, context: StubContext, **inputs: Any) -> dict[str, Any]:
    return dict(run(REQUEST, context, url=web.url("/echo"), **inputs)["json"])


def failure(context: StubContext, **inputs: Any) -> TaskError:
    with pytest.raises(TaskError) as raised:
        run(REQUEST, context, **inputs)
    return raised.value


def test_it_works(web: WebStub, context: StubContext) -> None:
    outputs = run(REQUEST, context, url=web.page("/x", "<p>Hi</p>", x_one="1"))
    assert outputs["body"] == "<p>Hi</p>"
    assert (outputs["json"], outputs["status_code"], outputs["headers"]["x-one"]) == (None, 200, "1")


def test_query(web: WebStub, context: StubContext) -> None:
    said = echoed(web, context, query={"q": "a&b", "n": 1, "on": True, "many": [1, "x"], "not": None})
    assert said["query"] == "q=a%26b&n=1&on=true&many=1&many=x"


@pytest.mark.parametrize("value", [{"a": [1, None]}, [], 0, False, "text"])
def test_json(web: WebStub, context: StubContext, value: Any) -> None:
    said = echoed(web, context, method="POST", json=value)
    assert json.loads(said["body"]) == value
    assert said["headers"]["content-type"] == "application/json"


def test_body_and_form(web: WebStub, context: StubContext) -> None:
    assert echoed(web, context, method="post", body="raw")["body"] == "raw"
    assert echoed(web, context, method="POST", form={"a": "1 2", "n": 3, "not": None})["body"] == "a=1+2&n=3"


def test_files(web: WebStub, context: StubContext) -> None:
    one = context.files.add("one.txt", "text/plain", b"first")
    two = context.files.add("two.bin", "application/x-two", b"second")
    said = echoed(web, context, method="POST", form={"k": "v"}, files={"a": one, "b": [one, two]})
    assert said["headers"]["content-type"].startswith("multipart/form-data; boundary=")
    assert said["body"].count('filename="one.txt"') == 2
    assert 'name="b"; filename="two.bin"\r\nContent-Type: application/x-two\r\n\r\nsecond' in said["body"]


def test_files_by_their_ids(web: WebStub, context: StubContext) -> None:
    file = context.files.add("one.txt", "text/plain", b"first")
    body = echoed(web, context, method="POST", files={"a": file["file_id"]})["body"]
    assert 'name="a"; filename="one.txt"\r\nContent-Type: text/plain\r\n\r\nfirst\r\n' in body


@pytest.mark.parametrize(
    "inputs",
    [
        {"json": 1, "body": "x"},
        {"json": 1, "form": {}},
        {"body": "x", "files": {"a": {"file_id": "fl-1"}}},
        {"files": {"a": "/etc/passwd"}},
        {"form": {"a": [1]}},
        {"query": {"a": {"b": 1}}},
        {"headers": {"a": [1]}},
        {"auth": {"user": "x"}},
        {"auth": {"type": "digest", "username": "x"}},
        {"auth": {"type": "bearer", "token": "x", "username": "y"}},
        {"auth": {"type": "bearer", "token": "x\r\nX-Injected: 1"}},
        {"expected_status": "2x"},
        {"expected_status": [200, None]},
        {"expected_status": 2000},
        {"method": "A B"},
    ],
)
def test_inputs_that_make_no_sense(web: WebStub, context: StubContext, inputs: dict[str, Any]) -> None:
    error = failure(context, url=web.url("/echo"), **({"method": "POST"} | inputs))
    assert (error.code, error.retryable) == ("validation", False)
    assert web.requests == []


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ({"type": "basic", "username": "u", "password": "p"}, "Basic dTpw"),
        ({"username": "u", "password": "p"}, "Basic dTpw"),
        ({"username": "u"}, "Basic dTo="),
        ({"type": "bearer", "token": "t"}, "Bearer t"),
        ({"token": "t"}, "Bearer t"),
    ],
)
def test_auth(web: WebStub, context: StubContext, auth: dict[str, str], header: str) -> None:
    assert echoed(web, context, auth=auth)["headers"]["authorization"] == header


def test_the_idempotency_key(web: WebStub, context: StubContext) -> None:
    for method in ("POST", "PATCH", "GET", "PUT", "DELETE"):
        said = echoed(web, context, method=method)
        assert said["headers"].get("idempotency-key") == ("we-1.task" if method in ("POST", "PATCH") else None)
    own = echoed(web, context, method="POST", headers={"idempotency-key": "mine"})
    assert own["headers"]["idempotency-key"] == "mine"


@pytest.mark.parametrize(
    ("expected", "status", "fine"),
    [
        (None, 204, True), (None, 404, False), (201, 201, True), (201, 200, False), (404, 404, True), ([200, 404], 404, True),
        (["2xx", 404], 202, True), ("4xx", 418, True), ("4XX", 500, False), (200.0, 200, True), ("200", 200, True),
    ],
)  # fmt: skip
def test_expected_status(web: WebStub, context: StubContext, expected: Any, status: int, *, fine: bool) -> None:
    inputs = {"url": web.url(f"/status?code={status}"), "expected_status": expected}
    if fine:
        assert run(REQUEST, context, **inputs)["status_code"] == status
    else:
        assert str(status) in failure(context, **inputs).message


def test_errors_show_what_was_answered(web: WebStub, context: StubContext) -> None:
    url = web.page("/", '{"error": "no such thing"}', status=422, content_type="application/json")
    error = failure(context, url=url)
    assert (error.code, error.retryable) == ("communication", False)
    assert "no such thing" in error.details["answer"]


@pytest.mark.parametrize(
    ("body", "kind", "value"),
    [
        ('{"a": 1}', "application/json", {"a": 1}),
        ('\ufeff{"a": 1}', "application/json", {"a": 1}),
        ("[1]", "application/vnd.x+json", [1]),
        ("3", "application/json", 3),
        ('{"a": 1}', "text/plain", {"a": 1}),
        ("{not json}", "text/plain", None),
        ("3", "text/plain", None),
    ],
)
def test_json_answers(web: WebStub, context: StubContext, body: str, kind: str, value: Any) -> None:
    assert run(REQUEST, context, url=web.page("/", body, content_type=kind))["json"] == value
    assert context.logs == []


@pytest.mark.parametrize("body", ["{", '{"a": NaN}', "[" * 100_000, '{"a": "\\ud800"}', '{"a":1,"a":2}', ""])
def test_answers_that_are_not_the_json_they_claim(web: WebStub, context: StubContext, body: str) -> None:
    outputs = run(REQUEST, context, url=web.page("/", body, content_type="application/json"))
    assert (outputs["json"], outputs["body"]) == (None, body)
    assert [level for level, _ in context.logs] == ["warning"]


@pytest.mark.parametrize(
    ("path", "kind", "name"),
    [
        ("/image.png", "image/png", "image.png"),
        ("/report", "application/pdf", "report.pdf"),
        ("/", "application/octet-stream", "response.bin"),
        ("/a%2F..%2Fetc", "application/zip", "etc.zip"),
    ],
)
def test_binary_answers_are_files(web: WebStub, context: StubContext, path: str, kind: str, name: str) -> None:
    body = b"\0\1\2" * 1000
    url = web.page(path, body, content_type=kind)
    value = run(REQUEST, context, url=url)["body"]
    assert (value["name"], value["content_type"], value["size"]) == (name, kind, 3000)
    assert context.files.read(value) == body


def test_long_text_is_a_file(web: WebStub, context: StubContext) -> None:
    value = run(REQUEST, context, url=web.url("/bytes?n=1048577"))["body"]
    assert value["size"] == 1048577
    assert len(run(REQUEST, context, url=web.url("/bytes?n=1048576"))["body"]) == 1048576


def test_a_cut_answer_leaves_no_file(web: WebStub, context: StubContext) -> None:
    assert failure(context, url=web.url("/endless")).code == "too_large"
    assert context.files.names() == []


def test_nothing_inside_is_reached(web: WebStub, tmp_path: Path) -> None:
    assert failure(StubContext(tmp_path, allow_loopback=False), url=web.url("/echo")).code == "blocked_address"
    assert web.requests == []


def outputs_of(mapping: Mapping[str, Any]) -> list[str]:
    return sorted(mapping)


def test_every_output_is_given(web: WebStub, context: StubContext) -> None:
    outputs = run(REQUEST, context, url=web.page("/", "x"))
    assert outputs_of(outputs) == sorted(field.name for field in REQUEST.outputs)
