"""TLS: the name stays on a connection whose address was checked; the certificate must fit the name."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.egress import Egress
from dataflow.lib.errors import TaskError
from tests.stubs.certificates import make_certificate
from tests.stubs.web_stub import WebStub


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for name.example that signs itself, with its key in the same file."""
    path = tmp_path_factory.mktemp("tls") / "name.pem"
    return make_certificate(path, name="name.example", names=["name.example"], addresses=["10.1.2.3"])


class TlsStub(WebStub):
    def __init__(self, certificate: Path) -> None:
        super().__init__()
        self.names: list[str | None] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        context.sni_callback = lambda _, name, __: self.names.append(name)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)


@pytest.fixture
def web(certificate: Path) -> Iterator[TlsStub]:
    with TlsStub(certificate) as stub:
        yield stub


def egress(certificate: Path | None) -> Egress:
    def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    return Egress(allow_loopback=True, ca_file=str(certificate) if certificate else None, resolve=resolve)


def test_the_name_is_kept(web: TlsStub, certificate: Path) -> None:
    web.page("/", "secret")
    with egress(certificate).request("GET", f"https://name.example:{web.port}/") as response:
        assert response.read() == b"secret"
    assert web.names == ["name.example"]
    assert web.requests[0].headers["host"] == f"name.example:{web.port}"


def test_a_certificate_for_another_name_is_refused(web: TlsStub, certificate: Path) -> None:
    with pytest.raises(TaskError, match="secure connection") as raised:
        with egress(certificate).request("GET", f"https://other.example:{web.port}/"):
            pytest.fail("connected")
    assert (raised.value.code, raised.value.retryable) == ("communication", False)
    assert web.requests == []


def test_a_certificate_nobody_knows_is_refused(web: TlsStub) -> None:
    with pytest.raises(TaskError, match="secure connection"):
        with egress(None).request("GET", f"https://name.example:{web.port}/"):
            pytest.fail("connected")
    assert web.requests == []


def test_a_handshake_can_be_interrupted(certificate: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cancellation = Cancellation(30)
        threading.Timer(0.3, cancellation.stop, [TaskError("cancelled", "stop")]).start()
        started = time.monotonic()
        request = (
            egress(certificate)
            .bound_to(cancellation)
            .request("GET", f"https://name.example:{silent.getsockname()[1]}/")
        )
        with pytest.raises(TaskError) as raised, request:
            pytest.fail("connected")
    assert raised.value.code == "cancelled"
    assert time.monotonic() - started < 1.3


def test_a_drip_over_tls_can_be_interrupted(web: TlsStub, certificate: Path) -> None:
    started = time.monotonic()
    with pytest.raises(TaskError) as raised:
        with egress(certificate).request("GET", f"https://name.example:{web.port}/drip", timeout=0.5) as response:
            response.read()
    assert raised.value.code == "timeout"
    assert time.monotonic() - started < 1.5
