"""Cutting speech where nobody speaks, and joining what was spoken: real ffmpeg on sound made here."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import pytest

from dataflow.lib.cancellation import Cancellation
from tasks_lib import audio, silences
from tasks_lib.clients import ffmpeg
from tasks_lib.silences import Silence, cuts_of
from tests.stubs.openai_stub import tone


def bursts(path: Path, seconds: int, every: float, silent: float) -> Path:
    """A tone that pauses for ``silent`` seconds at the end of every ``every``."""
    rate = 8000
    loud = int((every - silent) * rate)
    samples = (12_000 * (1 if at % 20 < 10 else -1) * (at % int(every * rate) < loud) for at in range(seconds * rate))
    data = b"".join(struct.pack("<h", sample) for sample in samples)
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16, b"data", len(data))  # fmt: skip
    path.write_bytes(head + data)
    return path


def length(path: Path) -> float:
    seconds = ffmpeg.duration(path, cancellation=Cancellation(20))
    assert seconds is not None
    return seconds


def test_it_cuts_in_silences(tmp_path: Path) -> None:
    whole = bursts(tmp_path / "whole.wav", 61, 5, 0.8)
    parts = silences.split(whole, tmp_path, 20, cancellation=Cancellation(60))
    assert [round(part.start, 1) for part in parts] == [0, 14.6, 29.6, 44.6]
    assert parts[-1].end == pytest.approx(61, abs=0.1)
    for part, following in itertools.pairwise(parts):
        assert part.end == following.start
    for part in parts:
        assert length(part.path) == pytest.approx(part.end - part.start, abs=0.15)


def test_it_cuts_anywhere_where_nobody_pauses(tmp_path: Path) -> None:
    whole = bursts(tmp_path / "whole.wav", 25, 5, 0)
    parts = silences.split(whole, tmp_path, 10, cancellation=Cancellation(60))
    assert [(part.start, round(part.end)) for part in parts] == [(0, 10), (10, 20), (20, 25)]
    assert sum(length(part.path) for part in parts) == pytest.approx(25, abs=0.3)


def test_what_is_short_stays_whole(tmp_path: Path) -> None:
    whole = bursts(tmp_path / "whole.wav", 5, 5, 0.5)
    (part,) = silences.split(whole, tmp_path, 10, cancellation=Cancellation(60))
    assert (part.start, part.end) == (0, pytest.approx(5, abs=0.1))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], [10, 20]),
        ([Silence(8, 8.5)], [8.25, 18.25]),
        ([Silence(7, 7.4), Silence(8, 9), Silence(9.5, 9.9)], [8.5, 18.5]),
        ([Silence(1, 5)], [10, 20]),
        ([Silence(9.9, 10.3)], [10, 20]),
        ([Silence(9, 9.4), Silence(18, 18.4), Silence(24, 24.5)], [9.2, 18.2]),
    ],
)
def test_where_it_cuts(found: list[Silence], expected: list[float]) -> None:
    """The longest silence of the last third; else the full length."""
    cuts = cuts_of(found, 25, 10)
    assert cuts == pytest.approx(expected)
    assert all(after - before <= 10 for before, after in zip([0, *cuts], [*cuts, 25], strict=True))


def samples(path: Path) -> list[int]:
    """One channel at 24,000 samples a second."""
    raw = "decoded.raw"
    ffmpeg.run(
        [*ffmpeg.source(path), "-f", "s16le", "-ac", "1", "-ar", "24000", raw],
        folder=path.parent,
        cancellation=Cancellation(20),
    )
    return [sample for (sample,) in struct.iter_unpack("<h", (path.parent / raw).read_bytes())]


@pytest.mark.parametrize("kind", sorted(set(audio.FORMATS) - {"pcm"}))
def test_a_joint_is_short(tmp_path: Path, kind: str) -> None:
    """Between two parts there is no gap that one would hear as a pause, and the tone does not get quieter."""
    parts = []
    for number in range(3):
        part = tmp_path / f"part{number}.{kind}"
        part.write_bytes(tone(kind))
        parts.append(part)
    whole = tmp_path / f"whole.{kind}"
    audio.join(parts, whole, kind, cancellation=Cancellation(30))
    heard = samples(whole)
    windows = [max(map(abs, heard[at : at + 240])) for at in range(2400, len(heard) - 2400, 240)]
    quiet = sum(loudest < 2000 for loudest in windows)
    assert quiet <= 2 * 8, "each joint less than 80 ms"
    assert max(windows) > 10_000


def test_a_wave_whose_length_was_not_known(tmp_path: Path) -> None:
    """A provider that streams sends a WAV with the largest length there is."""
    data = bytearray(tone("wav"))
    place = data.index(b"data")
    data[4:8] = data[place + 4 : place + 8] = b"\xff\xff\xff\xff"
    parts = [tmp_path / "a.wav", tmp_path / "b.wav"]
    for part in parts:
        part.write_bytes(data)
    audio.join(parts, tmp_path / "whole.wav", "wav", cancellation=Cancellation(30))
    assert length(tmp_path / "whole.wav") == pytest.approx(1.2, abs=0.05)
