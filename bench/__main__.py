"""``python -m bench [--database postgresql] [--database sqlite]``: measures, prints a table, writes JSON.

The work is that of ../shared/spec/7-performance.md: three trivial tasks (a 13-character text, reversed, passed on),
started over HTTP, every step durable, read back over HTTP; and workflows that wait 2 s on a web server.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench.installation import Installation, installation

THREE_STEPS = {
    "title": "Three steps",
    "tasks": [
        {"name": "one", "type": "text.static", "inputs": {"text": "Hello, world!"}},
        {"name": "two", "type": "text.reverse", "inputs": {"text": "{{tasks.one.outputs.text}}"}},
        {"name": "three", "type": "text.echo", "inputs": {"text": "{{tasks.two.outputs.text}}"}},
    ],
    "outputs": [{"name": "text", "type": "text", "value": "{{tasks.three.outputs.text}}"}],
}
ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED"})


class _Slow(BaseHTTPRequestHandler):
    """Answers after two seconds."""

    def do_GET(self) -> None:
        time.sleep(2)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        """Say nothing."""


class _SlowServer(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True


def latency(running: Installation, workflow: str, *, number: int) -> dict[str, float]:
    """POST to COMPLETED one at a time, the status asked for every 5 ms; milliseconds."""
    times = []
    for _ in range(number):
        start = time.perf_counter()
        accepted = running.call("POST", f"/workflows/{workflow}/executions", {})
        _until_ended(running, accepted["url"], pause=0.005)
        times.append((time.perf_counter() - start) * 1000)
    ordered = sorted(times)
    return {"p50_ms": statistics.median(times), "p95_ms": ordered[int(len(ordered) * 0.95)], "number": number}


def throughput(running: Installation, workflow: str, *, number: int, clients: int = 20) -> dict[str, float]:
    """Executions a second, ``clients`` callers that each start one and wait for its end."""

    def one(_: int) -> None:
        answer = running.call("POST", f"/workflows/{workflow}/executions?wait=60", {})
        if answer["status"] != "COMPLETED":
            raise RuntimeError(f"{answer['url']} is {answer['status']}")

    seconds = _timed(one, number, clients)
    return {"per_second": number / seconds, "seconds": seconds, "number": number, "clients": clients}


def waiting(running: Installation, *, number: int) -> dict[str, float]:
    """Seconds until ``number`` executions that each wait 2 s on a web server have ended."""
    server = _SlowServer(("127.0.0.1", 0), _Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    document = {"title": "Waits", "tasks": [{"name": "page", "type": "web.download", "inputs": {"url": url}}]}
    workflow = running.call("POST", "/workflows", document)["workflow_id"]
    start = time.perf_counter()
    urls = [running.call("POST", f"/workflows/{workflow}/executions", {})["url"] for _ in range(number)]
    for execution in urls:
        _until_ended(running, execution, pause=0.05)
    seconds = time.perf_counter() - start
    server.shutdown()
    return {"seconds": seconds, "number": number}


def _until_ended(running: Installation, url: str, *, pause: float) -> None:
    while (found := running.call("GET", url))["status"] not in ENDED:
        time.sleep(pause)
    if found["status"] != "COMPLETED":
        raise RuntimeError(f"{url} is {found['status']}: {found['error']}")


def _timed(work: Callable[[int], None], number: int, clients: int) -> float:
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(work, range(number)))
    return time.perf_counter() - start


def measure(database: str, *, rounds: int, executions: int) -> dict[str, Any]:
    """All measures on one database; medians of ``rounds``."""
    with (
        tempfile.TemporaryDirectory(prefix="dataflow-bench-") as folder,
        installation(Path(folder), database) as running,
    ):
        workflow = running.call("POST", "/workflows", THREE_STEPS)["workflow_id"]
        latency(running, workflow, number=10)  # warms up
        latencies = [latency(running, workflow, number=50) for _ in range(rounds)]
        throughputs = [throughput(running, workflow, number=executions) for _ in range(rounds)]
        return {
            "latency p50 (ms)": _median(latencies, "p50_ms"),
            "latency p95 (ms)": _median(latencies, "p95_ms"),
            f"{executions} executions, 20 at a time (per second)": _median(throughputs, "per_second"),
            "50 executions that wait 2 s (s)": waiting(running, number=50)["seconds"],
        }


def _median(results: list[dict[str, float]], name: str) -> float:
    return round(statistics.median(result[name] for result in results), 1)


def main() -> None:
    """Measure what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--database", action="append", choices=("postgresql", "sqlite"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--executions", type=int, default=500)
    parser.add_argument("--output", type=Path, default=Path("bench-results.json"))
    options = parser.parse_args()
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
    results = {}
    for database in options.database or ["postgresql", "sqlite"]:
        results[database] = measure(database, rounds=options.rounds, executions=options.executions)
        for name, value in results[database].items():
            print(f"{database:<12} {name:<48} {value:>10.1f}", flush=True)
    options.output.write_text(json.dumps({"machine": machine, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
