"""What the stub servers share: a threaded HTTP server on loopback that records what it is asked."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A request as it came. ``headers`` have lower-case names."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


class Handler(BaseHTTPRequestHandler):
    """Hands every request, whatever its method, to ``stub.answer(handler, request)``."""

    protocol_version = "HTTP/1.1"
    stub: StubServer

    def handle_any(self) -> None:
        parts = urlsplit(self.path)
        request = Recorded(
            method=self.command,
            path=parts.path,
            query=parts.query,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self._body(),
        )
        self.stub.record(request)
        try:
            self.stub.answer(self, request)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client went away, which is what some tests want

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_any

    def send(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        """A whole answer with its length."""
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_chunks(self, status: int, headers: dict[str, str], chunks: Any) -> None:
        """An answer in chunks, for as long as ``chunks`` last and the stub lives."""
        self.send_response(status)
        for name, value in ({"Transfer-Encoding": "chunked"} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        for chunk in chunks:
            if self.stub.closing.is_set():
                break
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  its name in the base class
        """Nothing: a test's output is its result."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            size = int(self.headers.get("Content-Length") or 0)
            if len(body := self.rfile.read(size)) < size:
                # The sender died with its request half sent: no server takes that for a request.
                raise ConnectionResetError
            return body
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a hanging answer ends when ``closing`` is set, not before
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that a test cut is no error."""


class StubServer:
    """Starts on entering, on a free port unless one is given; ``requests`` holds what came, in order."""

    def __init__(self, port: int = 0) -> None:
        self.closing = threading.Event()
        self.requests: list[Recorded] = []
        self._lock = threading.Lock()
        handler = type("StubHandler", (Handler,), {"stub": self})
        self._server = _Server(("127.0.0.1", port), handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def record(self, request: Recorded) -> None:
        with self._lock:
            self.requests.append(request)

    def count(self, path: str) -> int:
        """How many requests for ``path`` came so far."""
        return self.counts()[path]

    def counts(self) -> Counter[str]:
        """How many requests came so far, by path."""
        with self._lock:
            return Counter(request.path for request in self.requests)

    def answer(self, handler: Handler, request: Recorded) -> None:
        """Answer one request, in a thread of its own."""
        raise NotImplementedError
