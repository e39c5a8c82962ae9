"""``s3.get`` and ``s3.put`` against a real server of the S3 protocol, which runs as a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pytest

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from tasks_lib import registry
from tasks_lib.clients import s3
from tests.stubs.context import StubContext, run
from tests.stubs.web_stub import Page, WebStub

boto3 = pytest.importorskip("boto3")

GET, PUT = (registry.load().types[name] for name in ("s3.get", "s3.put"))
CANARY = "canary-s3cret"
Settings = dict[str, Any]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that stands in for S3."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("s3") / "log"
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            _wait(port, process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def client(settings: Settings) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=settings["endpoint_url"],
        region_name="us-east-1",
        aws_access_key_id="key-id",
        aws_secret_access_key=CANARY,
    )


@pytest.fixture
def settings(endpoint: str) -> Iterator[Settings]:
    """A connection to a new bucket."""
    made = {"bucket": f"b-{os.urandom(6).hex()}", "endpoint_url": endpoint, "access_key_id": "key-id"}
    made |= {"secret_access_key": CANARY}
    with_client = client(made)
    with_client.create_bucket(Bucket=made["bucket"])
    yield made
    with_client.close()


def context_for(tmp_path: Path, settings: Settings, **parts: Any) -> StubContext:
    return StubContext(tmp_path, connections={"main": ("s3", settings)}, **parts)


def put(context: StubContext, data: bytes, key: str, **inputs: Any) -> Mapping[str, Any]:
    file = context.files.add("a.csv", "text/csv", data)
    return run(PUT, context, connection="main", key=key, file=file, **inputs)


def get(context: StubContext, key: str) -> Mapping[str, Any]:
    return run(GET, context, connection="main", key=key)


def failure(context: StubContext, key: str) -> TaskError:
    with pytest.raises(TaskError) as raised:
        get(context, key)
    error = raised.value
    assert CANARY not in f"{error} {error.details} {error.__cause__}"
    return error


def test_it_works(tmp_path: Path, settings: Settings) -> None:
    context = context_for(tmp_path, settings)
    stored = put(context, b"a,b\n1,2\n", "reports/jüne 1+2.csv", metadata={"by": "flow", "n": 1})
    found = get(context, "reports/jüne 1+2.csv")
    assert context.files.read(found["file"]) == b"a,b\n1,2\n"
    assert (found["file"]["name"], found["file"]["content_type"]) == ("jüne 1+2.csv", "text/csv")
    assert (stored["key"], stored["size"], found["size"]) == ("reports/jüne 1+2.csv", 8, 8)
    assert stored["etag"] == found["etag"]
    assert found["metadata"] == {"by": "flow", "n": "1"}
    assert found["last_modified"].endswith("Z")


def test_the_examples_run(tmp_path: Path, settings: Settings) -> None:
    context = context_for(tmp_path, settings)
    file = context.files.add("sample.csv", "text/csv", b"x")
    run(PUT, context, **(PUT.example | {"file": file}))
    assert context.files.read(run(GET, context, **GET.example)["file"]) == b"x"


def test_a_large_file_goes_in_parts(tmp_path: Path, settings: Settings) -> None:
    context = context_for(tmp_path, settings)
    data = os.urandom(1024) * 1024 * 17
    stored = put(context, data, "big", content_type="application/x-big")
    assert stored["size"] == len(data)
    assert stored["etag"].endswith("-3")
    found = get(context, "big")
    assert context.files.read(found["file"]) == data
    assert found["content_type"] == "application/x-big"
    assert context.progressed[-1][0] == 1.0


def test_an_empty_file(tmp_path: Path, settings: Settings) -> None:
    context = context_for(tmp_path, settings)
    put(context, b"", "empty")
    assert context.files.read(get(context, "empty")["file"]) == b""


class Endless:
    """Gives a few bytes at a time, for ever or until ``fail_after`` bytes."""

    def __init__(self, fail_after: int | None = None) -> None:
        self.given, self.fail_after = 0, fail_after

    def read(self, size: int = -1) -> bytes:
        if self.fail_after is not None and self.given >= self.fail_after:
            raise TaskError("communication", "The file broke off.", retryable=True)
        self.given += 1000
        return bytes(1000)


@pytest.mark.parametrize(("content", "code"), [(Endless(), "too_large"), (Endless(10_000_000), "communication")])
def test_an_upload_that_fails_leaves_nothing(
    content: IO[bytes], code: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "MAX_OBJECT", 20 * 1024 * 1024)
    whole = {"region": "us-east-1", "prefix": None} | settings
    with s3.opened(whole, Cancellation(60)) as bucket, pytest.raises(TaskError) as raised:
        bucket.write("x", content, "text/plain", {})
    assert raised.value.code == code
    seen = client(settings)
    assert seen.list_multipart_uploads(Bucket=settings["bucket"]).get("Uploads", []) == []
    assert "Contents" not in seen.list_objects_v2(Bucket=settings["bucket"])
    seen.close()


def test_what_is_too_large_is_not_fetched(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    context = context_for(tmp_path, settings)
    put(context, bytes(2000), "x")
    monkeypatch.setattr(s3, "MAX_OBJECT", 1000)
    before = context.files.names()
    assert failure(context, "x").code == "too_large"
    assert context.files.names() == before


def test_the_prefix(tmp_path: Path, settings: Settings) -> None:
    within, without = context_for(tmp_path, settings | {"prefix": "flows/"}), context_for(tmp_path, settings)
    put(without, b"outside", "other")
    put(within, b"inside", "/a//b")
    assert without.files.read(get(without, "flows//a//b")["file"]) == b"inside"
    assert failure(within, "other").code == "validation"
    for key in ("../other", "a/../../other", ".", "a/./b"):
        assert "`key`" in failure(within, key).message
    put(without, b"dots", "a..b/c.")
    assert without.files.read(get(without, "a..b/c.")["file"]) == b"dots"


@pytest.mark.parametrize(
    ("key", "code"), [("", "validation"), ("a\nb", "validation"), ("k" * 1025, "too_large"), ("ü" * 600, "too_large")]
)
def test_what_is_no_key(key: str, code: str, tmp_path: Path, settings: Settings) -> None:
    assert failure(context_for(tmp_path, settings), key).code == code


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ({"a b": "x"}, "validation"),
        ({"a": "x\r\nx-amz-acl: public-read"}, "validation"),
        ({"a": "ü"}, "validation"),
        ({"a": []}, "validation"),
        ({"a": "x" * 3000}, "too_large"),
    ],
)
def test_what_is_no_metadata(metadata: dict[str, Any], code: str, tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(TaskError) as raised:
        put(context_for(tmp_path, settings), b"", "x", metadata=metadata)
    assert raised.value.code == code


def test_what_is_not_there(tmp_path: Path, settings: Settings) -> None:
    error = failure(context_for(tmp_path, settings), "nothing")
    assert (error.code, error.retryable, error.details["s3_error"]) == ("validation", False, "NoSuchKey")
    error = failure(context_for(tmp_path, settings | {"bucket": "nowhere-at-all"}), "x")
    assert (error.code, error.details["s3_error"]) == ("validation", "NoSuchBucket")


def test_no_server(tmp_path: Path, settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    error = failure(context_for(tmp_path, settings | {"endpoint_url": f"http://127.0.0.1:{port}"}), "x")
    assert (error.code, error.retryable) == ("communication", True)


@pytest.mark.parametrize(
    ("status", "word", "code", "retryable"),
    [
        (403, "InvalidAccessKeyId", "authentication", False),
        (403, "SignatureDoesNotMatch", "authentication", False),
        (403, "AccessDenied", "authorization", False),
        (503, "SlowDown", "rate_limited", True),
        (500, "InternalError", "provider_error", True),
        (400, "RequestTimeout", "communication", True),
        (400, "Strange", "validation", False),
        (301, "PermanentRedirect", "validation", False),
        (403, f"{CANARY}", "authorization", False),
    ],
)
def test_what_the_store_refuses(
    status: int, word: str, code: str, retryable: bool, tmp_path: Path, settings: Settings
) -> None:
    body = f"<?xml version='1.0'?><Error><Code>{word}</Code><Message>No {CANARY}</Message></Error>"
    with WebStub() as web:
        web.script("/b-x/x", [Page(status=status, body=body.encode(), headers={"Content-Type": "application/xml"})])
        error = failure(context_for(tmp_path, settings | {"bucket": "b-x", "endpoint_url": web.url("")}), "x")
        assert (error.code, error.retryable) == (code, retryable)
        # The engine retries, not botocore; it only asks in which region a bucket is that has moved.
        assert len(web.requests) == (2 if status == 301 else 1)


@pytest.mark.parametrize("path", ["/hang", "/drip", "/drip-headers"])
def test_a_server_that_takes_for_ever(path: str, tmp_path: Path, settings: Settings) -> None:
    with WebStub() as web:
        hanging = settings | {"bucket": path.strip("/"), "endpoint_url": web.url("")}
        error = failure(context_for(tmp_path, hanging, cancellation=Cancellation(0.5)), "x")
        assert (error.code, error.retryable) == ("timeout", True)
        context = context_for(tmp_path, hanging, cancellation=Cancellation(120))
        timer = threading.Timer(0.3, context.cancellation.stop, [TaskError("cancelled", "Cancelled.")])
        timer.start()
        assert failure(context, "x").code == "cancelled"
        timer.join()
        assert context.files.names() == []


def test_an_answer_that_is_cut_off(tmp_path: Path, settings: Settings) -> None:
    with WebStub() as web:
        web.script("/b-x/x", [Page(body=b"half", headers={"Content-Length": "4000"})])
        context = context_for(
            tmp_path, settings | {"bucket": "b-x", "endpoint_url": web.url("")}, cancellation=Cancellation(1)
        )
        assert failure(context, "x").retryable
        assert context.files.names() == []
