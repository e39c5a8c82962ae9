"""The command lines and the environment of the processes that an installation consists of."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from django.conf import settings


def child_environment() -> dict[str, str]:
    """The environment of the web server and the workers, which may be started from any folder."""
    path = os.pathsep.join(filter(None, [str(settings.BASE_DIR), os.environ.get("PYTHONPATH", "")]))
    return os.environ | {"DATA_DIR": str(settings.DATA_DIR), "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def web_command(host: str, port: int) -> list[str]:
    """The command line of the web server. Its own log says only what is wrong."""
    return [sys.executable, "-m", "dataflow.web", host, str(port), "1" if settings.DEBUG else "2"]


def worker_command() -> list[str]:
    """The command line of the workers."""
    return [sys.executable, str(Path(settings.BASE_DIR) / "manage.py"), "worker"]
