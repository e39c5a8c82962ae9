"""A proxy on loopback, for one program at a time: its way out, under the same address rules as every other.

A program that resolves names by itself could be led to inside addresses. It gets this proxy instead, with a password of
its own. Each connection goes through ``Lifeline.connect``: what was checked is what is connected to. Bytes are counted,
hosts can be restricted, and all ends when the task is cancelled.
"""

from __future__ import annotations

import base64
import re
import secrets
import select
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from math import inf
from urllib.parse import urlsplit

from dataflow.lib.addresses import AddressPolicy
from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from dataflow.lib.lifeline import Lifeline, Resolver

#: Bytes of a request's head, connections at the same time, and seconds that one may last.
MAX_HEAD, MAX_CONNECTIONS, LONGEST = 64 * 1024, 32, 3600.0
_CHUNK = 64 * 1024
_REQUEST = re.compile(rb"([A-Z]{1,20}) (\S{1,8192}) HTTP/1\.[01]\r\n")
#: Headers between the program and the proxy, which the server is not to see; a connection is for one request.
_OURS = re.compile(rb"^(?:proxy-[^:]*|connection|keep-alive):[^\r\n]*\r\n", re.IGNORECASE | re.MULTILINE)

_LENGTH = re.compile(rb"^content-length:[ \t]*(\d{1,15})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Where the proxy goes. ``may_reach`` decides by name, besides the address rules of ``policy``."""

    policy: AddressPolicy
    resolve: Resolver
    may_reach: Callable[[str], bool]
    #: Bytes that may come back, all answers together.
    max_bytes: int


class ForwardProxy:
    """A proxy: ``url`` is what the program is given, ``refused`` the errors of what it did not let through."""

    def __init__(self, rules: Rules, cancellation: Cancellation) -> None:
        self.rules = rules
        self.cancellation = cancellation
        self.refused: list[TaskError] = []
        self._password = secrets.token_hex(16)
        self._left = rules.max_bytes
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._server = _Server(self, None)

    @property
    def port(self) -> int:
        """Where it listens on loopback."""
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        """Its address with the password."""
        return f"http://task:{self._password}@127.0.0.1:{self.port}"

    @property
    def authorization(self) -> str:
        """The value of ``Proxy-Authorization`` that it asks for."""
        return "Basic " + base64.b64encode(f"task:{self._password}".encode()).decode()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve while the block runs. Nothing of it is left after that."""
        with self._stack:
            self._stack.enter_context(self._server.serving())
            yield

    def listen(self, door: socket.socket) -> None:
        """Serve on this listening socket too, of a network that only one program has."""
        self._stack.enter_context(_Server(self, door).serving())

    def take(self, size: int) -> None:
        """Count bytes that came back. Raises ``too_large`` when there are more than may be."""
        with self._lock:
            self._left -= size
            if self._left < 0:
                raise TaskError("too_large", f"More than {self.rules.max_bytes:,} bytes were downloaded.")


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, proxy: ForwardProxy, door: socket.socket | None) -> None:
        self.proxy = proxy
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._lines: set[Lifeline] = set()
        self._open = True
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler, bind_and_activate=door is None)
        if door is not None:
            self.socket.close()
            self.socket = door
            self.server_address = door.getsockname()

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Serve while the block runs."""
        thread = threading.Thread(target=self.serve_forever, args=[0.1], name="forward-proxy", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.shutdown()
            self.end_connections()
            self.server_close()  # waits for the threads of the connections
            thread.join()

    @contextmanager
    def line(self) -> Iterator[Lifeline]:
        """What cuts one connection off. Raises ``TaskError`` when the proxy has ended."""
        with self._slots, Lifeline(LONGEST, self.proxy.cancellation) as line:
            with self._lock:
                self._lines.add(line)
                if not self._open:
                    line.cut()
            try:
                yield line
            finally:
                with self._lock:
                    self._lines.discard(line)

    def end_connections(self) -> None:
        """Cut all connections off, and those to come."""
        with self._lock:
            self._open = False
            for line in self._lines:
                line.cut()


class _Handler(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        """One connection: one request, passed on."""
        proxy = self.server.proxy
        with suppress(OSError, TaskError), self.server.line() as line:
            line.hold(self.request)
            self.request.settimeout(line.remaining())
            if (head := self._head()) is None:
                return
            try:
                self._pass_on(head, proxy, line)
            except TaskError as error:
                if error.code in ("blocked_address", "too_large"):
                    proxy.refused.append(error)
                self._answer(403, "Refused")
            except (OSError, ValueError):  # also a port that is none
                self._answer(502, "Bad gateway")

    def _head(self) -> bytes | None:
        """The head of the request with what came behind it, ``None`` where there is none or it is not for us."""
        head = b""
        while b"\r\n\r\n" not in head:
            data = self.request.recv(_CHUNK)
            head += data
            if not data or len(head) > MAX_HEAD:
                return None
        wanted = f"\r\nproxy-authorization: {self.server.proxy.authorization}\r\n".encode()
        if wanted.lower() not in head.partition(b"\r\n\r\n")[0].lower() + b"\r\n":
            self._answer(407, "Proxy authentication required", 'Proxy-Authenticate: Basic realm="task"\r\n')
            return None
        return head

    def _pass_on(self, head: bytes, proxy: ForwardProxy, line: Lifeline) -> None:
        asked = _REQUEST.match(head)
        if asked is None:
            self._answer(400, "Bad request")
            return
        method, target = asked[1], asked[2].decode("ascii")
        tunnel = method == b"CONNECT"
        parts = urlsplit(f"//{target}" if tunnel else target)
        host, port = parts.hostname, parts.port or (443 if tunnel else 80)
        if not host or (not tunnel and parts.scheme != "http"):
            self._answer(400, "Bad request")
            return
        if not proxy.rules.may_reach(host):
            raise TaskError("blocked_address", f"The download leads to {host[:200]}, which is not among its hosts.")
        with line.connect(host, port, proxy.rules.policy, proxy.rules.resolve) as server:
            to_come: float = inf
            if tunnel:
                self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                server.sendall(head.partition(b"\r\n\r\n")[2])
            else:
                path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                server.sendall(_rewritten(head, method, path))
                to_come = _body_length(head) - len(head.partition(b"\r\n\r\n")[2])
            _relay(self.request, server, proxy, line, to_come, is_tunnel=tunnel)

    def _answer(self, status: int, reason: str, header: str = "") -> None:
        with suppress(OSError):
            self.request.sendall(
                f"HTTP/1.1 {status} {reason}\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
            )


def _rewritten(head: bytes, method: bytes, path: str) -> bytes:
    """The request as a server gets it."""
    before, _, body = head.partition(b"\r\n\r\n")
    headers = _OURS.sub(b"", before.partition(b"\r\n")[2] + b"\r\n")
    return method + b" " + path.encode("ascii") + b" HTTP/1.1\r\n" + headers + b"Connection: close\r\n\r\n" + body


def _body_length(head: bytes) -> int:
    """Bytes of the request's body. A second request on the connection is not passed on: it could be for another."""
    found = _LENGTH.search(head.partition(b"\r\n\r\n")[0])
    return 0 if found is None else int(found[1])


def _closing(answer: bytes) -> bytes:
    """The beginning of an answer, saying that nothing can follow it: a client that kept the connection would be cut."""
    before, _, body = answer.partition(b"\r\n\r\n")
    status, _, headers = before.partition(b"\r\n")
    kept = _OURS.sub(b"", headers + b"\r\n") if headers else b""
    return status + b"\r\n" + kept + b"Connection: close\r\n\r\n" + body


def _relay(
    client: socket.socket,
    server: socket.socket,
    proxy: ForwardProxy,
    line: Lifeline,
    to_come: float,
    *,
    is_tunnel: bool,
) -> None:
    """Both ways until either side has ended, or the client has sent more than the ``to_come`` bytes it may."""
    beginning: bytes | None = None if is_tunnel else b""
    while True:
        ready, _, _ = select.select([client, server], [], [], max(line.remaining(), 0.001))
        line.check()
        if server in ready:
            data = server.recv(_CHUNK)
            if not data:
                client.sendall(beginning or b"")
                return
            proxy.take(len(data))
            if beginning is not None:
                beginning += data
                is_whole = b"\r\n\r\n" in beginning
                data = _closing(beginning) if is_whole else beginning if len(beginning) > MAX_HEAD else b""
                beginning = None if data else beginning
            client.sendall(data)
        if client in ready:
            data = client.recv(_CHUNK)
            to_come -= len(data)
            if not data or to_come < 0:
                return
            server.sendall(data)
