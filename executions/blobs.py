"""Contents in the storage: each is kept once, and goes with the last file that has it.

A content is written to this machine's disk first (``Spool``), which tells its digest. If the storage has none of that
digest it is moved there, under a name of its own, and then its row is written. So a crash leaves at worst what no row
knows; ``sweep_storage`` finds that. And the other way round a row is deleted before its content, under a lock, so that
no file ever points to a content that is gone: the database refuses whoever comes a moment too late, and ``keep`` begins
again with what it still holds.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Self

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import IntegrityError, connection

from dataflow.lib.fields import DatabaseNow
from dataflow.lib.ids import new_id
from dataflow.lib.sniffing import HEAD, TAIL, media_type
from executions.database import database_now, writing
from executions.models import Blob, FileUse, StoredFile

#: What no row knows is left alone for so long: somebody may be about to write the row.
LEFT_ALONE = timedelta(days=1)
#: The contents and the folders of the storage are looked through in so many parts.
PARTS = 144
_PREFIX = "in-"
#: How often a content that others delete at the same moment is stored anew.
_TRIES = 5
_BATCH = 500
_KEEP = """
INSERT INTO executions_blob (sha256, size, name) VALUES (%s, %s, %s)
ON CONFLICT (sha256) DO UPDATE SET used_at = excluded.used_at RETURNING name
"""
#: The places that ``_new_place`` makes; a storage may add something to a name.
_FOLDER, _NAME = re.compile(r"[a-z0-9]{2}"), re.compile(r"[a-z0-9]{14}(_\w+)?", re.ASCII)


class Spool:
    """A content on its way: a file on this machine's disk, counted and hashed as it is written. Close it."""

    def __init__(self) -> None:
        folder = settings.FILE_UPLOAD_TEMP_DIR
        self._file: IO[bytes] = tempfile.NamedTemporaryFile(dir=folder, prefix=_PREFIX)  # noqa: SIM115 - see `close`
        self._digest = hashlib.sha256()
        self._head = b""
        self._is_moved = False
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, data: bytes, /) -> int:
        """Append bytes."""
        self._digest.update(data)
        if len(self._head) < HEAD:
            self._head += bytes(data[: HEAD - len(self._head)])
        self.size += len(data)
        return self._file.write(data)

    def close(self) -> None:
        """Give the disk its room back, unless the storage has the file now."""
        with suppress(FileNotFoundError):
            self._file.close()

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of what was written so far."""
        return self._digest.hexdigest()

    @property
    def file(self) -> IO[bytes]:
        """What was written so far, from its beginning."""
        self._file.seek(0)
        return self._file

    def media_type(self, *, name: str, claimed: str) -> str:
        """What the content is; ``name`` and ``claimed`` are believed where it agrees."""
        self._file.seek(max(HEAD, self.size - TAIL))
        return media_type(self._head, name=name, claimed=claimed, tail=self._file.read(TAIL))

    def store(self) -> str:
        """Put it into the storage; gives its place there. On the same disk nothing is copied."""
        self._file.flush()
        # What is answered for must survive a power cut, as the row that names it does.
        os.fsync(self._file.fileno())
        kind = File if self._is_moved else _OnDisk
        place: str = default_storage.save(_new_place(), kind(self.file, name=self._file.name))
        self._is_moved = not Path(self._file.name).exists()
        return place


class _OnDisk(File):  # type: ignore[type-arg]  # generic for the type checker only
    """A file that a storage on the same disk takes by renaming it."""

    def temporary_file_path(self) -> str:
        """Where it is."""
        return str(self.name)


def keep(spool: Spool, file: StoredFile) -> None:
    """Insert the row of a file with this content, which is stored unless it is there already."""
    file.blob_id, file.size = spool.sha256, spool.size
    for left in reversed(range(_TRIES)):
        place = "" if _touch(spool.sha256) else spool.store()
        try:
            _insert(file, place)
        except IntegrityError:
            # The content went at this moment, with the last other file that had it. Or the file's id is taken.
            if not left or StoredFile.objects.filter(pk=file.pk).exists():
                raise
        else:
            return


def _touch(sha256: str) -> bool:
    """Whether the content is there. In a transaction it stays there until its end."""
    return Blob.objects.filter(pk=sha256).update(used_at=DatabaseNow()) == 1


def _insert(file: StoredFile, place: str) -> None:
    """Insert the row, before it that of its content where that was stored at ``place``."""
    if place:
        with connection.cursor() as cursor:
            cursor.execute(_KEEP, [file.blob_id, file.size, place])
            if cursor.fetchone()[0] != place:
                # Somebody stored the same at the same time, and was first.
                default_storage.delete(place)
    file.save(force_insert=True)


def delete_files(ids: Collection[str]) -> int:
    """Delete files that no execution needs, and the contents only they had. Not in a transaction. Returns how many."""
    with writing():
        gone, places = drop_files(ids)
    delete_contents(places)
    return gone


def drop_files(ids: Collection[str]) -> tuple[int, list[str]]:
    """Delete the rows of files that no execution needs, in the present transaction.

    Returns how many, and the places of the contents only they had, for ``delete_contents`` after its end.
    """
    locked = StoredFile.objects.select_for_update().filter(pk__in=ids, execution=None).order_by("pk")
    contents = dict(locked.values_list("pk", "blob_id"))
    # Asked once they are locked, as below: whoever needs them has said so by now.
    for needed in FileUse.objects.filter(file_id__in=contents).values_list("file_id", flat=True):
        contents.pop(needed, None)
    StoredFile.objects.filter(pk__in=contents).delete()
    return len(contents), _drop_contents(set(contents.values()))


def delete_contents(places: Collection[str]) -> None:
    """Delete from the storage what no row knows any more."""
    for place in places:
        default_storage.delete(place)


def delete_unused(part: int | None = None) -> int:
    """Delete contents that no file has, in one of ``PARTS`` parts or all: what a crash left. Returns how many."""
    unused = Blob.objects.filter(files=None, used_at__lt=database_now() - LEFT_ALONE)
    if part is not None:
        unused = unused.filter(pk__gte=_digest_of(part))
        unused = unused.filter(pk__lt=_digest_of(part + 1)) if part + 1 < PARTS else unused
    found = 0
    while contents := set(unused.order_by("pk").values_list("pk", flat=True)[:_BATCH]):
        with writing():
            places = _drop_contents(contents)
        delete_contents(places)
        found += len(places)
        if not places:
            break  # somebody uses them again
    return found


def sweep_storage(part: int | None = None, *, dry_run: bool = False) -> int:
    """Delete from the storage what no row knows for a day, in one of ``PARTS`` parts or all. Returns how many.

    A storage that cannot list what it holds keeps it.
    """
    found = 0
    for folder in _listed("")[0]:
        if _FOLDER.fullmatch(folder) and part in (None, int(folder, 36) % PARTS):
            for place in _unknown(folder):
                found += 1
                if not dry_run:
                    default_storage.delete(place)
    return found


def sweep_spools(*, dry_run: bool = False) -> int:
    """Delete what a process that died left on this machine's disk a day ago or earlier. Returns how many files."""
    found = 0
    for path in Path(settings.FILE_UPLOAD_TEMP_DIR).glob(f"{_PREFIX}*"):
        with suppress(FileNotFoundError):
            if _is_old(datetime.fromtimestamp(path.stat().st_mtime, UTC)):
                found += 1
                if not dry_run:
                    path.unlink()
    return found


