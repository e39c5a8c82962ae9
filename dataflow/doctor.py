"""``manage.py doctor``: what this installation has, what it lacks, and how to mend it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from django.conf import settings
from django.core.management.base import CommandError
from django.db import DatabaseError, connection
from django.db.models.functions import Now

from dataflow.preparation import pending_migrations
from executions.models import Worker
from tasks_lib.clients import ffmpeg

Level = Literal["ok", "warn", "fail"]
#: A worker that was not heard of for this long is gone.
_FRESH = timedelta(seconds=30)
_FFMPEG_TIMEOUT = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at. ``mend`` says what to do, and is empty when all is well."""

    name: str
    level: Level
    detail: str
    mend: str = ""

    def as_json(self) -> dict[str, str]:
        """For ``--json``."""
        return asdict(self)

    def as_line(self) -> str:
        """For people."""
        line = f"{self.level:4}  {self.name}: {self.detail}"
        return f"{line}\n      {self.mend}" if self.mend else line


def examine() -> Iterator[Finding]:
    """Look at everything. What needs the database is left out when it cannot be reached."""
    database = check_database()
    yield database
    if database.level != "fail":
        migrations = check_migrations()
        yield migrations
        if migrations.level == "ok":
            yield check_workers()
    for check in (check_storage, check_ffmpeg, check_speech):
        yield check()


def check_database() -> Finding:
    """Whether it answers."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        mend = "Start it, or mend DATABASE_URL. Empty means SQLite in DATA_DIR."
        return Finding(name="database", level="fail", detail=f"cannot be reached: {str(error).strip()}", mend=mend)
    where = connection.settings_dict["NAME"]
    return Finding(name="database", level="ok", detail=f"{connection.display_name}, {where}")


def check_migrations() -> Finding:
    """Whether the tables are those of this version."""
    try:
        pending = pending_migrations()
    except CommandError as error:
        return Finding(name="migrations", level="fail", detail=str(error), mend="See above.")
    if pending:
        mend = "`make run` applies them; so does manage.py migrate."
        detail = f"{len(pending)} are missing, the first is {pending[0]}"
        return Finding(name="migrations", level="fail", detail=detail, mend=mend)
    return Finding(name="migrations", level="ok", detail="all applied")


def check_workers() -> Finding:
    """Whether a worker gave a sign of life of late. The clock is the database's."""
    fresh = Worker.objects.filter(heartbeat_at__gt=Now() - _FRESH).count()
    if fresh:
        return Finding(name="workers", level="ok", detail=f"{fresh} at work")
    mend = "Start some: `make run`, or manage.py worker. Until then executions stay PENDING."
    return Finding(name="workers", level="fail", detail="none is running", mend=mend)


def check_storage() -> Finding:
    """Whether a file can be written where files are kept."""
    folder = Path(settings.DATA_DIR) / "files"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        mend = "Make room, give this user the right to write, or set DATA_DIR to another folder."
        return Finding(name="storage", level="fail", detail=f"{folder}: {error.strerror}", mend=mend)
    return Finding(name="storage", level="ok", detail=f"{folder} can be written")


def check_ffmpeg() -> Finding:
    """Whether the ffmpeg that would be used runs."""
    path = "ffmpeg"
    mend = "Reinstall the requirements (imageio-ffmpeg brings one), or: apt-get install ffmpeg"
    try:
        path = ffmpeg.binary()
        answer = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=_FFMPEG_TIMEOUT, check=True)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        return Finding(name="ffmpeg", level="fail", detail=f"{path} does not run: {error}", mend=mend)
    version = answer.stdout.split("\n", 1)[0].split(" Copyright")[0]
    return Finding(name="ffmpeg", level="ok", detail=f"{version}, {path}")


def check_speech() -> Finding:
    """Whether the OpenAI task types have a key, or speech at least the local voice."""
    if settings.OPENAI_API_KEY:
        detail = f"a key is set, for {settings.OPENAI_BASE_URL or 'api.openai.com'}"
        return Finding(name="openai", level="ok", detail=detail)
    mend = "Set OPENAI_API_KEY, or send X-OpenAI-Key with an execution."
    if settings.DEBUG:
        detail = "no key is set; `up` starts the local voice, which does speech only"
        return Finding(name="openai", level="warn", detail=detail, mend=mend)
    detail = "no key is set, so openai.* tasks need one with each execution"
    return Finding(name="openai", level="warn", detail=detail, mend=mend)
