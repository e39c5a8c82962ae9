"""DBOS: installed into its own environment once, and started as its documentation says, with FastAPI and uvicorn."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.client import Connection
from bench.database import PostgresDatabase
from bench.installation import until
from bench.processes import free_port, memory, stop

_PACKAGES = ("dbos==3.4.0", "psycopg[binary]==3.3.9", "fastapi==0.165.0", "uvicorn==0.54.0")
_APP = Path(__file__).with_name("dbos_app.py")


class Peer:
    """A running peer."""

    name = _PACKAGES[0].replace("==", " ")

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self._process = process

    def finished(self) -> str:
        """The address of an execution that has ended."""
        return str(Connection(self.port).request("POST", "/run")[1]["url"])

    def memory(self) -> float:
        """MB of its processes."""
        return memory([self._process.pid])

    def ready(self) -> bool:
        """Whether it answers. Raises ``RuntimeError`` when it has ended."""
        if (code := self._process.poll()) is not None:
            raise RuntimeError(f"{self.name} ended with {code}.")
        try:
            return Connection(self.port).request("GET", "/ready")[0] == 200
        except OSError:
            return False


@contextmanager
def dbos(database: PostgresDatabase) -> Iterator[Peer]:
    """DBOS on ``database``, workflows called in the web process."""
    port = free_port()
    environment = os.environ | {"DBOS_SYSTEM_DATABASE_URL": database.url, "PORT": str(port)}
    process = subprocess.Popen([_python(), str(_APP)], env=environment)
    try:
        peer = Peer(port, process)
        until(peer.ready, seconds=60, what=Peer.name)
        yield peer
    finally:
        stop([process])


def _python() -> str:
    """The interpreter of the environment, made when there is none with these packages."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dataflow-bench"
    folder = cache / f"{_PACKAGES[0]}-python{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    if not (done := folder / "installed").exists():
        print(f"installing {', '.join(_PACKAGES)} into {folder} (once)", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "-qq", "--no-input", *_PACKAGES], check=True)
        done.touch()
    return str(python)
