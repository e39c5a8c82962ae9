"""``manage.py up``: everything that an installation on one machine is, from one command."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException
from typing import IO, Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import connections

from dataflow.preparation import HELLO_WORLD, FirstStart, prepare
from dataflow.processes import child_environment, web_command, worker_command
from dataflow.supervisor import ChildFailed, StopSwitch, Supervisor, own_foreground

#: Seconds.
_READY_TIMEOUT = 60.0
_VOICE_TIMEOUT = 30.0
_HELLO_TIMEOUT = 30.0
_HTTP_TIMEOUT = 5.0
#: Deaths of one process while starting, after which starting is given up.
_DEATHS = 3
_ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED"})
#: Bytes of it that are looked at.
_VOICE_OUTPUT = 65_536
_VOICE_LINE = re.compile(rb"^ready: (http://\S+)$", re.MULTILINE)

Write = Callable[[str], None]


def run(write: Write) -> None:
    """Prepare, start everything, say ``ready: …``, and stay until a signal. ``CommandError`` says what is wrong."""
    with own_foreground(), StopSwitch() as switch:
        require_free_port(settings.HOST, settings.PORT)
        first = prepare()
        if first is not None:
            write(f"admin user: admin   password: {first.password}   (shown this once; {_address()}admin/)")
        # Connections are the children's business from here on.
        connections.close_all()
        switch.interrupting = False
        supervisor = Supervisor(environment=child_environment(), switch=switch, report=write)
        try:
            _start_and_stay(supervisor, first, write)
        except ChildFailed as error:
            raise CommandError(f"{error} What it said stands above.") from error
        finally:
            supervisor.stop()


def require_free_port(host: str, port: int) -> None:
    """Raise ``CommandError`` when the web server could not listen there."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise CommandError(f"HOST is {host!r}, which is no address of this machine. Set HOST=127.0.0.1.") from error
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise CommandError(_port_problem(host, port, error)) from error


def _start_and_stay(supervisor: Supervisor, first: FirstStart | None, write: Write) -> None:
    if _needs_local_voice() and not _start_local_voice(supervisor, write):
        return
    supervisor.start("web", web_command(settings.HOST, settings.PORT))
    supervisor.start("worker", worker_command())
    if not supervisor.wait_for(_is_ready, timeout=_READY_TIMEOUT, deaths=_DEATHS):
        if supervisor.switch.pressed:
            return
        _, answer = _call("GET", "/readyz")
        raise CommandError(f"Not ready after {_READY_TIMEOUT:g} s. /readyz says: {json.dumps(answer)}")
    write(f"ready: {_address()}")
    if first is not None and settings.DEBUG:
        _say_hello(supervisor, first.workflows[HELLO_WORLD], write)
    supervisor.run()


def _needs_local_voice() -> bool:
    """Only where ``provider_for`` would use it."""
    used = not settings.OPENAI_API_KEY and not settings.OPENAI_BASE_URL
    return settings.DEBUG and used and not settings.DATAFLOW_LOCAL_VOICE_URL


def _start_local_voice(supervisor: Supervisor, write: Write) -> bool:
    """Start it and tell the children its address. ``False`` when a signal came meanwhile."""
    command = [sys.executable, "-m", "tasks_lib.clients.localvoice", "--port", str(_free_port())]
    with tempfile.TemporaryFile() as output:
        supervisor.start("local voice", command, stdout=output)
        supervisor.wait_for(lambda: bool(_voice_url(output)), timeout=_VOICE_TIMEOUT, deaths=_DEATHS)
        url = _voice_url(output)
    if url:
        supervisor.environment = dict(supervisor.environment) | {"DATAFLOW_LOCAL_VOICE_URL": url}
        write(f"no OPENAI_API_KEY: speech is made by the local voice at {url}")
    elif not supervisor.switch.pressed:
        raise CommandError(f"The local voice did not start in {_VOICE_TIMEOUT:g} s. OPENAI_API_KEY does without it.")
    return bool(url)


def _voice_url(output: IO[bytes]) -> str:
    # Not by seeking: the child writes at the same file position.
    found = _VOICE_LINE.search(os.pread(output.fileno(), _VOICE_OUTPUT, 0))
    return found[1].decode() if found else ""


def _say_hello(supervisor: Supervisor, workflow: str, write: Write) -> None:
    """Execute the Hello World example, so that the first page a newcomer opens shows a finished execution."""
    path = f"/workflows/{workflow}/executions"
    status, started = _call("POST", path, {"inputs": {"text": "Hello, world"}})
    if status != 201:
        write(f"the Hello World example was not started: {started.get('detail', status)}")
        return
    path = f"{path}/{started['workflow_execution_id']}"
    last: dict[str, Any] = started

    def has_ended() -> bool:
        nonlocal last
        status, answer = _call("GET", path)
        last = answer if status == 200 else last
        return last.get("status") in _ENDED

    supervisor.wait_for(has_ended, timeout=_HELLO_TIMEOUT)
    if not supervisor.switch.pressed:
        write(f"Hello World: {last.get('status')}, look and listen at {_address().rstrip('/')}{path}")


def _is_ready() -> bool:
    return _call("GET", "/readyz")[0] == 200


def _call(method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
    """Ask our own web server on loopback: status and JSON, ``(0, {})`` when it does not answer (yet)."""
    connection = HTTPConnection(_loopback(), settings.PORT, timeout=_HTTP_TIMEOUT)
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    with contextlib.closing(connection):
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            answer = json.loads(response.read() or b"{}")
        except (OSError, HTTPException, ValueError):
            return 0, {}
    return response.status, answer if isinstance(answer, dict) else {}


def _address() -> str:
    host = _loopback()
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.PORT}/"


def _loopback() -> str:
    """Where this machine reaches the server: ``HOST``, unless that means every address."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.HOST, str(settings.HOST))  # noqa: S104 - compared only


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _port_problem(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        other = port + 1 if port < 65535 else port - 1
        return f"Port {port} on {host} is in use. Stop what uses it, or take another: PORT={other} make run"
    if error.errno == errno.EACCES:
        return f"Port {port} is reserved for root. Take one above 1023: PORT=8000 make run"
    return f"The server cannot listen on {host}, port {port}: {error.strerror}. Set HOST and PORT."
