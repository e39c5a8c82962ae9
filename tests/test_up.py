"""``manage.py up`` as a newcomer meets it: a real process on a new folder, from the first line to the last process."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests
from cryptography.fernet import Fernet

from tests.plugins.stack import ROOT, free_port, fresh_database, tree, wait_until

pytestmark = [pytest.mark.processes, pytest.mark.slow]

READY, HELLO = "ready: ", "Hello World: "
#: Seconds.
START_TIMEOUT, STOP_TIMEOUT = 60.0, 30.0


class Up:
    """A running ``manage.py up`` and the lines it has printed so far."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.port = environment["PORT"]
        self.lines: list[str] = []
        self.seen: dict[int, psutil.Process] = {}
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), "up"],
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self.lines.extend(line.rstrip("\n") for line in lines)

    def wait_for_line(self, start: str) -> str:
        def there() -> bool:
            self.remember()
            return any(line.startswith(start) for line in self.lines) or self.process.poll() is not None

        wait_until(there, timeout=START_TIMEOUT, what=f"the line {start!r} (so far: {self.lines})")
        found = [line for line in self.lines if line.startswith(start)]
        assert found, self.lines
        return found[0]

    def finish(self) -> tuple[int, str]:
        """Wait until it ends by itself: exit code and all it said."""
        code = self.process.wait(START_TIMEOUT)
        self._reader.join(STOP_TIMEOUT)
        return code, "\n".join(self.lines)

    def remember(self) -> list[psutil.Process]:
        """Note all processes there are now, to look for them later."""
        now = tree(self.process.pid)
        self.seen |= {process.pid: process for process in now}
        return now

    def end(self, number: int = signal.SIGTERM) -> int:
        self.remember()
        self.process.send_signal(number)
        return self.process.wait(STOP_TIMEOUT)

    def survivors(self) -> list[psutil.Process]:
        _, alive = psutil.wait_procs(list(self.seen.values()), timeout=10)
        return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def start_up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Start ``up`` on this test's own data; again on the same when called again."""
    started: list[Up] = []
    with fresh_database() as url:
        common = {"DATABASE_URL": url, "DATA_DIR": str(tmp_path / "var"), "DEBUG": "1", "WORKERS": "1"}

        def start(**environment: str) -> Up:
            started.append(Up(common | {"PORT": str(free_port())} | environment))
            return started[-1]

        yield start
        for up in started:
            for process in up.remember():
                process.kill()
            up.process.wait()


def test_first_start_second_start_and_ctrl_c(start_up: Callable[..., Up]) -> None:
    first = start_up()
    assert first.wait_for_line(READY) == f"ready: http://127.0.0.1:{first.port}/"
    hello = first.wait_for_line(HELLO)
    assert "COMPLETED" in hello
    address = hello.rsplit(" ", 1)[1]
    execution = requests.get(address, headers={"Accept": "application/json"}, timeout=10).json()
    audio = execution["outputs"]["audio"]
    assert audio["content_type"].startswith("audio/")
    assert audio["size"] > 1000
    assert sum(re.search(r"password: \S{12,}", line) is not None for line in first.lines) == 1
    rows = requests.get(f"http://127.0.0.1:{first.port}/workflows", timeout=10).json()["workflows"]
    titles = ["Hello World Workflow", "Measure a text", "Reverse and echo", "Summarise a web page"]
    assert sorted(row["title"] for row in rows) == titles
    groups = {os.getpgid(process.pid) for process in first.remember() if process.pid != first.process.pid}
    assert len(groups) == 1
    assert first.end(signal.SIGINT) == 0
    assert first.survivors() == []

    second = start_up()
    second.wait_for_line(READY)
    assert second.end(signal.SIGTERM) == 0
    assert second.survivors() == []
    assert [line for line in second.lines if line.startswith((HELLO, "admin user"))] == []
    assert sum(line.startswith(READY) for line in second.lines) == 1
    assert not [line for line in first.lines + second.lines if "WARNING" in line or "ERROR" in line]


def test_two_first_starts_at_once_make_one_installation(start_up: Callable[..., Up]) -> None:
    both = [start_up(), start_up()]
    for up in both:
        up.wait_for_line(READY)
    lines = [line for up in both for line in up.lines]
    assert len([line for line in lines if line.startswith("admin user: admin")]) == 1
    rows = requests.get(f"http://127.0.0.1:{both[0].port}/workflows", timeout=10).json()["workflows"]
    assert len(rows) == 4
    assert [up.end() for up in both] == [0, 0]


