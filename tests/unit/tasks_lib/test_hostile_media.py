"""Media files that are meant to do harm: refused or bounded, with a named error, and nothing else read or written."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from tasks_lib import media, registry
from tasks_lib.clients import bounded, ffmpeg
from tests.stubs import hostile_media
from tests.stubs.context import StubContext, run
from tests.stubs.openai_stub import tone
from tests.stubs.web_stub import WebStub

pytestmark = pytest.mark.slow

#: Every type that gives a file to ffmpeg, and the name of that input.
TYPES = {
    "video.extract_audio": "video",
    "audio.convert": "audio",
    "audio.split": "audio",
    "video.thumbnail": "video",
    "whisper.transcribe": "audio",
}
#: Sound is what most of them look for.
WITH_SOUND = [name for name in TYPES if name != "video.thumbnail"]


@pytest.fixture
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where private folders are made, with a canary beside them: a sound that any playlist could play."""
    folder = tmp_path / "around"
    folder.mkdir()
    (folder / "canary.mp3").write_bytes(tone("mp3"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def web() -> Iterator[WebStub]:
    with WebStub() as stub:
        yield stub


def result(name: str, content: bytes, folder: Path, **inputs: Any) -> Mapping[str, Any] | TaskError:
    """What a type makes of a file called x.mp4: its outputs, or the error."""
    context = StubContext(folder.parent / "files", cancellation=Cancellation(120))
    value = context.files.add("x.mp4", "video/mp4", content)
    before = sorted(folder.rglob("*"))
    found: Mapping[str, Any] | TaskError
    try:
        found = run(registry.get(name), context, **{TYPES[name]: value}, **inputs)
    except TaskError as error:
        found = error
    assert sorted(folder.rglob("*")) == before
    if isinstance(found, TaskError):
        assert context.files.names() == [value["file_id"]]
        assert str(folder) not in found.message
    return found


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("kind", hostile_media.PLAYLISTS)
def test_playlists_are_refused(name: str, kind: str, around: Path, web: WebStub) -> None:
    text = (
        hostile_media.PLAYLISTS[kind].replace("{canary}", str(around / "canary.mp3")).replace("{server}", web.url(""))
    )
    error = result(name, text.encode(), around)
    assert isinstance(error, TaskError)
    assert (error.code, error.retryable) == ("validation", False)
    assert web.requests == []


OPEN = ("-f", "hls", "-allowed_extensions", "ALL", "-extension_picky", "0")


@pytest.mark.parametrize("kind", ["hls media", "concat script"])
def test_without_the_lists_the_canary_would_sing(kind: str, around: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the test above cannot pass for a playlist that no ffmpeg would have read."""
    monkeypatch.setattr(ffmpeg, "READABLE_FORMATS", "hls,concat,mp3")
    text = hostile_media.PLAYLISTS[kind].replace("{canary}", str(around / "canary.mp3"))
    if kind == "concat script":
        text = text.replace(str(around), "..")
        monkeypatch.setattr(ffmpeg, "source", lambda path, *_: ["-safe", "0", "-f", "concat", "-i", f"file:{path}"])
    else:
        monkeypatch.setattr(ffmpeg, "source", lambda path, *_: [*OPEN, "-i", f"file:{path}"])
    assert not isinstance(result("audio.convert", text.encode(), around), TaskError)


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("kind", hostile_media.BINARIES)
def test_broken_files_are_refused_or_read(name: str, kind: str, around: Path) -> None:
    found = result(name, hostile_media.BINARIES[kind](), around)
    if isinstance(found, TaskError):
        assert (found.code, found.retryable) in (("validation", False), ("too_large", False))
    else:
        assert kind in ("scrambled", "truncated", "200 streams")


def test_an_empty_file(around: Path) -> None:
    error = result("video.thumbnail", b"", around)
    assert isinstance(error, TaskError)
    assert error.message == "The video is empty."


def test_a_huge_picture_has_a_name(around: Path) -> None:
    error = result("video.thumbnail", hostile_media.honest_picture(10_000, 10_000), around)
    assert isinstance(error, TaskError)
    assert (error.code, "35,389,440 pixels" in error.message) == ("too_large", True), error.message


def test_the_same_picture_is_read_when_it_is_small(around: Path) -> None:
    assert not isinstance(result("video.thumbnail", hostile_media.claiming_picture(64, 64), around), TaskError)


@pytest.mark.parametrize("name", WITH_SOUND)
def test_a_sound_that_lasts_for_days(name: str, around: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """300 KB that become gigabytes: bounded by what may be written."""
    monkeypatch.setattr(ffmpeg, "LIMITS", dataclasses.replace(ffmpeg.LIMITS, file_size=20_000_000))
    monkeypatch.setattr(media, "MAX_OUTPUT", 20_000_000)
    inputs = {} if name == "whisper.transcribe" else {"format": "wav", "sample_rate": 48_000}
    error = result(name, hostile_media.slow_wav(300_000), around, **inputs)
    assert isinstance(error, TaskError)
    assert error.code == "too_large"


def test_a_sound_without_an_end(around: Path) -> None:
    outputs = result("audio.convert", hostile_media.endless_wav(), around)
    assert not isinstance(outputs, TaskError)
    assert outputs["duration"] == pytest.approx(10, abs=0.5)


@pytest.mark.parametrize("name", ["video.extract_audio", "video.thumbnail"])
def test_subtitles_and_attachments_are_left_alone(name: str, around: Path) -> None:
    assert not isinstance(result(name, hostile_media.with_subtitles(), around), TaskError)


def test_its_memory_is_bounded(around: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = hostile_media.honest_picture(10_000, 10_000)
    monkeypatch.setattr(ffmpeg, "LIMITS", dataclasses.replace(ffmpeg.LIMITS, address_space=600_000_000))
    monkeypatch.setattr(ffmpeg, "MAX_PIXELS", 200_000_000)
    error = result("video.thumbnail", large, around)
    assert isinstance(error, TaskError)
    assert error.code == "too_large"


def test_its_time_is_bounded(around: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "LIMITS", bounded.Limits(cpu_seconds=1))
    error = result(
        "audio.convert", hostile_media.slow_wav(2_000_000, rate=100), around, format="flac", sample_rate=96_000
    )
    assert isinstance(error, TaskError), error
    assert (error.code, "CPU time" in error.message) == ("too_large", True), error.message
