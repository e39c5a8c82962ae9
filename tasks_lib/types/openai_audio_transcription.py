"""``openai.audio.transcription``: speech in a sound file turned into text."""

from __future__ import annotations

import math
import mimetypes
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataflow.lib.errors import TaskError
from tasks_lib import file_values, silences, subtitles
from tasks_lib.base import Field, FileValue, JsonValue, TaskContext, TaskType
from tasks_lib.clients import ffmpeg, openai_calls
from tasks_lib.clients.openai_client import RETRIED, Endpoint, endpoint_of
from tasks_lib.model_inputs import CONNECTION, model_field, record_usage

_MODEL = "whisper-1"

#: Bytes that one request may carry, and bytes of a file that is taken at all.
MAX_UPLOAD = 25 * 1024 * 1024
MAX_FILE = 2 * 1024**3
#: Seconds of the longest part of a file that is split: about 10 MB.
PART_SECONDS = 1200
#: Models that answer with nothing but text, without times; and seconds that they take at once, a little less than 1500.
_TEXT_ONLY = re.compile(r"gpt-")
MAX_SECONDS = 1400
_WRITERS = {"srt": subtitles.as_srt, "vtt": subtitles.as_vtt}


class Transcription(TaskType):
    """Turns speech into text. A file that is too large for a request is split and its texts joined."""

    name = "openai.audio.transcription"
    title = "Transcription"
    category = "AI"
    description = "Turns the speech in an audio or video file into text or subtitles."
    inputs = (
        Field(name="file", type="file", required=True, aliases=("audio",), description="Audio or video file"),
        model_field(_MODEL),
        Field(name="language", type="text", description="Language spoken, as a two-letter code", example="en"),
        Field(name="prompt", type="text", description="Words to expect, or the text before"),
        Field(
            name="response_format",
            type="text",
            default="json",
            enum=("json", "text", "srt", "verbose_json", "vtt"),
            description="`srt` and `vtt` give subtitles as `text`; `verbose_json` also gives segments",
        ),
        Field(name="temperature", type="number", default=0, minimum=0, maximum=1, description="How free it is"),
        CONNECTION,
    )
    outputs = (
        Field(name="text", type="text", description="The text, or the subtitles"),
        Field(
            name="segments", type="list", description="Pieces with start and end in seconds, where the model gives them"
        ),
        Field(name="language", type="text", description="Language, where the model says it"),
        Field(name="duration", type="number", description="Length of the sound in seconds, where it is known"),
    )
    timeout = 1800.0
    secrets = ("OPENAI_API_KEY",)
    retried = RETRIED
    example = {"file": "fl-sample0audio", "language": "en"}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Transcribe the file. Raises ``TaskError``."""
        endpoint = endpoint_of(context, inputs["connection"])
        asked = dict(inputs) | {"model": endpoint.model(inputs["model"], _MODEL)}
        with tempfile.TemporaryDirectory(prefix="transcription-") as name:
            folder = Path(name)
            sound = _fetched(context, inputs["file"], folder)
            seconds = ffmpeg.duration(sound, cancellation=context.cancellation)
            if _fits(sound, seconds, asked["model"]):
                kind = _media_type(inputs["file"], sound)
                answer = _transcribed(context, endpoint, sound, kind, seconds, asked)
                answer["duration"] = _number(answer.get("duration"), seconds)
            else:
                answer = _in_parts(context, endpoint, sound, folder, asked)
        return {name: answer.get(name) for name in ("text", "segments", "language", "duration")}


def _fits(sound: Path, seconds: float | None, model: str) -> bool:
    """Whether one request can carry it."""
    is_short = seconds is None or seconds <= MAX_SECONDS or not _TEXT_ONLY.match(model)
    return sound.stat().st_size <= MAX_UPLOAD and is_short


def _fetched(context: TaskContext, value: FileValue, folder: Path) -> Path:
    """The file, in ``folder``, under a name whose ending says what it is."""
    target = folder / f"sound{_ending(value)}"
    file_values.copy(context, value, target, most=MAX_FILE, what="The file to transcribe")
    return target


def _ending(value: FileValue) -> str:
    name = str(value.get("name") or value.get("url") or "").split("?")[0]
    if found := re.search(r"\.[A-Za-z0-9]{1,5}$", name):
        return found[0].lower()
    return mimetypes.guess_extension(str(value.get("content_type") or "").split(";")[0].strip()) or ".mp3"


def _media_type(value: FileValue, sound: Path) -> str:
    return str(value.get("content_type") or mimetypes.guess_type(sound.name)[0] or "application/octet-stream")


def _transcribed(
    context: TaskContext,
    endpoint: Endpoint,
    sound: Path,
    content_type: str,
    seconds: float | None,
    inputs: Mapping[str, JsonValue],
    **changed: Any,
) -> dict[str, JsonValue]:
    """One request."""
    names = ("model", "language", "prompt", "response_format", "temperature")
    options = {name: inputs[name] for name in names if inputs[name] not in (None, "")} | changed
    with sound.open("rb") as file:
        answer = openai_calls.transcribe(
            context, endpoint, file=file, name=sound.name, content_type=content_type, **options
        )
    record_usage(context, inputs["model"], answer.get("usage"), seconds=_number(answer.get("duration"), seconds))
    return answer


def _in_parts(
    context: TaskContext, endpoint: Endpoint, sound: Path, folder: Path, inputs: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """Split at silences, transcribe each part, put the texts together with their times."""
    wanted = inputs["response_format"]
    if wanted in _WRITERS and _TEXT_ONLY.match(inputs["model"]):
        raise TaskError("validation", f"The model {inputs['model']} gives no times, so no {wanted} can be made.")
    context.progress(0, "Looking for silences")
    parts = silences.split(sound, folder, PART_SECONDS, cancellation=context.cancellation)
    asked = "verbose_json" if wanted in ("verbose_json", *_WRITERS) else "json"
    texts: list[str] = []
    segments: list[dict[str, JsonValue]] = []
    language: JsonValue = None
    for index, part in enumerate(parts):
        context.progress(index / len(parts), f"Transcribing part {index + 1} of {len(parts)}")
        seconds = part.end - part.start
        answer = _transcribed(context, endpoint, part.path, "audio/mpeg", seconds, inputs, response_format=asked)
        texts.append(str(answer["text"]).strip())
        segments += subtitles.shifted(answer.get("segments") or [], part.start, len(segments), last=part.end)
        language = language or answer.get("language")
    text = _WRITERS[wanted](segments) if wanted in _WRITERS else " ".join(filter(None, texts))
    return {
        "text": text,
        "segments": segments or None,
        "language": language,
        "duration": round(parts[-1].end, 2) if parts else 0.0,
    }


def _number(told: JsonValue, known: float | None) -> float | None:
    """A number that some servers tell as text; else what is known."""
    try:
        seconds = float(told)
    except (TypeError, ValueError):
        return known
    return seconds if math.isfinite(seconds) and seconds >= 0 else known
