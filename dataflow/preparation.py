"""What an installation needs before its first process starts: tables, static and sample files, at first examples."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection, transaction
from django.db.migrations.executor import MigrationExecutor

from executions.samples import SAMPLE_WORKFLOWS, keep_samples
from workflows import services
from workflows.models import Workflow

EXAMPLES = Path(settings.BASE_DIR) / "examples"
#: The example that the first start executes.
HELLO_WORLD = "hello-world"
#: Any number will do, as long as no other program on the same database uses it.
_ADVISORY_LOCK = 0x0DA7AF10


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstStart:
    """What a first start made: the password of ``admin``, and the workflow ids of the examples by file name."""

    password: str
    workflows: dict[str, str]


def prepare() -> FirstStart | None:
    """Bring tables, static files and sample files up to date; fill a new database. ``None`` when it was not new.

    Several processes may do this at the same time: one works, the others wait. ``CommandError`` says what is missing.
    """
    with _one_at_a_time(Path(settings.DATA_DIR)):
        if pending_migrations():
            call_command("migrate", interactive=False, verbosity=0)
        if not settings.DEBUG:
            collect_static()
        keep_samples()
        return _fill_new_database()


def pending_migrations() -> list[str]:
    """Names of the migrations that the database does not have yet. ``CommandError`` when it cannot be reached."""
    try:
        executor = MigrationExecutor(connection)
    except OperationalError as error:
        message = f"The database cannot be reached: {str(error).strip()}\nIs it running, and is DATABASE_URL right?"
        raise CommandError(message) from error
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [str(migration) for migration, _ in plan]


def collect_static() -> None:
    """Collect and compress static files, unless the same ones were collected before."""
    stamp = Path(settings.STATIC_ROOT) / ".collected"
    fingerprint = _static_fingerprint()
    if not stamp.exists() or stamp.read_text() != fingerprint:
        call_command("collectstatic", interactive=False, verbosity=0, clear=True)
        stamp.write_text(fingerprint)


def example_documents() -> dict[str, Any]:
    """The example workflows by file name, without the ending."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(EXAMPLES.glob("*.json"))}


def _static_fingerprint() -> str:
    digest = hashlib.sha256()
    for finder in get_finders():
        for name, storage in finder.list([]):
            digest.update(f"{name}:{storage.size(name)}:{storage.get_modified_time(name).timestamp()}\n".encode())
    return digest.hexdigest()


def _fill_new_database() -> FirstStart | None:
    """Examples and the user ``admin``, both or neither. A database that has users is not new."""
    users = get_user_model().objects
    with transaction.atomic():
        if users.exists():
            return None
        workflows = {
            name: services.create_workflow(document=document, workflow_id=_sample_id(name)).workflow.id
            for name, document in example_documents().items()
        }
        password = secrets.token_urlsafe(12)
        users.create_superuser("admin", password=password)
    return FirstStart(password=password, workflows=workflows)


def _sample_id(name: str) -> str | None:
    """The id that an example must have, unless an earlier life of this database left it taken."""
    wanted = SAMPLE_WORKFLOWS.get(name)
    return None if Workflow.objects.filter(pk=wanted).exists() else wanted


@contextlib.contextmanager
def _one_at_a_time(data_dir: Path) -> Iterator[None]:
    """Held by one process at a time. The kernel lets go of it when the process ends, however it ends."""
    path = data_dir / "prepare.lock"
    with _locked(path), _database_lock():
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """The lock on the file that is at ``path`` once it is held: the one before it may have been removed meanwhile."""
    while True:
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield
                return


@contextlib.contextmanager
def _database_lock() -> Iterator[None]:
    """The same across machines, where the database has such a lock."""
    if connection.vendor != "postgresql":
        yield
        return
    try:
        cursor = connection.cursor()
    except OperationalError:
        yield  # what comes next meets the same error and says so
        return
    with cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [_ADVISORY_LOCK])
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_ADVISORY_LOCK])
