"""A real installation for a test: web server and ``manage.py worker`` as processes, on a fresh database of either kind.

``live_stack`` is one of its own, ``shared_stack`` one for all tests of a pytest process that only add to it, and
``make_stack`` makes one with other settings. ``stack.get``, ``stack.post`` call its API; ``stack.kill_workers()`` is ``kill -9``
of every worker process, ``stack.restart()`` starts what is not running.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
import requests

from dataflow.processes import web_command, worker_command

#: Seconds.
READY_TIMEOUT = 60.0
STOP_TIMEOUT = 30.0
ROOT = Path(__file__).resolve().parents[2]

StackFactory = Callable[..., "Stack"]


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tree(pid: int) -> list[psutil.Process]:
    """A process and all its descendants; nothing when it is gone."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to those that are still there: SIGSTOP pauses, SIGCONT lets go on."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def wait_until(condition: Callable[[], object], *, timeout: float, what: str, every: float = 0.05) -> None:
    """Look ``every`` so many seconds; fail the test after ``timeout`` seconds."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not within {timeout:g} s: {what}")
        time.sleep(every)


class Stack:
    """Web server, workers and (with ``voice``) the local voice, in ``folder``, on the database ``database_url``."""

    def __init__(self, folder: Path, database_url: str, environment: Mapping[str, str], *, voice: bool) -> None:
        self.folder = folder
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.voice = voice
        self.environment = os.environ | {
            "DATA_DIR": str(folder / "data"),
            "DATABASE_URL": database_url,
            "PORT": str(self.port),
            "PYTHONPATH": str(ROOT),
            **environment,
        }
        #: What is started, and what of it has an environment or a process group of its own (0: a new one).
        self.commands = {"web": web_command("127.0.0.1", self.port), "worker": worker_command()}
        self.own_environment: dict[str, Mapping[str, str]] = {}
        self.process_group: int | None = None
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._http = requests.Session()
        self._http.trust_env = False

    # --- HTTP ---
    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Call the API; ``path`` begins with a slash."""
        options.setdefault("timeout", 30)
        options.setdefault("allow_redirects", False)
        return self._http.request(method, self.base_url + path, **options)

    def get(self, path: str, **options: Any) -> Any:
        """The JSON of a GET that must be answered with 200."""
        response = self.request("GET", path, **options)
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, path: str, document: Any, **options: Any) -> Any:
        """The JSON of a POST that must be answered with 2xx."""
        response = self.request("POST", path, json=document, **options)
        assert response.ok, response.text
        return response.json()

    def wait_for_execution(self, workflow: str, execution: str, *, timeout: float = 30.0) -> Any:
        """The execution once it has ended."""
        found: dict[str, Any] = {}

        def ended() -> bool:
            found.update(self.get(f"/workflows/{workflow}/executions/{execution}"))
            return found["status"] in {"COMPLETED", "FAILED", "CANCELLED"}

        wait_until(ended, timeout=timeout, what=f"{execution} ends (is {found.get('status')})")
        return found

    # --- processes ---
    def start(self) -> None:
        """Start what is not running, wait until ``/readyz`` says so. The database is a copy of a migrated one."""
        if not self.environment["DATABASE_URL"]:
            (self.folder / "data").mkdir(mode=0o700)
            shutil.copy(_template(), self.folder / "data" / "db.sqlite3")
        if self.voice:
            self._start_voice()
        self.restart()

    def restart(self) -> None:
        """Start what is not running (any more), and wait until ``/readyz`` says that it works.

        What ends meanwhile is started again: granian's parent ends when a child dies twice within a few seconds.
        """
        self.wait_until_ready(self.start_missing)

    def start_missing(self) -> None:
        """Start what is not running (any more), as a service manager does."""
        for name, command in self.commands.items():
            if name not in self.processes or self.processes[name].poll() is not None:
                self._launch(name, command)

    def wait_until_ready(self, each_time: Callable[[], None] = lambda: None) -> None:
        def ready() -> bool:
            each_time()
            with contextlib.suppress(requests.RequestException):
                return self.request("GET", "/readyz").status_code == 200
            return False

        try:
            wait_until(ready, timeout=READY_TIMEOUT, what="/readyz answers 200")
        except pytest.fail.Exception as failure:
            pytest.fail(f"{failure.msg}\n{self.log()}")

    def pids(self, name: str = "worker") -> list[int]:
        """The processes of ``web``, ``worker`` or ``voice``, the parent first."""
        return [process.pid for process in tree(self.processes[name].pid)]

    def kill_workers(self) -> None:
        """``kill -9`` of every worker process at once."""
        self.kill("worker")

    def kill_web(self) -> None:
        """``kill -9`` of the web server and all its processes."""
        self.kill("web")

    def kill(self, name: str) -> None:
        """``kill -9`` of a program and all its processes at once."""
        processes = tree(self.processes[name].pid)
        # All stand still first, so that no parent replaces a child that was killed before it.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            signal_all((process.pid for process in processes), number)
        self.processes[name].wait()
        psutil.wait_procs(processes, timeout=STOP_TIMEOUT)

    def end(self, name: str) -> int:
        """SIGTERM to a program, which is not to be started again; its exit code."""
        del self.commands[name]
        process = self.processes.pop(name)
        process.terminate()
        return process.wait(STOP_TIMEOUT)

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a management command on this installation."""
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def log(self) -> str:
        """What the processes said."""
        files = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')[-5000:]}" for file in files)

    def stop(self) -> None:
        """End all, politely, then for good."""
        self._http.close()
        known = [process for popen in self.processes.values() for process in tree(popen.pid)]
        for popen in self.processes.values():
            popen.terminate()
        signal_all((process.pid for process in known), signal.SIGCONT)  # what a test paused hears nothing else
        _, alive = psutil.wait_procs(known, timeout=STOP_TIMEOUT)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for popen in self.processes.values():
            popen.wait()

    def _launch(self, name: str, command: list[str]) -> None:
        environment = self.environment | dict(self.own_environment.get(name, {}))
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                process_group=self.process_group,
            )

    def _start_voice(self) -> None:
        port = free_port()
        self._launch("voice", [sys.executable, "-m", "tasks_lib.clients.localvoice", "--port", str(port)])
        said = self.folder / "voice.log"
        wait_until(lambda: "ready: http" in said.read_text(), timeout=READY_TIMEOUT, what="the local voice starts")
        self.environment["DATAFLOW_LOCAL_VOICE_URL"] = f"http://127.0.0.1:{port}/v1"


@functools.cache
def _template() -> str:
    """A migrated database to copy, made once a process: the path of a SQLite file, or the name of a PostgreSQL one."""
    folder = Path(tempfile.mkdtemp(prefix="template-", dir=os.environ["DATAFLOW_TEST_RUN_DIR"]))
    server = os.environ["DATABASE_URL"]
    name = f"template_{secrets.token_hex(6)}" if server else str(folder / "db.sqlite3")
    if server:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
    url = urlsplit(server)._replace(path=f"/{name}").geturl() if server else ""
    environment = os.environ | {"DATA_DIR": str(folder), "DATABASE_URL": url, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "manage.py"), "migrate", "--verbosity=0"]
    subprocess.run(command, env=environment, check=True, timeout=120)
    return name


@contextlib.contextmanager
def fresh_database(*, migrated: bool = False) -> Iterator[str]:
    """A ``DATABASE_URL`` of an empty database of the kind this run uses; empty for SQLite in the stack's own folder."""
    server = os.environ["DATABASE_URL"]
    if not server:
        yield ""
        return
    name = f"stack_{secrets.token_hex(6)}"
    template = f'TEMPLATE "{_template()}"' if migrated else ""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" {template}')
    try:
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextlib.contextmanager
def running_stack(folder: Path, environment: Mapping[str, str], *, voice: bool = False) -> Iterator[Stack]:
    """A started stack that is gone at the end of the block."""
    with fresh_database(migrated=True) as url:
        stack = Stack(folder, url, environment, voice=voice)
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()


@pytest.fixture
def make_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackFactory]:
    """Make a stack: ``make_stack(voice=True, WORKERS="1")``."""
    with contextlib.ExitStack() as stacks:

        def make(*, voice: bool = False, **environment: str) -> Stack:
            folder = tmp_path_factory.mktemp("stack")
            return stacks.enter_context(running_stack(folder, environment, voice=voice))

        yield make


@pytest.fixture
def live_stack(make_stack: StackFactory) -> Stack:
    """A stack of its own, for tests that kill or stop parts of it."""
    return make_stack()


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack with the local voice, for tests that only add to it."""
    with running_stack(tmp_path_factory.mktemp("shared"), {}, voice=True) as stack:
        yield stack


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start processes run one after the other in four lines, each in one process of pytest-xdist.

    So they share a stack where they can, and at most as many stacks as cores are at work.
    """
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.xdist_group("browser"))
        elif item.get_closest_marker("processes"):
            line = item.path.parent.name if item.path.parent.name in {"processes", "faults"} else "installation"
            item.add_marker(pytest.mark.xdist_group(line))
