"""The web server as a real process: stopping, waiting requests, bodies, and what a proxy says."""

from __future__ import annotations

import os
import signal
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from dataflow.web import THREADS
from tests.factories import DOCUMENT
from tests.plugins.stack import Stack, wait_until

pytestmark = [pytest.mark.processes, pytest.mark.slow]

#: Nothing happens for an hour, so who waits for it waits.
LATER = {"inputs": {"text": "x"}, "delay": 3600}


def waiting(stack: Stack, pool: ThreadPoolExecutor, number: int) -> list[Future[Any]]:
    """As many requests that wait for executions, once all were accepted."""
    workflow = stack.post("/workflows", DOCUMENT)["workflow_id"]
    path = f"/workflows/{workflow}/executions"
    found = [pool.submit(stack.request, "POST", f"{path}?wait=60", json=LATER, timeout=90) for _ in range(number)]
    wait_until(lambda: len(stack.get(f"{path}?limit=200")["executions"]) == number, timeout=30, what="all are accepted")
    return found


def raw(stack: Stack, data: bytes) -> bytes:
    """What is answered to these bytes until the server closes the connection."""
    answer = b""
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as connection:
        connection.sendall(data)
        while part := connection.recv(65536):
            answer += part
    return answer


def test_who_waits_does_not_hold_up_others_and_is_answered_at_the_stop(live_stack: Stack) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        answers = waiting(live_stack, pool, THREADS - 4)
        assert live_stack.get("/healthz") == {"status": "ok"}
        assert not any(answer.done() for answer in answers)
        live_stack.processes["web"].send_signal(signal.SIGTERM)
        shown = [answer.result(30) for answer in answers]
    assert {answer.status_code for answer in shown} == {201}
    assert {answer.json()["status"] for answer in shown} == {"PENDING"}
    assert live_stack.processes["web"].wait(30) == 0
    assert "WARNING" not in live_stack.log()


def test_kill_9_of_the_parent_leaves_no_process(live_stack: Stack) -> None:
    children = [psutil.Process(pid) for pid in live_stack.pids("web")[1:]]
    assert children
    live_stack.processes["web"].kill()
    live_stack.processes["web"].wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


def test_a_process_that_dies_is_replaced(live_stack: Stack) -> None:
    before = live_stack.pids("web")
    os.kill(before[1], signal.SIGKILL)

    def replaced() -> bool:
        now = live_stack.pids("web")
        return len(now) == len(before) and now[0] == before[0] and now[1] != before[1]

    wait_until(replaced, timeout=30, what="the killed process is replaced")
    live_stack.wait_until_ready()


@pytest.mark.any_database
def test_a_body_of_unknown_length(shared_stack: Stack) -> None:
    head = b"POST /workflows HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    answer = raw(shared_stack, head + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 411 ")
    assert b'"code": "length_required"' in answer


@pytest.mark.any_database
def test_head_has_the_length_and_no_body(shared_stack: Stack) -> None:
    head = raw(shared_stack, b"HEAD /task-types HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").lower()
    length = len(shared_stack.request("GET", "/task-types", headers={"Accept": "application/json"}).content)
    assert head.startswith(b"http/1.1 200 ")
    assert head.endswith(b"\r\n\r\n")
    assert f"content-length: {length}\r\n".encode() in head


@pytest.mark.any_database
def test_a_large_upload_is_no_large_process(shared_stack: Stack) -> None:
    size = 200 * 1024 * 1024
    (process,) = [psutil.Process(pid) for pid in shared_stack.pids("web")[1:]]
    before = process.memory_info().rss
    start = b'--B\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    end = b"\r\n--B--\r\n"
    with socket.create_connection(("127.0.0.1", shared_stack.port), timeout=60) as connection:
        connection.sendall(
            b"POST /files HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=B\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n" % (len(start) + size + len(end))
        )
        connection.sendall(start)
        for _ in range(200):
            connection.sendall(b"x" * 1024 * 1024)
        grown = process.memory_info().rss - before
        connection.sendall(end)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 201 ")
    assert grown < size // 4
    stored = answer.partition(b'"file_id":"')[2].partition(b'"')[0].decode()
    part = shared_stack.request("GET", f"/files/{stored}/content", headers={"Range": f"bytes={size - 3}-"})
    assert (part.status_code, part.content) == (206, b"xxx")
