"""A folder for the temporary files of one worker process: who is killed leaves it, and the next to start removes it."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

from django.conf import settings

_FOLDER = "scratch"
#: Of a host's name, as far as it goes into a name: folders on a shared disk are each machine's own.
_HOST_CHARACTERS = 60


def claim() -> Path:
    """Make this process's own folder the one for temporary files; remove those of processes that are gone."""
    parent = Path(settings.DATA_DIR) / _FOLDER
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_left(parent)
    mine = parent / f"{_host()}.{os.getpid()}"
    shutil.rmtree(mine, ignore_errors=True)  # of an earlier process with the same number
    mine.mkdir(mode=0o700)
    tempfile.tempdir = str(mine)
    return mine


def leave(mine: Path) -> None:
    """Remove the folder and all that is in it."""
    shutil.rmtree(mine, ignore_errors=True)


def _remove_left(parent: Path) -> None:
    for folder in parent.glob(f"{_host()}.*"):
        number = folder.name.rpartition(".")[2]
        if number.isdecimal() and not _is_alive(int(number)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    with suppress(PermissionError):  # somebody else's, but alive
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
    return True


def _host() -> str:
    name = socket.gethostname()[:_HOST_CHARACTERS]
    return "".join(character if character.isalnum() or character == "-" else "-" for character in name)
