"""``python -m bench.client``: the callers, in a process of their own, so that what they cost is known.

Reads a ``Job`` as JSON from standard input and writes what came of it. Requests are written to kept connections and
answers are read with no more parsing than is needed: on two cores each millisecond of the client is one less for us.
"""

from __future__ import annotations

import itertools
import json
import re
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED"})
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSED = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_TIMEOUT = 150.0


class Connection:
    """A kept HTTP/1.1 connection to a server on loopback; made anew when the server closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of an answer. Raises ``OSError`` when there is none."""
        status, content = self.send(message(method, path, body))
        return status, json.loads(content)

    def send(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer to a ready-made request."""
        kept = self._socket is not None
        try:
            return self._exchange(request)
        except ConnectionError:
            self.close()
            if not kept:
                raise
            return self._exchange(request)  # the server had given up an idle connection: nothing was read of it

    def close(self) -> None:
        """Let go."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, request: bytes) -> tuple[int, bytes]:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=_TIMEOUT)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(request)
        read = b""
        while (end := read.find(b"\r\n\r\n")) < 0:
            read += self._more(self._socket)
        head, body = read[:end], bytearray(read[end + 4 :])
        if (length := _LENGTH.search(head)) is None:
            raise RuntimeError(f"An answer without Content-Length: {head[:500]!r}")
        while len(body) < int(length[1]):
            body += self._more(self._socket)
        if _CLOSED.search(head):
            self.close()
        return int(head[9:12]), bytes(body)

    @staticmethod
    def _more(opened: socket.socket) -> bytes:
        if not (part := opened.recv(65536)):
            raise ConnectionResetError("The server closed the connection.")
        return part


def message(method: str, path: str, body: Any = None) -> bytes:
    """The bytes of a request."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + b"\r\n" + content


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """``number`` requests by ``clients`` callers, each waiting for its answer before its next."""

    port: int
    method: str = "POST"
    path: str
    body: Any = None
    number: int
    clients: int = 1
    #: The answer must say COMPLETED.
    ended: bool = False
    #: After the answer its ``url`` is read every so many seconds until it says that it has ended.
    poll: float | None = None

    def as_json(self) -> str:
        """For the client process."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a job took: wall-clock seconds, the client's own CPU seconds, and milliseconds of each request."""

    seconds: float
    cpu: float
    times: list[float]

    @property
    def per_second(self) -> float:
        """Requests a second."""
        return len(self.times) / self.seconds

    def percentile(self, share: float) -> float:
        """The time, in milliseconds, that ``share`` of the requests stayed within."""
        return sorted(self.times)[min(len(self.times) - 1, int(len(self.times) * share))]


def run(job: Job) -> Outcome:
    """Do the job in this process. Raises ``RuntimeError`` for an answer that is not the expected one."""
    request = message(job.method, job.path, job.body)
    numbers = itertools.count()
    times: list[float] = []
    ready = threading.Barrier(job.clients + 1)

    def caller() -> None:
        connection = Connection(job.port)
        ready.wait()
        while next(numbers) < job.number:
            start = time.perf_counter()
            _one(connection, request, job)
            times.append((time.perf_counter() - start) * 1000)
        connection.close()

    with ThreadPoolExecutor(job.clients) as pool:
        callers = [pool.submit(caller) for _ in range(job.clients)]
        ready.wait()
        start, cpu = time.perf_counter(), time.process_time()
        for each in callers:
            each.result()
    return Outcome(seconds=time.perf_counter() - start, cpu=time.process_time() - cpu, times=times)


def _one(connection: Connection, request: bytes, job: Job) -> None:
    status, content = connection.send(request)
    if status not in {200, 201, 202}:
        raise RuntimeError(f"{job.method} {job.path} was answered with {status}: {content[:500]!r}")
    if not job.ended and job.poll is None:
        return
    answer = json.loads(content)
    if job.poll is not None:
        look = message("GET", answer["url"])
        while (answer := json.loads(connection.send(look)[1]))["status"] not in ENDED:
            time.sleep(job.poll)
    if answer["status"] != "COMPLETED":
        raise RuntimeError(f"An execution is {answer['status']}: {answer.get('error')}")


if __name__ == "__main__":
    json.dump(asdict(run(Job(**json.load(sys.stdin)))), sys.stdout)
