"""One stored copy of each content, however many files have it, and gone with the last of them."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage
from django.db import connection, connections, transaction
from pytest_django import Settings

from dataflow.lib.errors import TaskError
from executions import blobs, database, files
from executions.models import Blob, StoredFile

pytestmark = pytest.mark.django_db(transaction=True)
DATA = b"the same content"


@pytest.fixture(autouse=True)
def storage(settings: Settings, tmp_path: Path) -> Path:
    """A storage of its own, whose things can be counted."""
    folder = tmp_path / "files"
    options = {"location": str(folder), "file_permissions_mode": 0o600}
    settings.STORAGES = settings.STORAGES | {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": options}
    }
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "incoming"
    settings.FILE_UPLOAD_TEMP_DIR.mkdir()
    return folder


def things(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def made(data: bytes = DATA, name: str = "a.txt", **more: Any) -> StoredFile:
    with files.creating(name, "text/plain", **more) as writer:
        writer.write(data)
    return StoredFile.objects.get(pk=writer.value["file_id"])


def read(file: StoredFile) -> bytes:
    with files.open_stored(file.pk) as content:
        return content.read()


def age(path: Path, *, days: float = 2) -> None:
    past = time.time() - days * 24 * 3600
    os.utime(path, (past, past))


def test_the_same_content_is_stored_once(storage: Path) -> None:
    first, second, other = made(), made(name="b.txt"), made(b"another")
    assert first.blob_id == second.blob_id == hashlib.sha256(DATA).hexdigest() == first.sha256
    assert len(things(storage)) == Blob.objects.count() == 2
    assert [read(one) for one in (first, second, other)] == [DATA, DATA, b"another"]
    assert {path.stat().st_mode & 0o777 for path in things(storage)} == {0o600}


def test_it_goes_with_the_last_file(storage: Path) -> None:
    first, second = made(), made()
    assert blobs.delete_files([first.pk]) == 1
    assert read(second) == DATA
    assert blobs.delete_files([second.pk]) == 1
    assert blobs.delete_files([second.pk]) == 0
    assert not Blob.objects.exists()
    assert not things(storage)
    assert read(made()) == DATA


def test_nothing_is_left_where_it_is_written(storage: Path, settings: Settings) -> None:
    def broken() -> None:
        with files.creating("a", "", limit=5) as writer:
            writer.write(b"12345")
            raise TaskError("runtime", "broken")

    made()
    made()
    with pytest.raises(TaskError, match="broken"):
        broken()
    with pytest.raises(TaskError, match="at most"):
        made(b"123456", limit=5)
    assert not list(settings.FILE_UPLOAD_TEMP_DIR.iterdir())
    assert (StoredFile.objects.count(), len(things(storage))) == (2, 1)


@pytest.mark.parametrize("there_is_one", [False, True])
def test_many_at_the_same_time(storage: Path, *, there_is_one: bool) -> None:
    """All look before any stores: the others' copies go, and every file has the one that stays."""
    if there_is_one:
        made()
    ready = threading.Barrier(6)

    def make(number: int) -> str:
        try:
            with files.creating(f"{number}.txt", "text/plain") as writer:
                writer.write(DATA)
                ready.wait(30)
            return str(writer.value["file_id"])
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as threads:
        ids = list(threads.map(make, range(6)))
    assert len(set(ids)) == 6
    assert Blob.objects.count() == len(things(storage)) == 1
    assert {read(file) for file in StoredFile.objects.all()} == {DATA}


