"""Turns speech into text with faster-whisper, window by window: memory does not grow with the length of the sound."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dataflow.lib.errors import TaskError
from tasks_lib.apart.entry import SOURCE

#: Samples a second of ``SOURCE``: signed 16 bit, one channel.
RATE = 16_000
#: Seconds that are heard at once, the last part of them in which they may end, and the piece that counts as a pause.
WINDOW, WINDOW_END, PAUSE = 600, 60, 0.3
#: Processor cores that are used: at most half of what there is, the rest is for others.
MAX_THREADS = 4

Samples = np.ndarray[Any, np.dtype[np.int16]]


def work(order: Mapping[str, Any]) -> dict[str, Any]:
    """The text of the sound. ``order``: ``model`` (a folder) and ``language`` (``None``: whatever is heard).

    How many seconds are done is told on the standard output, one JSON object a line.
    """
    os.environ["OMP_WAIT_POLICY"] = "passive"  # read at import: threads that wait would keep a core busy with it
    from faster_whisper import WhisperModel

    threads = max(min((os.cpu_count() or 1) // 2, MAX_THREADS), 1)
    model = WhisperModel(order["model"], device="cpu", compute_type="int8", cpu_threads=threads)
    language = order["language"]
    _require_language(model, language)
    samples: Samples = np.memmap(SOURCE, dtype="<i2", mode="r")
    segments: list[dict[str, Any]] = []
    for start, piece in _windows(samples):
        # Less prone to repeat itself for ever than with what it heard before as a hint.
        heard, about = model.transcribe(
            piece.astype(np.float32) / 32768, language=language, condition_on_previous_text=False, vad_filter=True
        )
        language = language or about.language
        for segment in heard:
            ends = round(start + segment.end, 2)
            begins = round(start + segment.start, 2)
            segments.append({"id": len(segments), "start": begins, "end": ends, "text": segment.text.strip()})
            print(json.dumps({"done": ends}), flush=True)  # noqa: T201  whoever started it listens
    text = " ".join(segment["text"] for segment in segments if segment["text"])
    return {"text": text, "segments": segments, "language": language}


def _require_language(model: Any, language: str | None) -> None:
    known = model.supported_languages
    if language is not None and language not in known:
        shown = ", ".join(known) if len(known) < 10 else "two-letter codes such as en, de, fr"
        raise TaskError("validation", f"The model does not know the language {language!r}. It knows: {shown}.")


def _windows(samples: Samples) -> Iterator[tuple[float, Samples]]:
    """The sound in pieces of at most ``WINDOW`` seconds, each with its start, cut where it is most quiet."""
    start = 0
    while len(samples) - start > WINDOW * RATE:
        end = start + WINDOW * RATE
        late = samples[end - WINDOW_END * RATE : end].astype(np.float32)
        step = int(PAUSE * RATE)
        loudness = np.square(late[: len(late) // step * step]).reshape(-1, step).sum(axis=1)
        cut = end - WINDOW_END * RATE + int(loudness.argmin()) * step + step // 2
        yield start / RATE, samples[start:cut]
        start = cut
    if len(samples) > start:
        yield start / RATE, samples[start:]
