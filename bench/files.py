"""A large file through a workflow: uploaded, packed, sent on, downloaded; the memory of every process is watched.

``through_a_workflow`` is what the measure ``files`` and tests/processes/test_files.py do.
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench.processes import tree

#: The largest file there may be, and what no process may need for it (issue 4).
MEBIBYTES, LIMIT_MB = 512, 300.0
_MIB = 1024 * 1024
#: Repeats within what a ZIP archive looks back, so that packing is quick and the archive small.
_BLOCK = random.Random(4).randbytes(16 * 1024)
_EVERY, _PATIENCE, _PAUSE = 0.1, 300.0, 2.0


class _Sink(BaseHTTPRequestHandler):
    """Takes whatever is posted, counts it and drops it."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        left = total = int(self.headers["Content-Length"])
        while left and (data := self.rfile.read(min(left, _MIB))):
            left -= len(data)
        body = json.dumps({"received": total - left}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def sink() -> Iterator[str]:
    """The address of a server on loopback that takes uploads."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Sink) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@contextmanager
def peaks_of(roots: Mapping[str, int]) -> Iterator[dict[str, float]]:
    """The most memory (MB, resident) that any process below each of these had while the block ran."""
    peaks = dict.fromkeys(roots, 0.0)
    stopped = threading.Event()
    for pid in roots.values():
        for process in tree([pid]):
            # The kernel counts the peak anew from here.
            Path(f"/proc/{process.pid}/clear_refs").write_text("5")

    def look() -> None:
        for name, pid in roots.items():
            for process in tree([pid]):
                with suppress(OSError):
                    peaks[name] = max(peaks[name], _peak(process.pid))

    def watch() -> None:
        while not stopped.wait(_EVERY):
            look()

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield peaks
    finally:
        look()
        stopped.set()
        watching.join()


def _peak(pid: int) -> float:
    """MB that a process had at most; 0 for one that has ended."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), 0.0)


def through_a_workflow(port: int, roots: Mapping[str, int], mebibytes: int) -> dict[str, float]:
    """Send a file through and give the peak of each of ``roots``, in MB. ``RuntimeError`` when something is wrong."""
    with sink() as address, peaks_of(roots) as peaks:
        stored = _upload(port, mebibytes)
        digest = hashlib.sha256()
        for chunk in _content(mebibytes):
            digest.update(chunk)
        _require(stored["sha256"] == digest.hexdigest(), f"the upload is {stored}")
        ended = _run(port, stored["file_id"], address)
        _require(ended["status"] == "COMPLETED", f"it ended with {ended['error']}")
        _require(ended["outputs"]["received"] > stored["size"], "not all of it was sent on")
        _require(_download(port, stored["url"]) == digest.hexdigest(), "the download is another file")
    return peaks


def _content(mebibytes: int) -> Iterator[bytes]:
    block = _BLOCK * (_MIB // len(_BLOCK))
    for number in range(mebibytes):
        yield number.to_bytes(8, "big") + block[8:]


def _upload(port: int, mebibytes: int) -> dict[str, Any]:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="large.bin"\r\n\r\n'
    end = b"\r\n--b--\r\n"

    def body() -> Iterator[bytes]:
        yield head
        yield from _content(mebibytes)
        yield end

    length = str(len(head) + mebibytes * _MIB + len(end))
    headers = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": length}
    stored: dict[str, Any] = _json(port, "POST", "/files", body(), headers)
    return stored


def _run(port: int, file_id: str, address: str) -> dict[str, Any]:
    """Packed into an archive, and sent on as it is."""
    send = {"url": address, "method": "POST", "files": {"file": "{{inputs.file}}"}}
    document = {
        "title": "A large file",
        "inputs": [{"name": "file", "type": "file"}],
        "tasks": [
            {"name": "pack", "type": "archive.zip", "inputs": {"files": ["{{inputs.file}}"]}},
            {"name": "send", "type": "http.request", "inputs": send, "depends_on": ["pack"]},
        ],
        "outputs": [
            {"name": "archive", "type": "any", "value": "{{tasks.pack.outputs.archive}}"},
            {"name": "received", "type": "any", "value": "{{tasks.send.outputs.json.received}}"},
        ],
    }
    workflow = _json(port, "POST", "/workflows", json.dumps(document).encode())["workflow_id"]
    path = f"/workflows/{workflow}/executions"
    started = _json(port, "POST", path, json.dumps({"inputs": {"file": file_id}}).encode())
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        shown: dict[str, Any] = _json(port, "GET", f"{path}/{started['workflow_execution_id']}")
        if shown["status"] not in ("PENDING", "RUNNING"):
            return shown
        time.sleep(_EVERY)
    raise RuntimeError("The execution did not end.")


def _download(port: int, url: str) -> str:
    """The digest of the content, read by a client that stops for a while: what it does not read is to wait on disk."""
    digest = hashlib.sha256()
    with _request(port, "GET", url) as response:
        digest.update(response.read(_MIB))
        time.sleep(_PAUSE)
        while chunk := response.read(_MIB):
            digest.update(chunk)
    with _request(port, "GET", url, headers={"Range": "bytes=1048576-2097151"}) as response:
        part = response.read()
    _require(part[:8] == (1).to_bytes(8, "big") and len(part) == _MIB, "the part is another one")
    return digest.hexdigest()


def _json(port: int, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
    given = {"Content-Type": "application/json"} | dict(headers or {})
    with _request(port, method, path, body, given) as response:
        return json.load(response)


@contextmanager
def _request(
    port: int, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> Iterator[HTTPResponse]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)) as connection:
        connection.request(method, path, body, {"Accept": "application/json"} | dict(headers or {}))
        response = connection.getresponse()
        if response.status >= 400:
            raise RuntimeError(f"{method} {path} was answered with {response.status}: {response.read(2000)!r}")
        yield response


def _require(good: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not good:
        raise RuntimeError(f"A large file went wrong: {otherwise}.")