def test_who_was_first_keeps_its_copy(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one stores the same after we have looked, and before we are done."""
    touch, others = blobs._touch, []

    def late(sha256: str) -> bool:
        found = touch(sha256)
        if not others:
            others.append(None)
            others[0] = made()
        return found

    monkeypatch.setattr(blobs, "_touch", late)
    mine = made()
    assert mine.blob_id == others[0].blob_id
    assert len(things(storage)) == 1
    assert read(mine) == read(others[0]) == DATA


def test_a_content_that_goes_at_this_moment_is_stored_anew(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was there when we looked, and its last file is deleted before ours has its row."""
    first, save = made(), StoredFile.save
    deleted: list[int] = []

    def late(file: StoredFile, **options: Any) -> None:
        if not deleted:
            deleted.append(blobs.delete_files([first.pk]))
        save(file, **options)

    monkeypatch.setattr(StoredFile, "save", late)
    second = made()
    assert deleted == [1]
    assert read(second) == DATA
    assert len(things(storage)) == Blob.objects.count() == 1


def test_a_content_of_ones_own_that_goes_at_this_moment_too(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours was stored, its row written, and somebody who looks for contents without a file takes it away."""
    save = StoredFile.save
    deleted: list[int] = []

    def late(file: StoredFile, **options: Any) -> None:
        if not deleted:
            Blob.objects.update(used_at=database.database_now() - timedelta(days=2))
            deleted.append(blobs.delete_unused())
        save(file, **options)

    monkeypatch.setattr(StoredFile, "save", late)
    assert read(made()) == DATA
    assert deleted == [1]
    assert len(things(storage)) == Blob.objects.count() == 1


def test_in_a_transaction_that_is_given_up(storage: Path) -> None:
    with database.writing():
        made()
        transaction.set_rollback(True)
    assert not Blob.objects.exists()
    (left,) = things(storage)
    assert blobs.sweep_storage() == 0  # somebody may be about to write its row
    age(left)
    assert blobs.sweep_storage(dry_run=True) == 1
    assert blobs.sweep_storage() == 1
    assert not things(storage)


def test_a_transaction_holds_the_content_it_found() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer")
    first, begun, deleted = made(), threading.Event(), []

    def delete() -> None:
        begun.wait(30)
        deleted.append(blobs.delete_files([first.pk]))
        connections.close_all()

    deleting = threading.Thread(target=delete)
    deleting.start()
    with transaction.atomic():
        second = made()
        begun.set()
        deleting.join(0.3)
        assert not deleted
    deleting.join(30)
    assert deleted == [1]
    assert read(second) == DATA


def test_an_id_that_is_taken() -> None:
    first = made()
    with pytest.raises(Exception, match=r"(?i)unique"):
        made(b"other", file_id=first.pk)
    assert read(first) == DATA


def test_the_sweep_leaves_what_it_does_not_know(storage: Path) -> None:
    """Somebody else may keep things in the same place: only names that we make are looked at."""
    known = made()
    strange = ["ab/notes.txt", "abc/aaaaaaaaaaaaaa", "AB/aaaaaaaaaaaaaa", "readme", "ab/aaaaaaaaaaaaa"]
    ours = ["zz/aaaaaaaaaaaaaa", "ab/bbbbbbbbbbbbbb_xY12345"]
    for name in [*strange, *ours, "00/new00000000000"]:
        (storage / name).parent.mkdir(parents=True, exist_ok=True)
        (storage / name).write_bytes(b"x")
    for path in things(storage):
        age(path)
    (storage / "00/new00000000000").touch()
    assert blobs.sweep_storage() == 2
    left = {str(path.relative_to(storage)) for path in things(storage)}
    assert left == {*strange, "00/new00000000000", known.blob.name}


def test_every_part_once_is_everything(storage: Path) -> None:
    for number in range(30):
        made(str(number).encode())
    StoredFile.objects.all().delete()
    Blob.objects.filter(pk__lt="8").delete()
    Blob.objects.update(used_at=database.database_now() - timedelta(days=2))
    for path in things(storage):
        age(path)
    rows = Blob.objects.count()
    assert 0 < rows < 30
    assert sum(blobs.delete_unused(part) for part in range(blobs.PARTS)) == rows
    assert sum(blobs.sweep_storage(part) for part in range(blobs.PARTS)) == 30 - rows
    assert not things(storage)


def test_a_content_without_a_file_waits_a_day(storage: Path) -> None:
    made()
    StoredFile.objects.all().delete()
    assert blobs.delete_unused() == 0
    Blob.objects.update(used_at=database.database_now() - timedelta(days=2))
    made()  # used again
    assert blobs.delete_unused() == 0
    assert len(things(storage)) == 1


def test_what_died_on_its_way_goes_after_a_day(settings: Settings) -> None:
    folder = Path(settings.FILE_UPLOAD_TEMP_DIR)
    for name in ("in-old", "in-new", "other"):
        (folder / name).write_bytes(b"x")
    age(folder / "in-old")
    age(folder / "other")
    assert blobs.sweep_spools(dry_run=True) == 1
    assert blobs.sweep_spools() == 1
    assert {path.name for path in folder.iterdir()} == {"in-new", "other"}


def test_a_storage_that_cannot_list_keeps_what_it_has(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise NotImplementedError

    monkeypatch.setattr(FileSystemStorage, "listdir", refuse)
    (storage / "ab").mkdir(parents=True)
    (storage / "ab/aaaaaaaaaaaaaa").write_bytes(b"x")
    age(storage / "ab/aaaaaaaaaaaaaa")
    assert blobs.sweep_storage() == 0
    assert len(things(storage)) == 1
