"""Reads hostile files in a Python process of our own, within limits: a bug or a bomb takes that process, not a worker.

The readers are the modules of ``tasks_lib/apart``. They get a private folder, nothing of our environment and no
network, and give back a small JSON object and files in the folder.
"""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from tasks_lib.apart.entry import ANSWER, READING
from tasks_lib.base import JsonValue
from tasks_lib.clients import bounded

Reader = Literal["read_pdf", "read_docx", "change_image"]

#: What a reader may use: documents are read page by page, pictures are held whole, twice.
LIMITS: Mapping[Reader, bounded.Limits] = {
    "read_pdf": bounded.Limits(cpu_seconds=120, address_space=768 * 1024**2, file_size=256 * 1024**2, timeout=600.0),
    "read_docx": bounded.Limits(cpu_seconds=60, address_space=768 * 1024**2, file_size=256 * 1024**2, timeout=300.0),
    "change_image": bounded.Limits(
        cpu_seconds=120, address_space=1536 * 1024**2, file_size=512 * 1024**2, timeout=300.0
    ),
}
#: Bytes of the answer that are read.
MAX_ANSWER = 16 * 1024 * 1024
#: How Python, C++, mathematics libraries and the loader of libraries say that they get no more memory.
_NO_MEMORY = re.compile(r"MemoryError|bad_alloc|failed to allocate|failed to map segment|annot allocate memory")
_ROOT = Path(__file__).resolve().parents[2]
_BEGINNING = "import sys; sys.path.append(sys.argv[1]); from tasks_lib.apart.entry import main; main(sys.argv[2])"


def run(reader: Reader, *, folder: Path, cancellation: Cancellation, what: str, **order: JsonValue) -> dict[str, Any]:
    """What the reader says of the file ``SOURCE`` (``apart/entry.py``) in ``folder``.

    ``what`` names the file in messages: "The PDF". ``order`` is what the reader wants to know besides.
    Raises ``TaskError``: the reader's own, ``validation`` where the library failed on the file, ``too_large`` where it
    needed more than it may use, ``runtime`` where the reader does not start, or what ``bounded.run`` raises.
    """
    return ask(reader, order, folder=folder, cancellation=cancellation, limits=LIMITS[reader], what=what)


def ask(
    program: str,
    order: Mapping[str, JsonValue],
    *,
    folder: Path,
    cancellation: Cancellation,
    limits: bounded.Limits,
    what: str,
    on_line: bounded.OnLine | None = None,
    proxy: bounded.Proxy | None = None,
) -> dict[str, Any]:
    """As ``run``, for any module of ``tasks_lib/apart``; ``on_line`` and ``proxy`` as ``bounded.run`` has them."""
    finished = bounded.run(
        [sys.executable, "-I", "-X", "utf8", "-c", _BEGINNING, str(_ROOT), program],
        folder=folder,
        cancellation=cancellation,
        limits=limits,
        stdin=json.dumps(order).encode(),
        environment=_environment(),
        on_line=on_line,
        proxy=proxy,
    )
    if finished.code != 0:
        raise _failure(finished, limits, what)
    with (folder / ANSWER).open("rb") as file:
        answer = json.loads(file.read(MAX_ANSWER))
    if (error := answer.get("error")) is not None:
        raise TaskError(error["code"], error["message"])
    result: dict[str, Any] = answer["result"]
    return result


def _environment() -> dict[str, str]:
    """What the interpreter itself needs: its library, where that lies in an odd place; and to reserve little memory."""
    return {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ} | {"MALLOC_ARENA_MAX": "2"}


def _failure(finished: bounded.Finished, limits: bounded.Limits, what: str) -> TaskError:
    said = finished.stderr.strip().splitlines()
    last = said[-1][:300] if said else f"its reader ended with {finished.code}"
    if finished.code == -signal.SIGXCPU:
        return TaskError("too_large", f"{what} could not be read: it took over {limits.cpu_seconds} s of computing.")
    if f"[Errno {errno.EFBIG}]" in last:  # Python ignores SIGXFSZ
        return TaskError("too_large", f"{what} could not be read: what comes out is over {limits.file_size:,} bytes.")
    if finished.code == -signal.SIGKILL or _NO_MEMORY.search(finished.stderr):
        most = (limits.data or limits.address_space) // 1024**2
        return TaskError("too_large", f"{what} could not be read: its reader needed more than {most} MiB of memory.")
    if READING not in finished.stdout:
        return TaskError("runtime", f"{what} could not be read, for no fault of it: its reader did not start: {last}")
    return TaskError("validation", f"{what} is damaged or not what it says it is; it could not be read: {last}")
