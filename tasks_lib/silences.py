"""Cuts speech into parts where nobody speaks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dataflow.lib.cancellation import Cancellation
from tasks_lib.clients import ffmpeg

#: A silence is so quiet (in dB below the loudest there can be) and lasts so many seconds.
QUIET, SHORTEST = -35, 0.3
#: A part is cut within this share of its longest length, from its end.
_WINDOW = 1 / 3
#: Silences that are noted; in a day of speech there are fewer.
_MAX_SILENCES = 100_000
#: Speech as recognisers hear it: 16,000 samples a second, one channel, 8 KB a second.
#: No bit reservoir: a frame that needs the one before it would be lost at a cut.
_SPEECH = ("-ac", "1", "-ar", "16000", "-c:a", "libmp3lame", "-b:a", "64k", "-reservoir", "0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a sound: an mp3 file, and when it begins and ends in the whole, in seconds."""

    path: Path
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Silence:
    """From when to when nobody speaks, in seconds."""

    start: float
    end: float


def split(whole: Path, folder: Path, seconds: float, *, cancellation: Cancellation) -> list[Part]:
    """Cut the sound of ``whole`` into mp3 files in ``folder``, each at most ``seconds`` long, in order.

    A cut is in the longest silence of the last third of a part, or where the part is full if there is none.
    """
    speech = folder / "speech.mp3"
    silences, length = _encoded(whole, speech, cancellation)
    cuts = cuts_of(silences, length, seconds)
    if not cuts:
        return [Part(path=speech, start=0.0, end=length)]
    times = ",".join(f"{cut:.3f}" for cut in cuts)
    cutting = ["-c", "copy", "-f", "segment", "-segment_times", times, "-segment_format", "mp3", "part%05d.mp3"]
    ffmpeg.run([*ffmpeg.source(speech), *cutting], folder=folder, cancellation=cancellation)
    bounds = [0.0, *cuts, length]
    paths = sorted(folder.glob("part*.mp3"))
    return [Part(path=path, start=bounds[at], end=bounds[at + 1]) for at, path in enumerate(paths)]


def cuts_of(silences: Sequence[Silence], length: float, seconds: float) -> list[float]:
    """Where to cut a sound of ``length`` so that no part is longer than ``seconds``; ``silences`` are in order."""
    cuts: list[float] = []
    start, middles = 0.0, [(silence.start + silence.end) / 2 for silence in silences]
    while length - start > seconds:
        first = bisect_left(middles, start + seconds * (1 - _WINDOW))
        last = bisect_left(middles, start + seconds)
        longest = max(range(first, last), key=lambda at: silences[at].end - silences[at].start, default=None)
        start = start + seconds if longest is None else middles[longest]
        cuts.append(start)
    return cuts


def _encoded(whole: Path, speech: Path, cancellation: Cancellation) -> tuple[list[Silence], float]:
    """Write ``speech``; its silences, and how long it is. One pass over the whole."""
    silences: list[Silence] = []
    begun: list[float] = []

    def hear(line: str) -> None:
        name, _, value = line.strip().partition("=")
        if name == "lavfi.silence_start":
            begun.append(float(value))
        elif name == "lavfi.silence_end" and begun and len(silences) < _MAX_SILENCES:
            silences.append(Silence(begun.pop(), float(value)))
            begun.clear()

    listening = f"silencedetect=noise={QUIET}dB:duration={SHORTEST},ametadata=mode=print:file=-"
    ffmpeg.run(
        [*ffmpeg.source(whole), "-vn", "-af", listening, *_SPEECH, "-f", "mp3", speech.name],
        folder=speech.parent,
        cancellation=cancellation,
        on_line=hear,
    )
    return silences, ffmpeg.duration(speech, cancellation=cancellation) or 0.0
