"""A web server for tests. ``python -m tests.stubs.web_stub --port N`` runs it as a process (``/_counts`` tells the counts).

Pages are set with ``page()`` and ``script()``; these paths are always there:
``/redirect?to=URL&status=302`` · ``/delay?seconds=2`` · ``/status?code=503&retry_after=7`` · ``/echo`` (the request as JSON) ·
``/hang`` (never answers) · ``/drip?seconds=0.2`` (a byte at a time) · ``/drip-headers`` · ``/endless`` · ``/bomb?encoding=gzip&mib=100`` ·
``/bytes?n=1000&length=1`` · ``/counted/…`` (a page that exists under any name, for counting).
"""

from __future__ import annotations

import argparse
import json
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from tests.stubs.server import Handler, Recorded, StubServer

HTML = {"Content-Type": "text/html; charset=utf-8"}
COUNTS_PATH = "/_counts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One answer. ``delay`` in seconds before it; ``gate`` holds it back until it is set."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: dict(HTML))
    delay: float = 0.0
    gate: threading.Event | None = None


class WebStub(StubServer):
    """The server; ``url(path)`` gives addresses on it."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self._pages: dict[str, list[Page]] = {}
        self._pages_lock = threading.Lock()

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def page(self, path: str, body: str | bytes, *, status: int = 200, delay: float = 0.0, **headers: str) -> str:
        """Set a page and give back its URL; ``content_type="text/plain"`` sets that header."""
        data = body.encode() if isinstance(body, str) else body
        named = {name.replace("_", "-").title(): value for name, value in headers.items()}
        return self.script(path, [Page(body=data, status=status, headers=HTML | named, delay=delay)])

    def script(self, path: str, answers: Sequence[Page]) -> str:
        """Answers given in turn; the last one stays."""
        with self._pages_lock:
            self._pages[path] = list(answers)
        return self.url(path)

    def answer(self, handler: Handler, request: Recorded) -> None:
        if (page := self._next_page(request.path)) is not None:
            self.closing.wait(page.delay)
            if page.gate is not None:
                page.gate.wait(60)
            handler.send(page.status, page.body, page.headers)
            return
        query = dict(parse_qsl(request.query))
        name = request.path.split("/")[1].replace("-", "_").strip("_")
        builtin = getattr(self, f"_{name}") if name in _BUILTINS else None
        if builtin is None:
            handler.send(404, b"<html><body>There is no such page.</body></html>", HTML)
        else:
            builtin(handler, request, query)

    def _next_page(self, path: str) -> Page | None:
        with self._pages_lock:
            pages = self._pages.get(path)
            if not pages:
                return None
            return pages.pop(0) if len(pages) > 1 else pages[0]

    def _redirect(self, handler: Handler, request: Recorded, query: dict[str, str]) -> None:
        handler.send(int(query.get("status", 302)), b"moved", {"Location": query["to"]})

    def _delay(self, handler: Handler, request: Recorded, query: dict[str, str]) -> None:
        self.closing.wait(float(query["seconds"]))
        handler.send(200, b"<html><body><p>Slow page</p></body></html>", HTML)

    def _status(self, handler: Handler, request: Recorded, query: dict[str, str]) -> None:
        waits = {"Retry-After": query["retry_after"]} if "retry_after" in query else {}
        handler.send(int(query["code"]), b"as asked", {"Content-Type": "text/plain"} | waits)

    def _echo(self, handler: Handler, request: Recorded, query: dict[str, str]) -> None:
        said = {"method": request.method, "query": request.query, "headers": request.headers}
        body = json.dumps(said | {"body": request.body.decode("utf-8", "replace")}).encode()
        handler.send(200, body, {"Content-Type": "application/json"})

    def _hang(self, handler: Handler, request: Recorded, query: dict[str, str]) -> None:
        self.closing.wait(60)
        handler.close_connection = True

    def _drip(self, handler: Handler, request: Recorded, query: dict[str, str]) -> None:
        handler.send_chunks(200, HTML, self._every(float(query.get("seconds", 0.2)), b"x"))

    def _drip_headers(self, handler: Handler, request: Recorded, query: dict[str, str]) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        for byte in self._every(0.1, b"x"):
            handler.wfile.write(byte)
        handler.close_connection = True

    def _endless(self, handler: Handler, request: Recorded, query: dict[str, str]) -> None:
        handler.send_chunks(200, HTML, self._every(0, b"y" * 65536))

    def _bomb(self, handler: Handler, request: Recorded, query: dict[str, str]) -> None:
        encoding = query.get("encoding", "gzip")
        packer = zlib.compressobj(9, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
        packed = b"".join(packer.compress(bytes(2**20)) for _ in range(int(query["mib"]))) + packer.flush()
        handler.send(200, packed, HTML | {"Content-Encoding": encoding})

    def _bytes(self, handler: Handler, request: Recorded, query: dict[str, str]) -> None:
        body = b"z" * int(query["n"])
        if query.get("length") == "1":
            handler.send(200, body, HTML)
        else:
            handler.send_chunks(200, HTML, [body])

    def _counted(self, handler: Handler, request: Recorded, query: dict[str, str]) -> None:
        handler.send(200, f"<html><body><p>Page {request.path}</p></body></html>".encode(), HTML)

    def _counts(self, handler: Handler, request: Recorded, query: dict[str, str]) -> None:
        handler.send(200, json.dumps(self.counts()).encode(), {"Content-Type": "application/json"})

    def _every(self, seconds: float, chunk: bytes) -> Iterator[bytes]:
        while not self.closing.wait(seconds):
            yield chunk


_BUILTINS = frozenset(
    [
        "redirect",
        "delay",
        "status",
        "echo",
        "hang",
        "drip",
        "drip_headers",
        "endless",
        "bomb",
        "bytes",
        "counted",
        "counts",
    ]
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    with WebStub(parser.parse_args().port) as stub:
        print(f"ready: {stub.url('')}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
