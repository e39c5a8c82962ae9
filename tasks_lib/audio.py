"""Sound files: which formats there are, turning one into another, joining and splitting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataflow.lib.cancellation import Cancellation
from tasks_lib.clients import ffmpeg

#: Samples per second of the ``pcm`` that the speech protocol speaks: signed 16 bit, one channel.
PCM_RATE = 24_000
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
    """Write ``parts``, all of the format ``kind``, one after the other as ``target``."""
    options = _RAW if kind == "pcm" else ()
    inputs = [argument for part in parts for argument in ffmpeg.source(part, *options)]
    joining = ["-filter_complex", f"concat=n={len(parts)}:v=0:a=1"]
    ffmpeg.run(
        [*inputs, *joining, *FORMATS[kind].arguments, target.name], folder=target.parent, cancellation=cancellation
    )


def split(whole: Path, folder: Path, seconds: int, *, cancellation: Cancellation) -> list[Path]:
    """Cut the sound of ``whole`` into mp3 files of ``seconds`` each (64 kbit/s, one channel), in order."""
    sound = ["-vn", "-ac", "1", "-ar", "16000", "-c:a", "libmp3lame", "-b:a", "64k"]
    cutting = ["-f", "segment", "-segment_time", str(seconds), "-segment_format", "mp3", "part%05d.mp3"]
    ffmpeg.run([*ffmpeg.source(whole), *sound, *cutting], folder=folder, cancellation=cancellation)
    return sorted(folder.glob("part*.mp3"))
