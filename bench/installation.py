"""A fresh installation to measure: its own database, web server and workers, gone at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.client import Connection, Job, Outcome
from bench.database import Database
from bench.processes import cpu_seconds, free_port, stop, tree

#: The checkout to measure; another one is for comparing two states of the code with the same bench.
ROOT = Path(os.environ.get("BENCH_ROOT") or Path(__file__).resolve().parents[1]).resolve()
_READY_SECONDS = 60.0
WORKERS = 2
#: How the platform itself starts its processes.
_ASK = """
import json
from django.conf import settings
from dataflow import processes
web = processes.web_command(settings.HOST, settings.PORT)
print(json.dumps({"web": web, "worker": processes.worker_command(), "environment": processes.child_environment()}))
"""


def post(running: Installation, path: str, body: Any = None) -> Any:
    """The answer to a POST. Raises ``RuntimeError`` for a refusal."""
    return running.call("POST", path, {} if body is None else body)


class Installation:
    """What runs, and how to call it."""

    def __init__(self, folder: Path, database: Database, environment: Mapping[str, str] | None = None) -> None:
        self.database = database
        self.port = free_port()
        self._environment = os.environ | {
            "DEBUG": "1",
            "DATA_DIR": str(folder),
            "DATABASE_URL": database.url,
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "WORKERS": str(WORKERS),
            "LOG_LEVEL": "WARNING",
            "DJANGO_SETTINGS_MODULE": "dataflow.settings",
            "PYTHONPATH": str(ROOT),
            **(environment or {}),
        }
        self._commands: dict[str, Any] = {}
        self._web: list[subprocess.Popen[bytes]] = []
        self._workers: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Make the database, start the processes, wait until they are ready."""
        migrate = [sys.executable, str(ROOT / "manage.py"), "migrate", "--verbosity=0"]
        subprocess.run(migrate, env=self._environment, check=True, cwd=ROOT)
        told = subprocess.run(
            [sys.executable, "-c", _ASK], env=self._environment, check=True, cwd=ROOT, capture_output=True
        )
        self._commands = json.loads(told.stdout)
        self._web = [self._launch(self._commands["web"])]
        self.start_workers()
        until(self._ready, seconds=_READY_SECONDS, what="the web server")

    def stop(self) -> None:
        """End the processes."""
        stop([*self._web, *self._workers])

    def start_workers(self, machines: int = 1, *, processes: int = WORKERS, threads: int | None = None) -> None:
        """Start ``machines`` times ``manage.py worker``; comes back when each of their processes has made itself known.

        ``threads`` is the default of the platform unless given.
        """
        extra = {"WORKERS": str(processes)} | ({"WORKER_THREADS": str(threads)} if threads else {})
        self._workers = [self._launch(self._commands["worker"], **extra) for _ in range(machines)]
        until(lambda: self._known_workers() >= machines * processes, seconds=_READY_SECONDS, what="the workers")

    @contextmanager
    def other_workers(self, machines: int = 1, *, processes: int, threads: int | None = None) -> Iterator[None]:
        """Other workers for a while, instead of the usual ones."""
        stop(self._workers)
        self.start_workers(machines, processes=processes, threads=threads)
        try:
            yield
        finally:
            stop(self._workers)
            self.start_workers()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of an answer. Raises ``RuntimeError`` for a 4xx or 5xx."""
        connection = Connection(self.port)
        status, answer = connection.request(method, path, body)
        connection.close()
        if status >= 400:
            raise RuntimeError(f"{method} {path} was answered with {status}: {answer}")
        return answer

    def workflow(self, document: dict[str, Any]) -> str:
        """The address under which a new workflow's executions are started."""
        return f"/workflows/{self.call('POST', '/workflows', document)['workflow_id']}/executions"

    def run(self, path: str, **job: Any) -> Outcome:
        """What the client process makes of a ``Job``."""
        return run_client(Job(port=self.port, path=path, **job))

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far, by part. The database of SQLite is in its users'."""
        parts = {"web": self.web_pids, "worker": self.worker_pids, "database": list(self.database.pids)}
        return {part: cpu_seconds(pids) for part, pids in parts.items() if pids}

    @property
    def web_pids(self) -> list[int]:
        """The web server's first process."""
        return [process.pid for process in self._web]

    @property
    def worker_pids(self) -> list[int]:
        """The first process of each ``manage.py worker``."""
        return [process.pid for process in self._workers]

    def alive(self, path: str) -> int:
        """How many executions of the workflow of ``path`` have not ended."""
        query = "SELECT count(*) FROM executions_execution WHERE workflow_id = %s AND status IN ('PENDING', 'RUNNING')"
        return int(self.database.rows(query, [path.split("/")[2]])[0][0])

    def _launch(self, command: list[str], **extra: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, env=self._commands["environment"] | extra, cwd=ROOT)

    def _known_workers(self) -> int:
        known = {pid for (pid,) in self.database.rows("SELECT pid FROM executions_worker")}
        return sum(process.pid in known for process in tree(self.worker_pids))

    def _ready(self) -> bool:
        connection = Connection(self.port)
        try:
            return connection.request("GET", "/readyz")[0] == 200
        except OSError:
            return False
        finally:
            connection.close()


def run_client(job: Job) -> Outcome:
    """What the client process makes of a job. Raises ``RuntimeError`` with what it complained of."""
    command = [sys.executable, "-m", "bench.client"]
    here = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, input=job.as_json(), text=True, capture_output=True, cwd=here, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return Outcome(**json.loads(done.stdout))


def until(condition: Callable[[], bool], *, seconds: float, what: str, pause: float = 0.05) -> None:
    """Wait for ``condition``. Raises ``RuntimeError`` after ``seconds``."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"Waited {seconds:g} s for {what}.")
        time.sleep(pause)
