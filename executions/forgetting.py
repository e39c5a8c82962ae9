"""Deletes what is past its time: executions that ended long ago, files that nobody needs, and what crashes left.

All of it can be interrupted anywhere and done again. An execution is deleted before those it started: what it names is
there as long as it is. A file goes with the execution that made it, unless another one needs it (``references``).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Exists, Model, OuterRef, Q, QuerySet, TextField
from django.db.models.functions import Cast

from executions import blobs
from executions.database import database_now, writing
from executions.engine.state import ExecutionStatus
from executions.models import Delivery, DeliveryStatus, Execution, Hook, Schedule, StoredFile
from executions.references import named_among
from executions.samples import SAMPLES
from workflows.models import WorkflowVersion

#: Executions, or files, that are deleted in one transaction.
BATCH = 50
_ENDED = (ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """How many were deleted, or would be."""

    executions: int
    #: Given files that nobody needs.
    files: int
    #: What is in the storage, or was on its way there, and no row knows.
    leftovers: int


def forget() -> Forgotten:
    """Delete all that is past its time."""
    return Forgotten(executions=forget_executions(), files=forget_uploads(), leftovers=forget_leftovers())


def count() -> Forgotten:
    """What ``forget`` would delete at first: what is needed by that may follow."""
    executions, uploads = _old_executions(), _old_uploads()
    files = set() if uploads is None else set(uploads.values_list("pk", flat=True))
    return Forgotten(
        executions=0 if executions is None else executions.count(),
        files=len(files - _named()) if files else 0,
        leftovers=blobs.sweep_storage(dry_run=True) + blobs.sweep_spools(dry_run=True),
    )


def forget_executions(limit: int | None = None) -> int:
    """Delete executions that ended long ago, the oldest first, at most ``limit``. Returns how many."""
    found, old = 0, _old_executions()
    named: set[str] | None = None
    while old is not None and (limit is None or found < limit):
        ids = list(old.order_by("created_at", "pk").values_list("pk", flat=True)[:BATCH])
        if not ids:
            break
        named = _named() if named is None else named
        deleted = _delete_executions(old, ids, named)
        found += deleted
        if not deleted:
            break  # somebody else is at them
    return found


def forget_uploads() -> int:
    """Delete files that were given long ago and that nobody needs. Returns how many."""
    old = _old_uploads()
    if old is None or not old.exists():
        return 0
    found, last, named = 0, "", _named()
    while ids := list(old.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:BATCH]):
        last = ids[-1]
        found += blobs.delete_files([file_id for file_id in ids if file_id not in named])
    return found


def forget_leftovers(part: int | None = None) -> int:
    """Delete contents without a file, and what the storage has and no row knows, in one part or everywhere."""
    return blobs.delete_unused(part) + blobs.sweep_storage(part) + blobs.sweep_spools()


def part_of(now: datetime, seconds: float) -> int:
    """The part whose turn it is, where one is looked through every so many seconds: all of them within a day."""
    return int(now.timestamp() / seconds) % blobs.PARTS


def _old_executions() -> QuerySet[Execution] | None:
    """Those that ended long ago, whose starter (if one did) is gone, and whose webhooks were sent."""
    cutoff = _cutoff(settings.DATAFLOW_RETENTION_DAYS)
    if cutoff is None:
        return None
    unsent = Delivery.objects.filter(execution=OuterRef("pk"), status=DeliveryStatus.PENDING)
    # Nothing ends before it was made, and by the time of that there is an index.
    old = Execution.objects.filter(created_at__lt=cutoff, completed_at__lt=cutoff, status__in=_ENDED, parent=None)
    return old.filter(~Exists(unsent))


def _delete_executions(old: QuerySet[Execution], ids: Collection[str], named: Collection[str]) -> int:
    """Delete those of these executions that still are ``old``, and the files that only they needed."""
    with writing():
        # Not one that is just being resumed.
        free = old.filter(pk__in=ids).select_for_update(skip_locked=True).order_by("pk")
        mine = list(free.values_list("pk", flat=True))
        files = [file_id for file_id in _files_of(mine) if file_id not in named]
        Execution.objects.filter(pk__in=mine).delete()
        _, places = blobs.drop_files(files)
    blobs.delete_contents(places)
    return len(mine)


def _files_of(executions: Collection[str]) -> list[str]:
    """What they made, and what they needed of executions that are forgotten already. Uploads go by their own time."""
    made = Q(execution__in=executions)
    inherited = Q(execution=None, uses__execution__in=executions) & ~Q(task="")
    return list(StoredFile.objects.filter(made | inherited).order_by().values_list("pk", flat=True).distinct())


def _old_uploads() -> QuerySet[StoredFile] | None:
    """Those that no execution made or needs, given long ago."""
    cutoff = _cutoff(settings.DATAFLOW_FILE_RETENTION_DAYS)
    if cutoff is None:
        return None
    return StoredFile.objects.filter(execution=None, uses=None, created_at__lt=cutoff).exclude(pk__in=SAMPLES)


def _named() -> set[str]:
    """The files that schedules, hooks and definitions name: those may be needed any time."""
    places: tuple[tuple[type[Model], str], ...] = (
        (Schedule, "inputs"),
        (Hook, "inputs"),
        (WorkflowVersion, "definition"),
    )
    found: set[str] = set()
    for model, field in places:
        texts = model._default_manager.annotate(text=Cast(field, TextField()))  # noqa: SLF001 - Django's public name
        found |= named_among(texts.filter(text__contains="fl-").values_list("text", flat=True).iterator())
    return found


def _cutoff(days: int | None) -> datetime | None:
    return None if days is None else database_now() - timedelta(days=days)
