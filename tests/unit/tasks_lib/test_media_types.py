"""video.extract_audio, audio.convert, audio.split, video.thumbnail: real ffmpeg on media made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from tasks_lib import media
from tasks_lib.base import FileValue
from tasks_lib.clients import ffmpeg
from tasks_lib.types.audio_convert import AudioConvert
from tasks_lib.types.audio_split import AudioSplit
from tasks_lib.types.video_extract_audio import ExtractAudio
from tasks_lib.types.video_thumbnail import VideoThumbnail
from tests.stubs.context import StubContext, run

pytestmark = pytest.mark.slow

#: Two tones of two seconds with a second of silence between them.
SPOKEN = "sine=440:d=2,apad=pad_dur=1[a];sine=660:d=2[b];[a][b]concat=n=2:v=0:a=1"
#: What a sound file of each kind begins with.
BEGINNINGS = {"mp3": (b"ID3",), "wav": (b"RIFF",), "m4a": (b"\0\0\0\x1cftyp",), "flac": (b"fLaC",), "ogg": (b"OggS",)}


@pytest.fixture
def context(tmp_path: Path) -> StubContext:
    return StubContext(tmp_path / "files", cancellation=Cancellation(60))


def made(context: StubContext, name: str, *arguments: str) -> FileValue:
    """A media file that ffmpeg makes."""
    ffmpeg.run([*arguments, name], folder=context.folder.parent, cancellation=Cancellation(60))
    return context.files.add(name, "application/octet-stream", (context.folder.parent / name).read_bytes())


@pytest.fixture
def video(context: StubContext) -> FileValue:
    inputs = ("-f", "lavfi", "-i", SPOKEN, "-f", "lavfi", "-i", "testsrc=d=5:s=320x240:r=10")
    return made(context, "odd -i.mp4", *inputs, "-c:v", "libx264", "-c:a", "aac", "-shortest")


@pytest.fixture
def sound(context: StubContext) -> FileValue:
    return made(context, "sound.flac", "-f", "lavfi", "-i", SPOKEN)


def length(context: StubContext, value: FileValue) -> float:
    found = ffmpeg.duration(context.files.path(value), cancellation=Cancellation(20))
    assert found is not None
    return found


def said_of(context: StubContext, value: FileValue) -> str:
    """What ffmpeg says about a stored file."""
    heard: list[str] = []
    arguments = ["-loglevel", "info", *ffmpeg.source(context.files.path(value)), "-f", "null", "-"]
    ffmpeg.run(arguments, folder=context.folder.parent, cancellation=Cancellation(20), on_line=heard.append)
    return "\n".join(heard)


@pytest.mark.parametrize("kind", sorted(media.FORMATS))
def test_extracting_audio(context: StubContext, video: FileValue, kind: str) -> None:
    outputs = run(ExtractAudio(), context, video=video, format=kind)
    audio = outputs["audio"]
    assert context.files.read(audio).startswith(BEGINNINGS[kind])
    assert audio["name"].endswith(f".{kind}")
    assert audio["content_type"] == media.FORMATS[kind].content_type
    assert outputs["duration"] == pytest.approx(5, abs=0.2)
    assert "Video:" not in said_of(context, audio)


def test_the_sound_is_as_asked_for(context: StubContext, video: FileValue) -> None:
    asked = {"format": "mp3", "bitrate": "32k", "sample_rate": 16000, "channels": 2}
    audio = run(ExtractAudio(), context, video=video, **asked)["audio"]
    assert "Audio: mp3 (mp3float), 16000 Hz, stereo, fltp, 32 kb/s" in said_of(context, audio)


@pytest.mark.parametrize("kind", sorted(media.FORMATS))
@pytest.mark.parametrize("rate", [8000, 22_050, 48_000])
def test_every_kind_takes_every_usual_rate(context: StubContext, sound: FileValue, kind: str, rate: int) -> None:
    outputs = run(AudioConvert(), context, audio=sound, format=kind, sample_rate=rate, channels=1)
    assert f"{rate} Hz, mono" in said_of(context, outputs["audio"])


def test_converting_tells_how_far_it_is(context: StubContext, sound: FileValue) -> None:
    outputs = run(AudioConvert(), context, audio=sound, format="wav", sample_rate=8000.0, channels=1)
    assert "pcm_s16le ([1][0][0][0] / 0x0001), 8000 Hz, mono" in said_of(context, outputs["audio"])
    assert outputs["audio"]["name"] == "sound.wav"
    assert context.progressed[-1][0] == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"bitrate": "loud"}, "8k to 512k"),
        ({"bitrate": "4k"}, "8k to 512k"),
        ({"bitrate": "-i file:/etc/passwd"}, "8k to 512k"),
        ({"channels": 1.5}, "whole number"),
        ({"sample_rate": 12345}, "sample rate"),
    ],
)
def test_what_cannot_be_written(context: StubContext, sound: FileValue, inputs: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskError, match=words) as raised:
        run(AudioConvert(), context, audio=sound, **inputs)
    assert raised.value.code == "validation"


def test_a_video_without_sound_or_pictures(context: StubContext, sound: FileValue) -> None:
    mute = made(context, "mute.mp4", "-f", "lavfi", "-i", "testsrc=d=1:s=64x64", "-c:v", "libx264")
    with pytest.raises(TaskError, match="The video has no sound in it"):
        run(ExtractAudio(), context, video=mute)
    with pytest.raises(TaskError, match="The audio file has no sound in it"):
        run(AudioSplit(), context, audio=mute)
    with pytest.raises(TaskError, match="The video has no pictures in it"):
        run(VideoThumbnail(), context, video=sound)


@pytest.mark.parametrize("kind", sorted(media.FORMATS))
def test_splitting_by_seconds(context: StubContext, sound: FileValue, kind: str) -> None:
    outputs = run(AudioSplit(), context, audio=sound, seconds=2, format=kind)
    parts = outputs["parts"]
    assert outputs["count"] == len(parts) == 3
    assert [part["start"] for part in parts] == pytest.approx([0, 2, 4], abs=0.1)
    assert [length(context, part["file"]) for part in parts] == pytest.approx([2, 2, 1], abs=0.15)
    assert sum(part["duration"] for part in parts) == pytest.approx(5, abs=0.15)
    assert [part["file"]["name"] for part in parts] == [f"sound-000{index}.{kind}" for index in (1, 2, 3)]


def test_splitting_at_silences(context: StubContext, sound: FileValue) -> None:
    parts = run(AudioSplit(), context, audio=sound, seconds=3.5, at="silences")["parts"]
    assert [part["start"] for part in parts] == pytest.approx([0, 2.5], abs=0.1)


def test_a_short_sound_stays_whole(context: StubContext, sound: FileValue) -> None:
    parts = run(AudioSplit(), context, audio=sound, at="silences")["parts"]
    assert [(part["start"], round(part["duration"])) for part in parts] == [(0, 5)]


def test_there_are_not_too_many_parts(context: StubContext) -> None:
    long = made(context, "long.mp3", "-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", "1100", "-b:a", "8k")
    with pytest.raises(TaskError, match="`seconds` must be 2 or more") as raised:
        run(AudioSplit(), context, audio=long, seconds=1)
    assert raised.value.code == "too_large"


def test_the_parts_together_are_bounded(context: StubContext, sound: FileValue, monkeypatch: Any) -> None:
    monkeypatch.setattr(media, "MAX_OUTPUT", 100_000)
    with pytest.raises(TaskError, match="100,000 bytes") as raised:
        run(AudioSplit(), context, audio=sound, seconds=1, format="wav")
    assert raised.value.code == "too_large"
    assert context.files.names() == [sound["file_id"]]


@pytest.mark.parametrize(("kind", "beginning"), [("jpg", b"\xff\xd8\xff"), ("png", b"\x89PNG")])
def test_a_thumbnail(context: StubContext, video: FileValue, kind: str, beginning: bytes) -> None:
    image = run(VideoThumbnail(), context, video=video, at=1.5, width=160, format=kind)["image"]
    assert context.files.read(image).startswith(beginning)
    path = context.files.path(image).with_suffix(f".{kind}")
    path.write_bytes(context.files.read(image))
    heard: list[str] = []
    with pytest.raises(TaskError):  # it needs an output
        ffmpeg.run(
            ["-loglevel", "info", "-i", str(path)],
            folder=path.parent,
            cancellation=Cancellation(20),
            on_line=heard.append,
        )
    assert any("160x120" in line for line in heard)


def test_a_thumbnail_is_never_larger_than_the_video(context: StubContext) -> None:
    narrow = made(context, "n.mp4", "-f", "lavfi", "-i", "testsrc=d=0.2:s=16x2000", "-c:v", "libx264")
    image = run(VideoThumbnail(), context, video=narrow, width=4096)["image"]
    assert image["size"] < 100_000


def test_different_moments_are_different_pictures(context: StubContext, video: FileValue) -> None:
    first, later = (run(VideoThumbnail(), context, video=video, at=at)["image"] for at in (0, 3))
    assert first["sha256"] != later["sha256"]


def test_a_moment_after_the_end(context: StubContext, video: FileValue) -> None:
    with pytest.raises(TaskError, match="The video is 5 s long; there is nothing at 60 s"):
        run(VideoThumbnail(), context, video=video, at=60)
