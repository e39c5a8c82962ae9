"""The way out by HTTP: how much, how long, and that it can be interrupted."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.egress import Egress
from dataflow.lib.errors import TaskError
from tests.stubs.egress_calls import OPEN, failure, fetch
from tests.stubs.web_stub import WebStub


@pytest.fixture
def web() -> Iterator[WebStub]:
    with WebStub() as stub:
        yield stub


def test_a_body_over_the_limit(web: WebStub) -> None:
    assert len(fetch(OPEN, web.url("/bytes?n=1000"), max_bytes=1000)[1]) == 1000
    for url in ("/bytes?n=1001", "/bytes?n=1001&length=1"):
        error = failure(OPEN, web.url(url), max_bytes=1000)
        assert (error.code, error.retryable) == ("too_large", False)


def test_an_announced_length_is_refused_before_it_is_read(web: WebStub) -> None:
    with pytest.raises(TaskError) as raised, OPEN.request("GET", web.url("/bytes?n=2000&length=1"), max_bytes=10):
        pytest.fail("the body could be read")
    assert raised.value.code == "too_large"
    assert fetch(OPEN, web.url("/bytes?n=2000&length=1"), method="HEAD", max_bytes=10)[1] == b""


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compressed_bodies(web: WebStub, encoding: str) -> None:
    assert len(fetch(OPEN, web.url(f"/bomb?mib=1&encoding={encoding}"))[1]) == 2**20
    started = time.monotonic()
    chunks: list[int] = []

    def unpack() -> None:
        with OPEN.request("GET", web.url(f"/bomb?mib=200&encoding={encoding}"), max_bytes=2**20) as response:
            chunks.extend(map(len, response.iter_bytes()))

    with pytest.raises(TaskError) as raised:
        unpack()
    assert raised.value.code == "too_large"
    assert sum(chunks) <= 2**20
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, br", "rot13"])
def test_an_encoding_nobody_asked_for(web: WebStub, encoding: str) -> None:
    url = web.page("/", b"\x00\x01", content_encoding=encoding)
    assert failure(OPEN, url).code == "communication"


def test_damaged_compression(web: WebStub) -> None:
    error = failure(OPEN, web.page("/", b"not gzip", content_encoding="gzip"))
    assert (error.code, error.retryable) == ("communication", True)


def test_an_endless_body_is_capped(web: WebStub) -> None:
    assert failure(OPEN, web.url("/endless"), max_bytes=10**6).code == "too_large"


@pytest.mark.parametrize("path", ["/hang", "/drip", "/drip-headers", "/delay?seconds=9", "/endless"])
def test_the_deadline_is_for_everything(web: WebStub, path: str) -> None:
    started = time.monotonic()
    error = failure(OPEN, web.url(path), timeout=0.6, max_bytes=2**40)
    assert (error.code, error.retryable) == ("timeout", True)
    assert 0.5 < time.monotonic() - started < 1.5


def test_the_deadline_of_the_task_counts_too(web: WebStub) -> None:
    error = failure(OPEN.bound_to(Cancellation(0.4)), web.url("/drip"), timeout=30)
    assert error.code == "timeout"
    assert "0.4 s" in error.message


def test_a_connection_that_is_never_accepted() -> None:
    with full_listener() as port:
        started = time.monotonic()
        assert failure(OPEN, f"http://127.0.0.1:{port}/", timeout=0.5).code == "timeout"
        assert time.monotonic() - started < 1.5


def test_a_look_up_that_never_ends(web: WebStub) -> None:
    release = threading.Event()
    egress = Egress(allow_loopback=True, resolve=lambda *_, **__: (release.wait(20) and []) or [])
    started = time.monotonic()
    assert failure(egress, "http://name.example/", timeout=0.4).code == "timeout"
    assert time.monotonic() - started < 1.5
    release.set()


@contextlib.contextmanager
def full_listener() -> Iterator[int]:
    """A port whose queue is full: connecting to it waits for ever."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        time.sleep(0.1)
        yield listener.getsockname()[1]


def cancelled_after(seconds: float, work: Callable[[Cancellation], Any]) -> tuple[TaskError, float]:
    """The error of ``work`` and the seconds from the cancel to its end."""
    cancellation = Cancellation(30)
    stopped: list[float] = []

    def stop() -> None:
        stopped.append(time.monotonic())
        cancellation.stop(TaskError("cancelled", "The execution was cancelled."))

    timer = threading.Timer(seconds, stop)
    timer.start()
    with pytest.raises(TaskError) as raised:
        work(cancellation)
    timer.join()
    return raised.value, time.monotonic() - stopped[0]


@pytest.mark.parametrize(
    "path", ["/hang", "/drip?seconds=5", "/drip", "/drip-headers", "/endless", "connect", "lookup"]
)
def test_cancelling_interrupts(web: WebStub, path: str) -> None:
    release = threading.Event()
    with full_listener() as port:
        url = web.url(path)
        egress = OPEN
        if path == "connect":
            url = f"http://127.0.0.1:{port}/"
        elif path == "lookup":
            url, egress = "http://name.example/", Egress(resolve=lambda *_, **__: (release.wait(20) and []) or [])
        error, took = cancelled_after(
            0.3, lambda cancellation: fetch(egress.bound_to(cancellation), url, max_bytes=2**40)
        )
        release.set()
    assert error.code == "cancelled"
    assert took < 1


def test_one_that_is_cancelled_already_sends_nothing(web: WebStub) -> None:
    cancellation = Cancellation()
    cancellation.stop(TaskError("cancelled", "before"))
    assert failure(OPEN.bound_to(cancellation), web.url("/echo")).code == "cancelled"
    assert web.requests == []


def test_no_thread_is_left_behind(web: WebStub) -> None:
    before = threading.active_count()
    for _ in range(5):
        fetch(OPEN.bound_to(Cancellation(30)), web.page("/", "x"))
    time.sleep(0.1)
    ours = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    assert ours == []
    assert threading.active_count() <= before + 1


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(500)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
    ],
)
def test_a_broken_server(raw: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            connection.recv(65536)
            with contextlib.suppress(OSError):
                connection.sendall(raw)
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        error = failure(OPEN, f"http://127.0.0.1:{listener.getsockname()[1]}/")
        thread.join()
    assert (error.code, error.retryable) == ("communication", True)
    assert "0x" not in error.message


def test_a_refused_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failure(OPEN, f"http://127.0.0.1:{port}/")
    assert (error.code, error.retryable) == ("communication", True)


def test_a_name_that_does_not_exist() -> None:
    error = failure(OPEN, "http://nowhere.invalid/")
    assert (error.code, error.retryable) == ("communication", True)
