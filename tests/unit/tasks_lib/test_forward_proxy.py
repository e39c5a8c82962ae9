"""The proxy that a program gets as its only way out."""

from __future__ import annotations

import base64
import http.client
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from dataflow.lib.addresses import AddressPolicy
from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from tasks_lib.clients import bounded
from tasks_lib.clients.forward_proxy import ForwardProxy, Rules
from tests.stubs.web_stub import WebStub


def rules(**changed: Any) -> Rules:
    given = {
        "policy": AddressPolicy(allow_loopback=True),
        "resolve": socket.getaddrinfo,
        "may_reach": lambda host: True,
        "max_bytes": 1_000_000,
    }
    return Rules(**(given | changed))


@pytest.fixture
def web() -> Iterator[WebStub]:
    with WebStub() as stub:
        stub.page("/page", "there", content_type="text/plain")
        yield stub


def ask(proxy: ForwardProxy, head: bytes, *, authorised: bool = True) -> bytes:
    """What the proxy answers to these bytes, to the end."""
    parts = urlsplit(proxy.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
        secret = f"Proxy-Authorization: {proxy.authorization}\r\n".encode() if authorised else b""
        connection.sendall(head.replace(b"\r\n", b"\r\n" + secret, 1))
        answer = b""
        while data := connection.recv(65536):
            answer += data
        return answer


def test_it_passes_on_and_back(web: WebStub) -> None:
    proxy = ForwardProxy(rules(), Cancellation(20))
    with proxy.running():
        head = f"GET {web.url('/echo?a=1')} HTTP/1.1\r\nHost: elsewhere\r\nProxy-Connection: x\r\nX-Mine: 1\r\n\r\n"
        answer = ask(proxy, head.encode())
    assert answer.startswith(b"HTTP/1.1 200")
    (seen,) = web.requests
    assert (seen.path, seen.query) == ("/echo", "a=1")
    headers = {name.lower(): value for name, value in seen.headers.items()}
    assert headers["x-mine"] == "1"
    assert headers["connection"] == "close"
    assert not [name for name in headers if name.startswith("proxy")]
    assert proxy.refused == []


def test_a_tunnel(web: WebStub) -> None:
    proxy = ForwardProxy(rules(), Cancellation(20))
    parts = urlsplit(proxy.url)
    with proxy.running():
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
        connection.set_tunnel("127.0.0.1", web.port, headers={"Proxy-Authorization": proxy.authorization})
        connection.request("GET", "/page")
        assert connection.getresponse().read() == b"there"
        connection.close()


@pytest.mark.parametrize("head", [b"GET http://{host}/page HTTP/1.1\r\n\r\n", b"CONNECT {host} HTTP/1.1\r\n\r\n"])
def test_inside_addresses_are_refused(web: WebStub, head: bytes) -> None:
    proxy = ForwardProxy(rules(policy=AddressPolicy()), Cancellation(20))
    with proxy.running():
        answer = ask(proxy, head.replace(b"{host}", f"127.0.0.1:{web.port}".encode()))
    assert answer.startswith(b"HTTP/1.1 403")
    assert [error.code for error in proxy.refused] == ["blocked_address"]
    assert web.requests == []


def test_what_a_name_leads_to_is_checked() -> None:
    def resolve(*_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))]

    proxy = ForwardProxy(rules(resolve=resolve), Cancellation(20))
    with proxy.running():
        assert ask(proxy, b"CONNECT metadata.example:80 HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 403")
    assert "169.254.169.254" in proxy.refused[0].message


def test_hosts_can_be_named(web: WebStub) -> None:
    proxy = ForwardProxy(rules(may_reach=lambda host: host == "video.example"), Cancellation(20))
    with proxy.running():
        assert ask(proxy, f"GET {web.url('/page')} HTTP/1.1\r\n\r\n".encode()).startswith(b"HTTP/1.1 403")
    assert "not among its hosts" in proxy.refused[0].message
    assert web.requests == []


