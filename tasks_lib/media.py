"""Sound and video files as task types work with them: fetched into a private folder, converted, stored."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dataflow.lib.errors import TaskError
from tasks_lib import file_values
from tasks_lib.base import Field, FileValue, JsonValue, TaskContext
from tasks_lib.clients import ffmpeg
from tasks_lib.literals import fractions, wrong_inputs

#: Bytes of a media file that is taken at all, and of all files that one task makes of it.
MAX_INPUT, MAX_OUTPUT = 2 * 1024**3, 2 * 1024**3
#: Seconds that a try of a media task may take.
TIMEOUT = 1800.0
_BITRATE = re.compile(r"([1-9]\d{0,2})k|([1-9]\d{3,5})")
_LEAST_BITRATE, _MOST_BITRATE = 8_000, 512_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundFormat:
    """A kind of sound file: its media type, its encoder and its container."""

    content_type: str
    encoder: str
    container: str
    #: How good it is unless a bit rate is given; empty where a bit rate means nothing.
    quality: tuple[str, ...] = ()
    #: What else its encoder or container is told.
    extra: tuple[str, ...] = ()


DEFAULT_BITRATE = "128k"
_BY_BITRATE = ("-b:a", DEFAULT_BITRATE)
FORMATS: Mapping[str, SoundFormat] = {
    "mp3": SoundFormat(
        content_type="audio/mpeg",
        encoder="libmp3lame",
        container="mp3",
        quality=_BY_BITRATE,
        extra=("-id3v2_version", "3"),
    ),
    "wav": SoundFormat(content_type="audio/wav", encoder="pcm_s16le", container="wav"),
    "m4a": SoundFormat(content_type="audio/mp4", encoder="aac", container="ipod", quality=_BY_BITRATE),
    "flac": SoundFormat(content_type="audio/flac", encoder="flac", container="flac"),
    # Vorbis refuses a bit rate that is too high for a sound of few samples. This quality is near 128k for the usual.
    "ogg": SoundFormat(content_type="audio/ogg", encoder="libvorbis", container="ogg", quality=("-q:a", "4")),
}

#: The inputs that say how a sound is to be written.
SOUND_INPUTS = (
    Field(name="format", type="text", default="mp3", enum=tuple(FORMATS), description="Kind of sound file"),
    Field(
        name="bitrate",
        type="text",
        description=f"Bits a second of mp3, m4a and ogg, about {DEFAULT_BITRATE} unless given; the others have none",
        example="128k",
    ),
    Field(
        name="sample_rate",
        type="number",
        minimum=8000,
        maximum=192_000,
        description="Samples a second; those of the file unless given",
        example=44_100,
    ),
    Field(
        name="channels",
        type="number",
        minimum=1,
        maximum=8,
        description="1 is mono, 2 is stereo; those of the file unless given",
        example=2,
    ),
)


@dataclass(frozen=True, slots=True)
class Opened:
    """A media file in a folder that exists for one task."""

    folder: Path
    path: Path
    media: ffmpeg.Media


@contextmanager
def opened(context: TaskContext, value: FileValue, what: str) -> Iterator[Opened]:
    """A copy of the file in a private folder, looked into. ``what`` names it in messages: "The video".

    Raises ``TaskError``: ``too_large``, ``validation`` where it is not a media file that can be read.
    """
    with tempfile.TemporaryDirectory(prefix="media-") as name:
        folder = Path(name)
        path = folder / "source"  # its name is the user's, and so is no part of ours
        file_values.copy(context, value, path, most=MAX_INPUT, what=what)
        yield Opened(folder, path, ffmpeg.probe(path, cancellation=context.cancellation))


def wrong_sound(given: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
    """What is wrong with the inputs of ``SOUND_INPUTS`` that are known before the task runs."""
    yield from wrong_inputs(given, {"bitrate": _bits})
    yield from fractions(given, "sample_rate", "channels")


def sound_arguments(inputs: Mapping[str, JsonValue]) -> list[str]:
    """How ffmpeg writes a sound as ``SOUND_INPUTS`` say. Raises ``TaskError('validation')``."""
    kind = FORMATS[inputs["format"]]
    arguments = ["-map", "0:a:0", "-vn", "-sn", "-dn", "-map_chapters", "-1", "-c:a", kind.encoder, *kind.extra]
    if kind.quality:
        arguments += ["-b:a", str(_bits(inputs["bitrate"]))] if inputs["bitrate"] else kind.quality
    for name, option in (("sample_rate", "-ar"), ("channels", "-ac")):
        if inputs[name] is not None:
            arguments += [option, str(_whole(name, inputs[name]))]
    return arguments


def converted_sound(
    context: TaskContext, value: FileValue, inputs: Mapping[str, JsonValue], what: str
) -> tuple[FileValue, float | None]:
    """The first sound of a media file as a file of its own, and its length in seconds."""
    arguments = sound_arguments(inputs)
    kind = FORMATS[inputs["format"]]
    with opened(context, value, what) as source:
        require_sound(source.media, what)
        target = source.folder / f"sound.{inputs['format']}"
        ffmpeg.run(
            ["-progress", "pipe:1", *ffmpeg.source(source.path), *arguments, "-f", kind.container, target.name],
            folder=source.folder,
            cancellation=context.cancellation,
            on_line=ffmpeg.seconds_done(lambda done: _tell(context, done, source.media.duration)),
        )
        seconds = ffmpeg.duration(target, cancellation=context.cancellation)
        name = file_values.renamed(value, inputs["format"], "sound")
        return file_values.send(context, target, name, kind.content_type), seconds


def require_sound(media: ffmpeg.Media, what: str) -> None:
    """Raise ``TaskError('validation')`` for a file without sound."""
    if not media.has_audio:
        raise TaskError("validation", f"{what} has no sound in it.")


def _tell(context: TaskContext, done: float, whole: float | None) -> None:
    if whole:
        context.progress(min(done / whole, 1.0), f"{done:.0f} of {whole:.0f} s")


def _bits(text: str) -> int:
    found = _BITRATE.fullmatch(text)
    bits = 0 if found is None else int(found[1]) * 1000 if found[1] else int(found[2])
    if not _LEAST_BITRATE <= bits <= _MOST_BITRATE:
        raise TaskError("validation", f"`bitrate` {text[:40]!r} is not one: give 8k to 512k, for example 128k.")
    return bits


def _whole(name: str, number: float) -> int:
    if number != int(number):
        raise TaskError("validation", f"`{name}` must be a whole number, not {number:g}.")
    return int(number)
