"""The network under the OpenAI client: sockets in the care of a ``Lifeline``, so that any wait can be ended at once.

The operator's own choice of an address (``OPENAI_BASE_URL``) is not checked, that of a connection is held to the rules
of everything that goes out; no proxy of the environment is used.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

import httpcore2
import httpx2

from dataflow.lib.addresses import AddressPolicy
from dataflow.lib.errors import TaskError
from dataflow.lib.lifeline import Lifeline

#: Bytes of one answer. It comes uncompressed, so that no few bytes become many.
MAX_ANSWER = 100 * 1024 * 1024
#: What a broken exchange raises; the ``openai`` package lets these through as they are.
NETWORK_ERRORS = (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError)


class LifelineTransport(httpx2.BaseTransport):
    """Sends requests over connections that ``line`` can cut, to addresses that ``policy`` allows (``None``: any)."""

    def __init__(self, line: Lifeline, policy: AddressPolicy | None) -> None:
        self._pool = httpcore2.ConnectionPool(ssl_context=_ssl_context(), network_backend=_Backend(line, policy))

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send ``request``; the answer's body is read as it is asked for."""
        url = request.url
        answer = self._pool.handle_request(
            httpcore2.Request(
                method=request.method,
                url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=[*_without_encoding(request.headers.raw), (b"Accept-Encoding", b"identity")],
                content=cast(Iterable[bytes], request.stream),
                extensions=request.extensions,
            )
        )
        headers = httpx2.Headers(answer.headers)
        if (encoding := headers.get("Content-Encoding", "identity").strip().lower()) not in ("", "identity"):
            answer.close()
            raise TaskError("provider_error", f"The provider compressed its answer with {encoding[:40]!r}, unasked.")
        return httpx2.Response(
            status_code=answer.status,
            headers=headers,
            stream=_Body(cast(Iterable[bytes], answer.stream)),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()


def _without_encoding(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name.lower() != b"accept-encoding"]


class _Body(httpx2.SyncByteStream):
    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        seen = 0
        for chunk in self._stream:
            seen += len(chunk)
            if seen > MAX_ANSWER:
                raise TaskError("too_large", f"The provider's answer is larger than {MAX_ANSWER:,} bytes.")
            yield chunk

    def close(self) -> None:
        close = getattr(self._stream, "close", None)
        if close is not None:
            close()


class _Backend(httpcore2.NetworkBackend):
    def __init__(self, line: Lifeline, policy: AddressPolicy | None) -> None:
        self._line = line
        self._policy = policy

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        with _translated(httpcore2.ConnectError, httpcore2.ConnectTimeout):
            return _Stream(self._line.connect(host, port, self._policy, socket.getaddrinfo), self._line)


class _Stream(httpcore2.NetworkStream):
    def __init__(self, sock: socket.socket, line: Lifeline) -> None:
        self._sock = sock
        self._line = line

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _translated(httpcore2.ReadError, httpcore2.ReadTimeout):
            self._sock.settimeout(max(self._line.remaining(), 0.001))
            data = self._sock.recv(max_bytes)
            self._line.check()  # a cut connection looks like the end of the answer
            return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _translated(httpcore2.WriteError, httpcore2.WriteTimeout):
            self._sock.settimeout(max(self._line.remaining(), 0.001))
            self._sock.sendall(buffer)

    def close(self) -> None:
        self._sock.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        with _translated(httpcore2.ConnectError, httpcore2.ConnectTimeout):
            return _Stream(ssl_context.wrap_socket(self._sock, server_hostname=server_hostname), self._line)

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object":
            return self._sock if isinstance(self._sock, ssl.SSLSocket) else None
        return self._sock if info == "socket" else None


@contextmanager
def _translated(broken: type[Exception], late: type[Exception]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise late(str(error)) from error
    except OSError as error:
        raise broken(str(error)) from error


@cache
def _ssl_context() -> ssl.SSLContext:
    """One for the process: reading the certificates takes tens of milliseconds."""
    return httpx2.create_ssl_context(verify=True, trust_env=False)
