"""Writers of SQLite queue: they get their turn, or are told that they did not."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest
from django.db import OperationalError
from django.db.utils import ConnectionHandler

from dataflow.db.sqlite3.base import DatabaseWrapper

pytestmark = [pytest.mark.django_db, pytest.mark.any_database, pytest.mark.timeout(60)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "db.sqlite3"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE line (text)")
    return path


def connect(path: Path, *, patience: float) -> DatabaseWrapper:
    options = {"timeout": patience, "transaction_mode": "IMMEDIATE"}
    settings = {"ENGINE": "dataflow.db.sqlite3", "NAME": str(path), "OPTIONS": options}
    return cast("DatabaseWrapper", ConnectionHandler({"default": settings})["default"])


@pytest.fixture
def holder(path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody who is in the middle of a write."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as database:
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT INTO line VALUES ('first')")
        yield database


def lines(wrapper: DatabaseWrapper) -> list[str]:
    with wrapper.cursor() as cursor:
        return [text for (text,) in cursor.execute("SELECT text FROM line ORDER BY rowid").fetchall()]


def write(wrapper: DatabaseWrapper, *, at_once: bool, seconds: float = 0.0) -> None:
    with wrapper.cursor() as cursor:
        if at_once:
            cursor.execute("INSERT INTO line VALUES (%s)", ["second"])
            return
        wrapper.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
        cursor.execute("INSERT INTO line VALUES (%s)", ["second"])
        time.sleep(seconds)
        wrapper.commit()
        wrapper.set_autocommit(True)


@pytest.mark.parametrize("at_once", [True, False], ids=["statement", "transaction"])
def test_a_writer_waits_for_its_turn(path: Path, holder: sqlite3.Connection, *, at_once: bool) -> None:
    wrapper = connect(path, patience=20)
    assert lines(wrapper) == []  # a reader waits for nobody
    other = threading.Timer(0.2, lambda: holder.execute("COMMIT"))
    other.start()
    write(wrapper, at_once=at_once)
    other.join()
    assert lines(wrapper) == ["first", "second"]
    wrapper.close()


@pytest.mark.parametrize("at_once", [True, False], ids=["statement", "transaction"])
@pytest.mark.usefixtures("holder")
def test_a_writer_whose_turn_does_not_come_is_told(path: Path, *, at_once: bool) -> None:
    wrapper = connect(path, patience=0.1)
    with pytest.raises(OperationalError, match="locked"):
        write(wrapper, at_once=at_once)
    wrapper.close()
    wrapper = connect(path, patience=0.1)
    assert lines(wrapper) == []
    wrapper.close()


def test_what_is_wrong_is_told_at_once(path: Path) -> None:
    wrapper = connect(path, patience=3600)
    with wrapper.cursor() as cursor, pytest.raises(OperationalError, match="no such table"):
        cursor.execute("INSERT INTO missing VALUES (1)")
    wrapper.close()


def test_nobody_is_always_behind_those_who_came_later(path: Path) -> None:
    """Others write without a pause: whoever writes seldom waits for some of them, not for hundreds."""
    stop, written = threading.Event(), [0, 0, 0]

    def write_on(place: int) -> None:
        wrapper = connect(path, patience=20)
        while not stop.is_set():
            write(wrapper, at_once=False, seconds=0.002)
            written[place] += 1
        wrapper.close()

    threads = [threading.Thread(target=write_on, args=[place]) for place in range(3)]
    for thread in threads:
        thread.start()
    seldom, passed = connect(path, patience=20), []
    for _ in range(8):
        time.sleep(0.2)
        before = sum(written)
        write(seldom, at_once=False)
        passed.append(sum(written) - before)
    stop.set()
    for thread in threads:
        thread.join()
    seldom.close()
    assert sum(written) > 400, "they hardly wrote"
    assert sum(passed) < 2500, f"with SQLite's own busy handler about 10,000 passed, in turn about 600: {passed}"
