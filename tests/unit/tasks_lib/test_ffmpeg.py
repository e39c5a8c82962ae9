"""Running ffmpeg: what it may read, and that it is stopped."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from tasks_lib import audio
from tasks_lib.clients import ffmpeg
from tests.stubs.openai_stub import tone

ENDLESS = ["-f", "lavfi", "-i", "anullsrc", "-f", "null", "-"]


def children() -> set[str]:
    found = set()
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        found |= set((task / "children").read_text().split())
    return found


def test_it_converts(tmp_path: Path) -> None:
    (tmp_path / "in.mp3").write_bytes(tone("mp3"))
    ffmpeg.run([*ffmpeg.source(tmp_path / "in.mp3"), "out.wav"], folder=tmp_path, cancellation=Cancellation(20))
    assert (tmp_path / "out.wav").read_bytes()[:4] == b"RIFF"
    assert ffmpeg.duration(tmp_path / "out.wav", cancellation=Cancellation(20)) == pytest.approx(0.6, abs=0.1)


@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nfile://{secret}\n",
        "ffconcat version 1.0\nfile '{secret}'\n",
        "<?xml version='1.0'?><MPD><BaseURL>file://{secret}</BaseURL></MPD>",
        "",
        "not a media file",
    ],
)
def test_a_playlist_reads_no_other_file(tmp_path: Path, content: str) -> None:
    secret = tmp_path / "secret.mp3"
    secret.write_bytes(tone("mp3"))
    crafted = tmp_path / "x.mp4"
    crafted.write_text(content.format(secret=secret))
    with pytest.raises(TaskError) as raised:
        ffmpeg.run([*ffmpeg.source(crafted), "out.wav"], folder=tmp_path, cancellation=Cancellation(20))
    assert (raised.value.code, raised.value.retryable) == ("validation", False)
    out = tmp_path / "out.wav"
    assert not out.exists() or out.stat().st_size == 0


def test_only_listed_formats_are_read(tmp_path: Path) -> None:
    """ffmpeg reads subtitles well; the list of formats is what stops it."""
    listed = tmp_path / "x.srt"
    listed.write_text("1\n00:00:00,000 --> 00:00:01,000\nHi\n")
    ffmpeg.run(["-i", f"file:{listed}", "fine.srt"], folder=tmp_path, cancellation=Cancellation(20))
    with pytest.raises(TaskError, match="ffmpeg could not process"):
        ffmpeg.run([*ffmpeg.source(listed), "out.srt"], folder=tmp_path, cancellation=Cancellation(20))
    assert not (tmp_path / "out.srt").exists()


def test_a_name_is_no_option(tmp_path: Path) -> None:
    odd = tmp_path / "-i http:evil.mp3"
    odd.write_bytes(tone("mp3"))
    assert ffmpeg.duration(odd, cancellation=Cancellation(20)) == pytest.approx(0.6, abs=0.1)


@pytest.mark.processes
def test_it_dies_with_its_worker(tmp_path: Path) -> None:
    """A worker that is killed cannot tidy up."""
    source = (
        "import sys, threading; from pathlib import Path; from dataflow.lib.cancellation import Cancellation\n"
        "from tasks_lib.clients import ffmpeg\n"
        "run = lambda: ffmpeg.run(sys.argv[2:], folder=Path(sys.argv[1]), cancellation=Cancellation())\n"
        "threading.Thread(target=run).start()"
    )
    command = [sys.executable, "-c", source, str(tmp_path), "-progress", "progress", "-re", *ENDLESS]
    with subprocess.Popen(command, cwd=Path(__file__).parents[3]) as worker:
        wait_until((tmp_path / "progress").exists)
        family = psutil.Process(worker.pid).children(recursive=True)
        assert any("ffmpeg" in member.name() for member in family)
        worker.kill()
    wait_until(lambda: not any(member.is_running() and member.status() != "zombie" for member in family))


def wait_until(fact: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not fact() and time.monotonic() < end:
        time.sleep(0.02)
    assert fact()


def test_cancelling_kills_it(tmp_path: Path) -> None:
    before = children()
    cancellation = Cancellation(30)
    threading.Timer(0.3, cancellation.stop, [TaskError("cancelled", "stop")]).start()
    started = time.monotonic()
    with pytest.raises(TaskError) as raised:
        ffmpeg.run(ENDLESS, folder=tmp_path, cancellation=cancellation)
    assert raised.value.code == "cancelled"
    assert time.monotonic() - started < 1.3
    assert children() <= before


def test_its_deadline_kills_it(tmp_path: Path) -> None:
    before = children()
    started = time.monotonic()
    with pytest.raises(TaskError) as raised:
        ffmpeg.run(ENDLESS, folder=tmp_path, cancellation=Cancellation(0.4))
    assert raised.value.code == "timeout"
    assert time.monotonic() - started < 1.4
    assert children() <= before


def test_what_it_writes_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "LIMITS", dataclasses.replace(ffmpeg.LIMITS, file_size=100_000))
    with pytest.raises(TaskError, match="the limit of one file's size"):
        ffmpeg.run(
            ["-f", "lavfi", "-t", "600", "-i", "anullsrc", "out.wav"], folder=tmp_path, cancellation=Cancellation(20)
        )
    assert (tmp_path / "out.wav").stat().st_size <= 100_000


@pytest.mark.parametrize("kind", sorted(audio.FORMATS))
def test_joining(tmp_path: Path, kind: str) -> None:
    part = tmp_path / f"part.{kind}"
    part.write_bytes(tone(kind))
    whole = tmp_path / f"whole.{kind}"
    audio.join([part] * 3, whole, kind, cancellation=Cancellation(30))
    if kind == "pcm":
        assert whole.stat().st_size == pytest.approx(3 * part.stat().st_size, rel=0.02)
    else:
        assert ffmpeg.duration(whole, cancellation=Cancellation(30)) == pytest.approx(1.8, abs=0.35)


def test_the_environment_names_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FFMPEG_BINARY", "/opt/ffmpeg")
    ffmpeg.binary.cache_clear()
    assert ffmpeg.binary() == "/opt/ffmpeg"
    monkeypatch.delenv("FFMPEG_BINARY")
    ffmpeg.binary.cache_clear()
    assert Path(ffmpeg.binary()).exists()
