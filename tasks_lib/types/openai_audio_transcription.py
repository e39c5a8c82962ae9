"""``openai.audio.transcription``: speech in a sound file turned into text."""

from __future__ import annotations

import mimetypes
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataflow.lib.errors import TaskError
from tasks_lib import audio, subtitles
from tasks_lib.base import Field, FileValue, JsonValue, TaskContext, TaskType
from tasks_lib.clients import ffmpeg, openai_client

#: Bytes that one request may carry, and bytes of a file that is taken at all.
MAX_UPLOAD = 25 * 1024 * 1024
MAX_FILE = 2 * 1024**3
#: Seconds of one part of a file that is split: about 10 MB.
PART_SECONDS = 1200
_CHUNK = 1024 * 1024
#: Models that answer with nothing but text, without times.
_TEXT_ONLY = re.compile(r"gpt-")
_WRITERS = {"srt": subtitles.as_srt, "vtt": subtitles.as_vtt}


class Transcription(TaskType):
    """Turns speech into text. A file that is too large for a request is split and its texts joined."""

    name = "openai.audio.transcription"
    title = "Transcription"
    category = "AI"
    description = "Turns the speech in an audio or video file into text or subtitles."
    inputs = (
        Field(name="file", type="file", required=True, aliases=("audio",), description="Audio or video file"),
        Field(name="model", type="text", default="whisper-1", description="Name of the model", example="whisper-1"),
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
    example = {"file": "fl-4g7h8j9k2m3n4p5q", "language": "en"}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Transcribe the file. Raises ``TaskError``."""
        with tempfile.TemporaryDirectory(prefix="transcription-") as name:
            folder = Path(name)
            sound = _fetched(context, inputs["file"], folder)
            if sound.stat().st_size <= MAX_UPLOAD:
                answer = _transcribed(context, sound, _media_type(inputs["file"], sound), inputs)
                answer.setdefault("duration", ffmpeg.duration(sound, cancellation=context.cancellation))
            else:
                answer = _in_parts(context, sound, folder, inputs)
        context.usage(model=inputs["model"], **_amounts(answer))
        return {name: answer.get(name) for name in ("text", "segments", "language", "duration")}


def _fetched(context: TaskContext, value: FileValue, folder: Path) -> Path:
    """The file, in ``folder``, under a name whose ending says what it is."""
    target = folder / f"sound{_ending(value)}"
    size = 0
    with context.files.open(value) as given, target.open("wb") as copy:
        while chunk := given.read(_CHUNK):
            context.cancellation.check()
            size += len(chunk)
            if size > MAX_FILE:
                raise TaskError("too_large", f"The file is larger than {MAX_FILE:,} bytes.")
            copy.write(chunk)
    if size == 0:
        raise TaskError("validation", "The file to transcribe is empty.")
    return target


def _ending(value: FileValue) -> str:
    name = str(value.get("name") or value.get("url") or "").split("?")[0]
    if found := re.search(r"\.[A-Za-z0-9]{1,5}$", name):
        return found[0].lower()
    return mimetypes.guess_extension(str(value.get("content_type") or "").split(";")[0].strip()) or ".mp3"


def _media_type(value: FileValue, sound: Path) -> str:
    return str(value.get("content_type") or mimetypes.guess_type(sound.name)[0] or "application/octet-stream")


def _transcribed(
    context: TaskContext, sound: Path, content_type: str, inputs: Mapping[str, JsonValue], **changed: Any
) -> dict[str, JsonValue]:
    """One request."""
    names = ("model", "language", "prompt", "response_format", "temperature")
    options = {name: inputs[name] for name in names if inputs[name] not in (None, "")} | changed
    with sound.open("rb") as file:
        return openai_client.transcribe(context, file=file, name=sound.name, content_type=content_type, **options)


def _in_parts(context: TaskContext, sound: Path, folder: Path, inputs: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Split, transcribe each part, put the texts together with their times."""
    wanted = inputs["response_format"]
    if wanted in _WRITERS and _TEXT_ONLY.match(inputs["model"]):
        raise TaskError("validation", f"The model {inputs['model']} gives no times, so no {wanted} can be made.")
    parts = audio.split(sound, folder, PART_SECONDS, cancellation=context.cancellation)
    asked = "verbose_json" if wanted in ("verbose_json", *_WRITERS) else "json"
    texts: list[str] = []
    segments: list[dict[str, JsonValue]] = []
    language: JsonValue = None
    start = 0.0
    for index, part in enumerate(parts):
        context.progress(index / len(parts), f"Transcribing part {index + 1} of {len(parts)}")
        answer = _transcribed(context, part, "audio/mpeg", inputs, response_format=asked)
        texts.append(str(answer["text"]).strip())
        segments += subtitles.shifted(answer.get("segments") or [], start, len(segments))
        language = language or answer.get("language")
        start += ffmpeg.duration(part, cancellation=context.cancellation) or PART_SECONDS
    text = _WRITERS[wanted](segments) if wanted in _WRITERS else " ".join(filter(None, texts))
    return {"text": text, "segments": segments or None, "language": language, "duration": round(start, 2)}


def _amounts(answer: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Seconds, and tokens where the model counts them."""
    used = answer.get("usage")
    counted = used if isinstance(used, dict) else {}
    amounts = {"seconds": answer.get("duration")} | {
        name: counted.get(name) for name in ("input_tokens", "output_tokens")
    }
    return {name: amount for name, amount in amounts.items() if isinstance(amount, (int, float))}