def _drop_contents(contents: Collection[str]) -> list[str]:
    """Delete the rows of contents that no file has, in the present transaction; their places in the storage."""
    locked = Blob.objects.select_for_update().filter(pk__in=contents).order_by("pk")
    places = dict(locked.values_list("pk", "name"))
    used = set(StoredFile.objects.filter(blob_id__in=places).values_list("blob_id", flat=True))
    unused = [sha256 for sha256 in places if sha256 not in used]
    Blob.objects.filter(pk__in=unused).delete()
    return [places[sha256] for sha256 in unused]


def _unknown(folder: str) -> Iterator[str]:
    """What lies in a folder of the storage for a day, and no row knows."""
    names = [f"{folder}/{name}" for name in _listed(folder)[1] if _NAME.fullmatch(name)]
    for start in range(0, len(names), _BATCH):
        batch = names[start : start + _BATCH]
        known = set(Blob.objects.filter(name__in=batch).values_list("name", flat=True))
        for place in batch:
            with suppress(FileNotFoundError):
                if place not in known and _is_old(default_storage.get_modified_time(place)):
                    yield place


def _listed(folder: str) -> tuple[list[str], list[str]]:
    """Folders and files; nothing of a storage that cannot tell, or has not begun."""
    try:
        return default_storage.listdir(folder)
    except (NotImplementedError, FileNotFoundError):
        return [], []


def _is_old(at: datetime) -> bool:
    return at < datetime.now(UTC) - LEFT_ALONE


def _digest_of(part: int) -> str:
    """Where a part of all digests begins."""
    return f"{part * 16**8 // PARTS:08x}"


def _new_place() -> str:
    """A fresh place in the storage, spread over folders."""
    name = new_id("blob")[5:]
    return f"{name[:2]}/{name[2:]}"
