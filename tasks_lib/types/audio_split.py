"""``audio.split``: a long sound in parts."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dataflow.lib.errors import TaskError
from tasks_lib import file_values, media
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.clients import ffmpeg
from tasks_lib.silences import Silence, cuts_of

#: Parts of one sound.
MAX_PARTS = 1000
#: Silences of one sound: three a second for a day. One lasts at least so many seconds.
MAX_SILENCES, _SHORTEST = 250_000, 0.3
_SILENCE = re.compile(r"silence_(start|end): (-?\d+(?:\.\d+)?)")
_LIST = "parts.csv"


class AudioSplit(TaskType):
    """Cuts a sound into parts of at most so many seconds, in silences where there are any."""

    name = "audio.split"
    title = "Split audio"
    category = "media"
    description = (
        "Cuts a sound file into parts, each a file with the second at which it starts. With `at` = `silences` a part "
        "ends in the longest silence of its last third, so that no word is cut; where there is none, it ends at "
        f"`seconds`. At most {MAX_PARTS} parts."
    )
    inputs = (
        Field(name="audio", type="file", required=True, description="The sound file"),
        Field(
            name="seconds",
            type="number",
            default=600,
            minimum=1,
            maximum=86_400,
            description="Length of a part; with `silences`, the most that it may have",
            example=600,
        ),
        Field(
            name="at",
            type="text",
            default="seconds",
            enum=("seconds", "silences"),
            description="Where to cut: exactly after so many seconds, or in a silence before",
        ),
        Field(
            name="silence_level",
            type="number",
            default=-35,
            minimum=-90,
            maximum=-5,
            description="Decibels below full scale under which it counts as silent",
        ),
        *media.SOUND_INPUTS,
    )
    outputs = (
        Field(
            name="parts",
            type="list",
            description="In order, each with `file`, `start` and `duration` (both in seconds)",
        ),
        Field(name="count", type="number", description="How many parts there are", example=3),
    )
    timeout = media.TIMEOUT
    retried = ("timeout",)
    example = {"audio": "fl-sample0audio", "seconds": 2, "at": "silences"}

    def check(self, given: Mapping[str, JsonValue]) -> Iterable[tuple[str, str]]:
        """How the sound is to be written, where it is known."""
        return media.wrong_sound(given)

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Split the sound. Raises ``TaskError``."""
        with media.opened(context, inputs["audio"], "The audio file") as source:
            media.require_sound(source.media, "The audio file")
            places = _places(context, source, inputs)
            written = _write(context, source, places, inputs)
            return {"parts": _kept(context, written, inputs), "count": len(written)}


def _places(context: TaskContext, source: media.Opened, inputs: Mapping[str, JsonValue]) -> list[float]:
    """The seconds at which to cut."""
    length, seconds = source.media.duration, inputs["seconds"]
    if length is None:
        raise TaskError("validation", "The audio file does not say how long it is. Run audio.convert on it first.")
    if length / seconds > MAX_PARTS:
        least = math.ceil(length / MAX_PARTS)
        raise TaskError(
            "too_large", f"That would be more than {MAX_PARTS} parts: `seconds` must be {least} or more for this file."
        )
    quiet: list[Silence] = []
    if inputs["at"] == "silences" and length > seconds:
        context.progress(0.0, "Looking for silences")
        quiet = _silences(context, source, inputs["silence_level"])
    places = cuts_of(quiet, length, seconds)
    if len(places) >= MAX_PARTS:
        raise TaskError("too_large", f"That would be more than {MAX_PARTS} parts: give more `seconds`.")
    return places


def _silences(context: TaskContext, source: media.Opened, level: float) -> list[Silence]:
    """The stretches in which the sound stays below ``level``, in dB."""
    found: list[Silence] = []
    begun: list[float] = []

    def hear(line: str) -> None:
        for kind, moment in _SILENCE.findall(line):
            if kind == "start":
                begun[:] = [max(float(moment), 0.0)]
            elif begun:
                found.append(Silence(begun.pop(), float(moment)))
        if len(found) > MAX_SILENCES:
            raise TaskError("too_large", f"The sound has more than {MAX_SILENCES:,} silences.")

    looking = ["-map", "0:a:0", "-vn", "-sn", "-dn", "-af", f"silencedetect=noise={level}dB:d={_SHORTEST}"]
    # What the filter finds, it says at the level `info`.
    arguments = ["-loglevel", "info", "-nostats", *ffmpeg.source(source.path), *looking, "-f", "null", "-"]
    ffmpeg.run(arguments, folder=source.folder, cancellation=context.cancellation, on_line=hear)
    return found


def _write(
    context: TaskContext, source: media.Opened, places: Sequence[float], inputs: Mapping[str, JsonValue]
) -> list[tuple[Path, float, float]]:
    """Write the parts: each with its start and end as they came out, since a cut falls between two packets."""
    sound = media.sound_arguments(inputs)
    kind = inputs["format"]
    cutting = ["-segment_format", media.FORMATS[kind].container, "-reset_timestamps", "1"]
    cutting += ["-segment_list", _LIST, "-segment_list_type", "csv"]
    # Without a place to cut, one that the sound does not reach.
    cutting += ["-segment_times", ",".join(f"{place:.3f}" for place in places) or "1000000"]

    def watch(_: str) -> None:
        size = sum(part.stat().st_size for part in source.folder.glob(f"part*.{kind}"))
        if size > media.MAX_OUTPUT:
            raise TaskError("too_large", f"The parts together are larger than {media.MAX_OUTPUT:,} bytes.")

    ffmpeg.run(
        ["-progress", "pipe:1", *ffmpeg.source(source.path), *sound, "-f", "segment", *cutting, f"part%05d.{kind}"],
        folder=source.folder,
        cancellation=context.cancellation,
        on_line=watch,
    )
    with (source.folder / _LIST).open(encoding="utf-8", newline="") as rows:
        return [(source.folder / name, float(start), float(end)) for name, start, end in csv.reader(rows)]


def _kept(
    context: TaskContext, written: Sequence[tuple[Path, float, float]], inputs: Mapping[str, JsonValue]
) -> list[JsonValue]:
    """The parts as stored files."""
    kind = inputs["format"]
    kept: list[JsonValue] = []
    for index, (path, start, end) in enumerate(written):
        context.progress(index / len(written), f"Storing part {index + 1} of {len(written)}")
        if kind == "flac":
            _measure(context, path)
        name = file_values.renamed(inputs["audio"], kind, "sound").removesuffix(f".{kind}")
        stored = file_values.send(context, path, f"{name}-{index + 1:04d}.{kind}", media.FORMATS[kind].content_type)
        kept.append({"file": stored, "start": round(start, 3), "duration": round(end - start, 3)})
    return kept


def _measure(context: TaskContext, part: Path) -> None:
    """Write its length into a part that was cut as flac: the cutter cannot go back to the beginning of one."""
    whole = part.with_name("whole.flac")
    ffmpeg.run(
        [*ffmpeg.source(part), "-c:a", "flac", whole.name], folder=part.parent, cancellation=context.cancellation
    )
    whole.replace(part)
