"""Runs ffmpeg: own process group, limits, no environment, a private folder, and killed when its task is cancelled."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError

#: Containers that may be read. Playlists are not among them: one that is named x.mp4 makes ffmpeg read other files.
READABLE_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mp3,wav,ogg,flac,aac,mpegts,avi,flv,aiff,caf,amr,s16le"
#: Seconds of CPU, bytes of address space and bytes of one written file that a run may use.
CPU_SECONDS, ADDRESS_SPACE, FILE_SIZE = 3600, 4 * 1024**3, 2 * 1024**3
#: Seconds a run may take when its task has no deadline.
DEFAULT_TIMEOUT = 3600.0

_DURATION = re.compile(r"Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
_ERROR_TAIL = 2000


@cache
def binary() -> str:
    """Path of the ffmpeg to use: the environment's ``FFMPEG_BINARY``, else the one ``imageio-ffmpeg`` brings."""
    if named := os.environ.get("FFMPEG_BINARY"):
        return named
    import imageio_ffmpeg  # looks for its binary, which only media tasks need

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def source(path: Path, *options: str) -> list[str]:
    """The arguments that name ``path`` as an input, readable as a local media file and as nothing else."""
    return [*options, "-protocol_whitelist", "file", "-format_whitelist", READABLE_FORMATS, "-i", f"file:{path}"]


def run(arguments: Sequence[str], *, folder: Path, cancellation: Cancellation) -> None:
    """Run ffmpeg in ``folder`` with ``arguments`` (inputs from ``source``; outputs are names in ``folder``).

    Raises ``TaskError``: the cancellation's own, ``timeout``, or ``validation`` when it cannot do what is asked of it.
    """
    complaint, code = _run(["-loglevel", "error", "-y", *arguments], folder, cancellation)
    if code != 0:
        last = complaint.strip().splitlines()[-1:] or [f"it ended with {code}"]
        raise TaskError("validation", f"ffmpeg could not process the file: {last[0][:300]}")


def duration(path: Path, *, cancellation: Cancellation) -> float | None:
    """Length of a media file in seconds, ``None`` where it does not say."""
    said, _ = _run(["-loglevel", "info", *source(path)], path.parent, cancellation)
    if (found := _DURATION.search(said)) is None:
        return None
    hours, minutes, seconds = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _run(arguments: Sequence[str], folder: Path, cancellation: Cancellation) -> tuple[str, int]:
    """What it wrote to its error channel (the end of it) and its exit code."""
    cancellation.check()
    log = folder / "ffmpeg.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [binary(), "-nostdin", "-hide_banner", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            cwd=folder,
            env={},
            start_new_session=True,
        )
        _limit(process.pid)
        code = _wait(process, cancellation)
    cancellation.check()
    with log.open("rb") as said:
        head = said.read(64 * 1024)
        said.seek(max(said.tell(), log.stat().st_size - _ERROR_TAIL))
        return (head + said.read()).decode("utf-8", "replace"), code


def _wait(process: subprocess.Popen[bytes], cancellation: Cancellation) -> int:
    """Wait for the end, which comes by force at the deadline or when cancelled. Nothing of its group is left."""
    left = cancellation.remaining()
    timeout = DEFAULT_TIMEOUT if left is None else left
    try:
        with cancellation.interrupting(lambda: _kill(process)):
            return process.wait(timeout)
    except subprocess.TimeoutExpired:
        _kill(process)
        process.wait()
        cancellation.check()
        raise TaskError("timeout", f"ffmpeg took longer than {timeout:g} s.", retryable=True) from None
    finally:
        _kill(process)
        process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:  # else its number may be another's by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _limit(pid: int) -> None:
    """Limit a process from outside: code between fork and exec could deadlock in a process with threads."""
    if sys.platform == "linux":
        limits = ((resource.RLIMIT_CPU, CPU_SECONDS), (resource.RLIMIT_AS, ADDRESS_SPACE))
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            for kind, most in (*limits, (resource.RLIMIT_FSIZE, FILE_SIZE), (resource.RLIMIT_CORE, 0)):
                resource.prlimit(pid, kind, (most, most))