def test_production(start_up: Callable[..., Up]) -> None:
    keys = {"SECRET_KEY": secrets.token_urlsafe(50), "DATAFLOW_ENCRYPTION_KEYS": Fernet.generate_key().decode()}
    up = start_up(DEBUG="0", DATAFLOW_LOCAL_VOICE_URL="http://127.0.0.1:1/v1", **keys)
    up.wait_for_line(READY)
    base = f"http://127.0.0.1:{up.port}"
    plain = requests.get(f"{base}/admin/login/", timeout=10, allow_redirects=False)
    assert (plain.status_code, plain.headers["Location"]) == (301, f"https://127.0.0.1:{up.port}/admin/login/")
    # As a proxy that speaks TLS passes it on.
    secure = requests.Session()
    secure.headers["X-Forwarded-Proto"] = "https"
    page = secure.get(f"{base}/admin/login/", timeout=10)
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert "'unsafe-inline'" not in page.headers["Content-Security-Policy"]
    (style, *_) = re.findall(r'href="(/static/admin/css/base\.[0-9a-f]{12}\.css)"', page.text)
    file = secure.get(base + style, timeout=10)
    assert (file.status_code, file.headers["Content-Type"]) == (200, 'text/css; charset="utf-8"')
    assert "immutable" in file.headers["Cache-Control"]
    assert secure.get(f"{base}/workflows", timeout=10).status_code == 401
    assert not any("local voice" in line or line.startswith(HELLO) for line in up.lines)
    assert up.end() == 0
    assert up.survivors() == []


@pytest.mark.any_database
def test_sigterm_while_starting_leaves_nothing(start_up: Callable[..., Up]) -> None:
    up = start_up()
    # Not earlier: before the program itself runs, Python's own handlers are in force.
    wait_until(lambda: len(up.remember()) > 1 or up.lines, timeout=START_TIMEOUT, what="up starts its first process")
    assert up.end() == 0
    assert up.survivors() == []


@pytest.mark.any_database
def test_kill_9_leaves_nothing(start_up: Callable[..., Up]) -> None:
    up = start_up()
    up.wait_for_line(READY)
    assert len(up.remember()) > 3
    assert up.end(signal.SIGKILL) == -signal.SIGKILL
    assert up.survivors() == []


@pytest.mark.any_database
def test_a_worker_that_dies_is_replaced(start_up: Callable[..., Up]) -> None:
    up = start_up()
    up.wait_for_line(READY)
    worker = next(process for process in up.remember() if process.cmdline()[-1:] == ["worker"])
    worker.kill()
    up.wait_for_line("the worker process ended with -9; starting it again in 1 s")

    def another() -> bool:
        children = psutil.Process(up.process.pid).children()
        return any(child.pid != worker.pid and child.cmdline()[-1:] == ["worker"] for child in children)

    wait_until(another, timeout=START_TIMEOUT, what="another worker runs")


@pytest.mark.any_database
def test_a_port_in_use_is_said_and_ends_with_1(start_up: Callable[..., Up]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, output = start_up(PORT=str(port)).finish()
    assert code == 1
    assert f"Port {port} on 127.0.0.1 is in use" in output
    assert f"PORT={port + 1} make run" in output


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"PORT": "http"}, "error: PORT is 'http', which does not work. Use a whole number from 1 to 65535."),
        ({"HOST": "no.such.host.invalid"}, "HOST is 'no.such.host.invalid', which is no address of this machine"),
        ({"DATA_DIR": "/dev/null/var"}, "error: DATA_DIR is '/dev/null/var', which does not work. It cannot be made"),
        ({"DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/x"}, "The database cannot be reached"),
        ({"DATABASE_URL": "mongodb://x"}, "error: DATABASE_URL is not understood"),
        ({"DEBUG": "0"}, "error: SECRET_KEY is not set, and DEBUG is off."),
    ],
)
@pytest.mark.any_database
def test_what_is_wrong_is_said_in_a_line_and_ends_with_1(
    start_up: Callable[..., Up], environment: dict[str, str], said: str
) -> None:
    code, output = start_up(**environment).finish()
    assert code == 1
    assert said in output
    assert "Traceback" not in output
    assert "hunter2" not in output


@pytest.mark.skipif(sys.platform != "linux", reason="the program `script` takes other arguments elsewhere")
@pytest.mark.any_database
def test_ctrl_c_on_a_terminal_reaches_up_alone_so_that_make_ends_well(tmp_path: Path) -> None:
    port = free_port()
    environment = {"DATABASE_URL": "", "DATA_DIR": str(tmp_path / "var"), "PORT": str(port), "WORKERS": "1"}
    # The shell stands for make: it would end at Ctrl-C before its echo, had it been told.
    inside = f"{shlex.quote(sys.executable)} {shlex.quote(str(ROOT / 'manage.py'))} up; echo ended with $?"
    terminal = subprocess.Popen(
        ["script", "-qec", inside, "/dev/null"],
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert terminal.stdin is not None
    assert terminal.stdout is not None
    lines: list[str] = []
    for line in terminal.stdout:
        lines.append(line.decode().strip())
        if lines[-1].startswith(READY):
            terminal.stdin.write(b"\x03")
            terminal.stdin.flush()
    terminal.stdin.close()
    terminal.stdout.close()
    assert terminal.wait(STOP_TIMEOUT) == 0
    # The terminal shows the ^C itself before it.
    assert lines[-1].endswith("ended with 0"), lines
