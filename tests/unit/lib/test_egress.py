"""The way out by HTTP: what is refused, what is bounded, what is interrupted."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dataflow.lib.egress import Egress, check_url
from dataflow.lib.multipart import FilePart
from tests.stubs.egress_calls import OPEN, failure, fetch
from tests.stubs.web_stub import Page, WebStub

PUBLIC = "93.184.216.34"


@pytest.fixture
def web() -> Iterator[WebStub]:
    with WebStub() as stub:
        yield stub


class Canary:
    """Listens on loopback and counts the connections that reach it."""

    def __init__(self) -> None:
        self.connections = 0
        self._listener = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._count, daemon=True)
        self._thread.start()

    def _count(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._listener.accept()[0].close()
                self.connections += 1

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@pytest.fixture
def canary() -> Iterator[Canary]:
    bird = Canary()
    yield bird
    bird.close()


def resolver(*answers: list[str]) -> Callable[..., list[tuple[Any, ...]]]:
    """Gives these addresses, look-up by look-up; the last answer stays."""
    left = list(answers)

    def resolve(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        found = left.pop(0) if len(left) > 1 else left[0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in found
        ]

    return resolve


def test_it_works(web: WebStub) -> None:
    url = web.page("/hello", "Hällo", content_type="text/plain; charset=utf-8", x_one="1")
    response, body = fetch(OPEN, url, params={"q": "a b", "list": ["1", "2"]})
    assert (response.status, body.decode(), response.final_url) == (200, "Hällo", f"{url}?q=a+b&list=1&list=2")
    assert response.headers["x-ONE"] == "1"
    assert response.content_type == "text/plain; charset=utf-8"
    assert web.requests[0].headers["host"] == f"127.0.0.1:{web.port}"


LOOPBACK_SPELLINGS = [
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "0", "0.0.0.0",
    "localhost", "LOCALHOST", "localhost.", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
    "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "127.0.0.1.", "①②⑦.⓪.⓪.①", "127。0。0。1",
]  # fmt: skip


@pytest.mark.parametrize("host", LOOPBACK_SPELLINGS)
def test_no_spelling_of_loopback_gets_through(host: str, canary: Canary) -> None:
    error = failure(Egress(), f"http://{host}:{canary.port}/")
    assert error.code in ("blocked_address", "validation", "communication")
    assert canary.connections == 0
    if host in ("127.0.0.1", "127.1", "2130706433", "0x7f000001", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0"):
        assert (error.code, error.retryable) == ("blocked_address", False)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://168.63.129.16/",
        "http://100.100.100.200/",
        "http://10.0.0.1/",
        "http://192.168.1.1:8080/",
        "http://172.16.0.1/",
        "http://198.18.0.1/",
        "https://224.0.0.1/",
        "http://[fe80::1]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://255.255.255.255/",
    ],
)
def test_inside_addresses(url: str) -> None:
    assert failure(Egress(), url).code == "blocked_address"
    assert failure(OPEN, url).code == "blocked_address"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "httpx://example.com/",
        "javascript:alert(1)",
        "http://",
        "http:///path",
        "http://user:password@example.com/",
        "http://user@example.com/",
        "http://example.com\\@127.0.0.1/",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://example.com:x/",
        "http://[::1/",
        "http://exa mple.com/",
        "http://example.com/\r\nX-Injected: 1",
        "http://example.com/\x00",
        "http://" + "a" * 64 + ".com/",
        "http://.example.com/",
        "http://*.example.com/",
        "http://example.com/" + "a" * 9000,
        "http://\ud800/",
    ],
)
def test_unusable_urls(url: str) -> None:
    error = failure(OPEN, url)
    assert (error.code, error.retryable) == ("validation", False)
    assert "password" not in error.message or "auth" in error.message


def test_an_international_name_and_path() -> None:
    assert check_url("http://BÜCHER.example/über?q=ä#f") == "http://xn--bcher-kva.example/%C3%BCber?q=%C3%A4#f"


def test_every_address_of_a_name_counts(canary: Canary) -> None:
    egress = Egress(resolve=resolver([PUBLIC, "127.0.0.1"]))
    assert failure(egress, f"http://mixed.example:{canary.port}/").code == "blocked_address"
    assert canary.connections == 0


def test_a_name_is_looked_up_once_and_the_checked_address_is_used(web: WebStub) -> None:
    """Rebinding: a second look-up would lead elsewhere, but there is none."""
    url = web.page("/", "checked").replace("127.0.0.1", "name.example")
    egress = Egress(allow_loopback=True, resolve=resolver(["127.0.0.1"], ["10.0.0.1"]))
    _, body = fetch(egress, url)
    assert body == b"checked"
    assert web.requests[0].headers["host"] == f"name.example:{web.port}"


def test_rebinding_between_redirects_is_seen(web: WebStub) -> None:
    url = web.page("/", "moved", status=302, location="http://name.example:81/secret").replace(
        "127.0.0.1", "name.example"
    )
    egress = Egress(allow_loopback=True, resolve=resolver(["127.0.0.1"], ["10.0.0.1"]))
    assert failure(egress, url).code == "blocked_address"
    assert web.count("/secret") == 0


def test_a_redirect_inside_is_refused(web: WebStub, canary: Canary) -> None:
    """Only the stub itself is open; what it redirects to is another port of the same loopback."""
    egress = Egress(allowed_hosts=frozenset({f"127.0.0.1:{web.port}"}))
    assert failure(egress, web.url(f"/redirect?to=http://127.0.0.1:{canary.port}/")).code == "blocked_address"
    assert failure(egress, web.url(f"/redirect?to=http://localhost:{web.port}/")).code == "blocked_address"
    assert canary.connections == 0


def test_a_dead_address_is_passed_over(web: WebStub) -> None:
    url = web.page("/", "second").replace("127.0.0.1", "name.example")
    egress = Egress(allow_loopback=True, resolve=resolver(["127.0.0.2", "::1", "127.0.0.1"]))
    assert fetch(egress, url)[1] == b"second"


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        (301, "GET", "GET"), (301, "POST", "GET"), (302, "POST", "GET"), (302, "PUT", "PUT"), (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"), (307, "POST", "POST"), (308, "POST", "POST"),
    ],
)  # fmt: skip
def test_redirects(web: WebStub, status: int, method: str, then: str) -> None:
    response, _ = fetch(OPEN, web.url(f"/redirect?to=/echo&status={status}"), method=method, data="body")
    last = web.requests[-1]
    assert (response.status, response.final_url, last.method) == (200, web.url("/echo"), then)
    assert last.body == (b"body" if then == method and then != "HEAD" else b"")


def test_redirects_have_an_end(web: WebStub) -> None:
    loop = web.script("/loop", [Page(status=302, headers={"Location": "/loop"})])
    error = failure(OPEN, loop, follow_redirects=3)
    assert (error.code, error.retryable, web.count("/loop")) == ("communication", False, 4)


def test_a_redirect_can_be_left_alone(web: WebStub) -> None:
    response, _ = fetch(OPEN, web.url("/redirect?to=http://10.0.0.1/"), follow_redirects=0)
    assert response.status == 302


def test_the_body_of_a_redirect_is_not_read(web: WebStub) -> None:
    bomb = zlib.compress(bytes(2**27))
    headers = {"Location": "/echo", "Content-Encoding": "deflate"}
    url = web.script("/big", [Page(status=302, body=bomb, headers=headers)])
    tracemalloc.start()
    try:
        assert fetch(OPEN, url, max_bytes=2**20)[0].final_url == web.url("/echo")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://example.com/", "http://u:p@example.com/", "http://[/"])
def test_a_redirect_to_nonsense(web: WebStub, target: str) -> None:
    error = failure(OPEN, web.url(f"/redirect?to={target}"))
    assert (error.code, error.retryable) == ("communication", False)


def test_secrets_stay_with_their_origin(web: WebStub) -> None:
    secrets = {"Authorization": "Bearer canary", "Cookie": "session=canary", "X-Api-Key": "canary", "Accept": "a/b"}
    with WebStub() as other:
        fetch(OPEN, web.url(f"/redirect?to={other.url('/echo')}"), headers=secrets)
        assert other.requests[0].headers["accept"] == "a/b"
        assert not {"authorization", "cookie", "x-api-key"} & set(other.requests[0].headers)
        fetch(OPEN, web.url(f"/redirect?to={other.url('/echo')}"), auth=("user", "canary"))
        assert "authorization" not in other.requests[1].headers
    fetch(OPEN, web.url("/redirect?to=/echo"), headers=secrets)
    assert {"authorization", "cookie", "x-api-key"} <= set(web.requests[-1].headers)
    fetch(OPEN, web.url("/redirect?to=/echo"), auth=("üser", "canary"))
    assert web.requests[-1].headers["authorization"] == "Basic w7xzZXI6Y2FuYXJ5"


def test_nothing_of_the_environment(web: WebStub, canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
    assert fetch(OPEN, web.page("/", "direct"))[1] == b"direct"
    assert canary.connections == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "1\r\nX-B: 2"},
        {"X-A": "1\nX-B: 2"},
        {"X-A\r\nX-B": "1"},
        {"X A": "1"},
        {"": "1"},
        {"X-A:": "1"},
        {"X-A": "\x00"},
        {"X-A": "€"},
        {"Host": "inside.example"},
        {"host": "inside.example"},
        {"Content-Length": "3"},
        {"Transfer-Encoding": "chunked"},
        {"Connection": "upgrade"},
    ],
)
def test_headers_that_cannot_be_sent(web: WebStub, headers: dict[str, str]) -> None:
    assert failure(OPEN, web.url("/echo"), headers=headers).code == "validation"
    assert web.requests == []


@pytest.mark.parametrize("method", ["", "GET /x HTTP/1.1\r\nX: 1", "CONNECT", "TRACE", "G ET", "Ä"])
def test_methods_that_cannot_be_sent(web: WebStub, method: str) -> None:
    assert failure(OPEN, web.url("/echo"), method=method).code == "validation"
    assert web.requests == []


def test_bodies(web: WebStub) -> None:
    def sent(**options: Any) -> dict[str, Any]:
        return dict(json.loads(fetch(OPEN, web.url("/echo"), method="POST", **options)[1]))

    said = sent(json={"ä": [1]})
    assert (json.loads(said["body"]), said["headers"]["content-type"]) == ({"ä": [1]}, "application/json")
    assert sent(json=[], headers={"Content-Type": "application/x"})["headers"]["content-type"] == "application/x"
    assert sent(data="grüße")["body"] == "grüße"
    assert sent(data={"a": "1 2"})["body"] == "a=1+2"
    assert failure(OPEN, web.url("/echo"), method="POST", json=float("nan")).code == "validation"


def test_files(web: WebStub) -> None:
    part = FilePart(field="f", name='a"\r\n.bin', content_type="x/y\r\nX: 1", content=io.BytesIO(b"\0data"))
    fetch(OPEN, web.url("/redirect?to=/echo&status=307"), method="POST", data={"k": "v"}, files=[part])
    for request in web.requests:
        assert b'name="k"\r\n\r\nv\r\n' in request.body
        assert b'name="f"; filename="a%22%0D%0A.bin"\r\nContent-Type: x/y%0D%0AX: 1\r\n\r\n\0data\r\n' in request.body
        assert request.headers["content-length"] == str(len(request.body))
