"""Sound files: which formats there are, turning one into another, and joining."""

from __future__ import annotations

import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dataflow.lib.cancellation import Cancellation
from tasks_lib.clients import ffmpeg

#: Samples per second of the ``pcm`` that the speech protocol speaks: signed 16 bit, one channel.
PCM_RATE = 24_000
_CHUNK = 256 * 1024
_RAW = ("-f", "s16le", "-ar", str(PCM_RATE), "-ac", "1")


@dataclass(frozen=True, slots=True)
class Format:
    """A sound format: its media type and how ffmpeg writes it."""

    content_type: str
    arguments: tuple[str, ...]


FORMATS: Mapping[str, Format] = {
    "mp3": Format("audio/mpeg", ("-c:a", "libmp3lame", "-b:a", "128k", "-id3v2_version", "3", "-f", "mp3")),
    "opus": Format("audio/ogg", ("-c:a", "libopus", "-b:a", "64k", "-f", "ogg")),
    "aac": Format("audio/aac", ("-c:a", "aac", "-b:a", "128k", "-write_id3v2", "1", "-f", "adts")),
    "flac": Format("audio/flac", ("-c:a", "flac", "-f", "flac")),
    "wav": Format("audio/wav", ("-c:a", "pcm_s16le", "-f", "wav")),
    "pcm": Format("audio/pcm", ("-c:a", "pcm_s16le", *_RAW)),
}


def encode(samples: Path, rate: int, target: Path, kind: str, *, comment: str, cancellation: Cancellation) -> None:
    """Write raw ``samples`` (signed 16 bit, one channel, ``rate`` a second) as ``target``, with ``comment`` in it."""
    raw = ffmpeg.source(samples, "-f", "s16le", "-ar", str(rate), "-ac", "1")
    # Speech at 24,000 samples a second is what every format here can hold.
    arguments = [*raw, "-metadata", f"comment={comment}", "-ar", str(PCM_RATE), *FORMATS[kind].arguments, target.name]
    ffmpeg.run(arguments, folder=target.parent, cancellation=cancellation)


def join(parts: Sequence[Path], target: Path, kind: str, *, cancellation: Cancellation) -> None:
    """Write ``parts``, all of the format ``kind``, one after the other as ``target``, encoded once.

    They are decoded one by one beside ``target``: one run with all of them needs threads and memory for each. All
    get the sample rate and the channels of the first.
    """
    samples, decoded = target.with_suffix(".samples"), target.with_suffix(".decoded")
    rate, channels = PCM_RATE, 1
    with samples.open("wb") as joined:
        for number, part in enumerate(parts):
            if kind == "pcm":
                _append(part, joined, cancellation)
                continue
            alike = ["-ar", str(rate), "-ac", str(channels)] if number else []
            arguments = [*ffmpeg.source(part), "-vn", *alike, "-c:a", "pcm_s16le", "-f", "wav", decoded.name]
            ffmpeg.run(arguments, folder=target.parent, cancellation=cancellation)
            rate, channels = _append_wave(decoded, joined, cancellation)
    decoded.unlink(missing_ok=True)
    if kind == "pcm":
        samples.replace(target)
        return
    raw = ffmpeg.source(samples, "-f", "s16le", "-ar", str(rate), "-ac", str(channels))
    ffmpeg.run([*raw, *FORMATS[kind].arguments, target.name], folder=target.parent, cancellation=cancellation)
    samples.unlink()


def _append(part: Path, joined: IO[bytes], cancellation: Cancellation) -> None:
    with part.open("rb") as sound:
        while chunk := sound.read(_CHUNK):
            cancellation.check()
            joined.write(chunk)


def _append_wave(part: Path, joined: IO[bytes], cancellation: Cancellation) -> tuple[int, int]:
    """Append the samples of a WAV file; its samples a second and its channels."""
    with wave.open(str(part), "rb") as sound:
        while chunk := sound.readframes(_CHUNK):
            cancellation.check()
            joined.write(chunk)
        return sound.getframerate(), sound.getnchannels()
