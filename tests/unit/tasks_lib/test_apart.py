"""Reading hostile files in another process: it is bounded, killed, and what it says comes back."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from tasks_lib.apart.entry import SOURCE
from tasks_lib.clients import apart, bounded
from tests.stubs import hostile_files as hostile

#: Takes minutes: a page of much text, again and again.
SLOW = hostile.raw_pdf([b"BT /F1 12 Tf " + b"(some text) Tj " * 20_000 + b"ET"], kids="4 0 R " * 2000)


def children() -> set[str]:
    found = set()
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        found |= set((task / "children").read_text().split())
    return found


def read(folder: Path, data: bytes, cancellation: Cancellation | None = None):
    (folder / SOURCE).write_bytes(data)
    return apart.run(
        "read_pdf",
        folder=folder,
        cancellation=cancellation or Cancellation(60),
        what="The PDF",
        max_pages=2000,
        max_characters=10**9,
    )


def limited(monkeypatch: pytest.MonkeyPatch, reader: apart.Reader, **limits: int) -> None:
    monkeypatch.setattr(apart, "LIMITS", {**apart.LIMITS, reader: bounded.Limits(**limits)})


def test_it_works_and_leaves_the_text_in_the_folder(tmp_path: Path) -> None:
    assert read(tmp_path, hostile.pdf("Hello"))["pages"] == 1
    assert (tmp_path / "text.txt").read_text() == "Hello"


def test_it_sees_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of ours in its place would be seen, if the folder or PYTHONPATH were looked through."""
    (tmp_path / "pypdf.py").write_text("raise SystemExit(9)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert read(tmp_path, hostile.pdf("Hello"))["pages"] == 1


def test_a_reader_that_does_not_start_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_ROOT", tmp_path)
    with pytest.raises(TaskError, match=r"did not start: .*tasks_lib") as raised:
        read(tmp_path, hostile.pdf("Hello"))
    assert raised.value.code == "runtime"


def test_cancelling_kills_it(tmp_path: Path) -> None:
    before = children()
    cancellation = Cancellation(60)
    threading.Timer(0.5, cancellation.stop, [TaskError("cancelled", "stop")]).start()
    with pytest.raises(TaskError) as raised:
        read(tmp_path, SLOW, cancellation)
    assert raised.value.code == "cancelled"
    assert children() <= before


def test_its_deadline_kills_it(tmp_path: Path) -> None:
    before = children()
    with pytest.raises(TaskError) as raised:
        read(tmp_path, SLOW, Cancellation(0.5))
    assert raised.value.code == "timeout"
    assert children() <= before


@pytest.mark.slow
def test_its_time_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, "read_pdf", cpu_seconds=1)
    with pytest.raises(TaskError, match="over 1 s of computing") as raised:
        read(tmp_path, SLOW)
    assert raised.value.code == "too_large"


@pytest.mark.slow
def test_its_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, "change_image", address_space=150 * 1024**2)
    (tmp_path / SOURCE).write_bytes(hostile.picture("PNG", (7000, 7000)))
    with pytest.raises(TaskError, match="more than 150 MiB of memory") as raised:
        apart.run(
            "change_image", folder=tmp_path, cancellation=Cancellation(60), what="The image",
            format="png", quality=80, background=None,
        )  # fmt: skip
    assert raised.value.code == "too_large"


def test_what_it_writes_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, "read_pdf", file_size=10_000)
    with pytest.raises(TaskError, match="over 10,000 bytes") as raised:
        read(tmp_path, hostile.raw_pdf([b"BT /F1 12 Tf " + b"(some text) Tj " * 20_000 + b"ET"]))
    assert raised.value.code == "too_large"
    assert (tmp_path / "text.txt").stat().st_size <= 10_000