@pytest.mark.parametrize("password", ["", "Basic " + base64.b64encode(b"task:guess").decode()])
def test_others_may_not_use_it(web: WebStub, password: str) -> None:
    proxy = ForwardProxy(rules(), Cancellation(20))
    header = f"Proxy-Authorization: {password}\r\n" if password else ""
    with proxy.running():
        answer = ask(proxy, f"GET {web.url('/page')} HTTP/1.1\r\n{header}\r\n".encode(), authorised=False)
    assert answer.startswith(b"HTTP/1.1 407")
    assert web.requests == []


@pytest.mark.parametrize(
    "head",
    [
        b"GET /page HTTP/1.1\r\n\r\n",
        b"GET ftp://127.0.0.1/x HTTP/1.1\r\n\r\n",
        b"GET file:///etc/passwd HTTP/1.1\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"CONNECT :80 HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_request_to_a_proxy(head: bytes) -> None:
    proxy = ForwardProxy(rules(), Cancellation(20))
    with proxy.running():
        assert ask(proxy, head).startswith(b"HTTP/1.1 400")


def test_a_second_request_on_a_connection_is_not_passed_on(web: WebStub) -> None:
    proxy = ForwardProxy(rules(), Cancellation(20))
    with proxy.running():
        ask(proxy, f"GET {web.url('/page')} HTTP/1.1\r\n\r\n".encode() + b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [request.path for request in web.requests] in ([], ["/page"])


def test_a_client_is_told_that_its_connection_ends(web: WebStub) -> None:
    """Else it sends its next request on it, which nobody answers."""
    proxy = ForwardProxy(rules(), Cancellation(20))
    with proxy.running():
        client = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
        for _ in range(3):
            client.request("GET", web.url("/page"), headers={"Proxy-Authorization": proxy.authorization})
            answer = client.getresponse()
            assert (answer.status, answer.read(), answer.will_close) == (200, b"there", True)
        client.close()


def test_bytes_are_counted(web: WebStub) -> None:
    proxy = ForwardProxy(rules(max_bytes=10_000), Cancellation(20))
    with proxy.running():
        answer = ask(proxy, f"GET {web.url('/bytes?n=500000')} HTTP/1.1\r\n\r\n".encode())
    assert len(answer) <= 10_200
    assert [error.code for error in proxy.refused] == ["too_large"]


def test_a_server_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    proxy = ForwardProxy(rules(), Cancellation(20))
    with proxy.running():
        assert ask(proxy, f"GET http://127.0.0.1:{port}/ HTTP/1.1\r\n\r\n".encode()).startswith(b"HTTP/1.1 502")


@pytest.mark.parametrize("how", ["cancelled", "ended"])
def test_nothing_of_it_is_left(web: WebStub, how: str) -> None:
    cancellation = Cancellation(60)
    proxy = ForwardProxy(rules(), cancellation)
    answers: list[bytes] = []
    with proxy.running():
        asking = threading.Thread(
            target=lambda: answers.append(ask(proxy, f"GET {web.url('/hang')} HTTP/1.1\r\n\r\n".encode()))
        )
        asking.start()
        while not web.requests:
            asking.join(0.01)
        if how == "cancelled":
            cancellation.stop(TaskError("cancelled", "stop"))
            asking.join(20)
            assert not asking.is_alive()
    asking.join(20)
    assert not asking.is_alive()
    assert "forward-proxy" not in {thread.name for thread in threading.enumerate()}


PROGRAM = """
import sys, urllib.request
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
through = urllib.request.build_opener(urllib.request.ProxyHandler({"http": sys.argv[1]}))
for opener in (through, direct):
    try:
        print(opener.open(sys.argv[2], timeout=20).read().decode())
    except OSError as error:
        print("refused")
"""


def test_it_is_all_that_a_program_reaches(web: WebStub, tmp_path: Path) -> None:
    """Where the kernel lets an ordinary process have a network of its own; elsewhere it is the program's good will."""
    proxy = ForwardProxy(rules(), Cancellation(20))
    with proxy.running():
        done = bounded.run(
            [sys.executable, "-I", "-c", PROGRAM, proxy.url, web.url("/page")],
            folder=tmp_path,
            cancellation=Cancellation(60),
            limits=bounded.Limits(),
            proxy=proxy,
        )
    alone = subprocess.run(["unshare", "-rn", "true"], check=False, capture_output=True).returncode == 0
    assert done.stdout.split() == ["there", "refused" if alone else "there"], done.stderr
