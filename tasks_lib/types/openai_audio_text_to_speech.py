"""``openai.audio.text_to_speech``: a text spoken, as a sound file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from dataflow.lib.errors import TaskError
from tasks_lib import audio
from tasks_lib.base import Field, FileValue, FileWriter, JsonValue, TaskContext, TaskType
from tasks_lib.clients import openai_calls
from tasks_lib.clients.openai_client import RETRIED, Endpoint, endpoint_of
from tasks_lib.model_inputs import CONNECTION, model_field
from tasks_lib.splitting import split_text

_MODEL = "tts-1"

#: Characters that one request may speak.
MAX_CHARACTERS = 4096
#: Characters of a whole text: about three hours of speech.
MAX_TEXT = 200_000
_CHUNK = 64 * 1024
_JOINING = 0.99


class TextToSpeech(TaskType):
    """Speaks a text. One that is too long for a request is split at sentences and joined to one file."""

    name = "openai.audio.text_to_speech"
    title = "Text to speech"
    category = "AI"
    description = "Speaks a text. Without a key, the local voice of a development server stands in."
    inputs = (
        Field(
            name="text",
            type="text",
            required=True,
            min_length=1,
            max_length=MAX_TEXT,
            description="The text to speak",
            example="Hello, world!",
        ),
        Field(name="voice", type="text", default="alloy", description="Name of the voice", example="alloy"),
        model_field(_MODEL),
        Field(name="format", type="text", default="mp3", enum=tuple(audio.FORMATS), description="Kind of sound file"),
        Field(name="speed", type="number", default=1.0, minimum=0.25, maximum=4, description="1 is normal"),
        Field(name="instructions", type="text", description="How to speak, for models that take it"),
        CONNECTION,
    )
    outputs = (Field(name="audio", type="file", description="The sound file"),)
    aliases = ("openai.audio.tts",)
    secrets = ("OPENAI_API_KEY",)
    local_voice = True
    retried = RETRIED
    example = {"text": "Hello, world!", "voice": "alloy"}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Speak the text. Raises ``TaskError``."""
        parts = split_text(inputs["text"], MAX_CHARACTERS)
        if not parts:
            raise TaskError("validation", "`text` has nothing in it to speak.")
        endpoint = endpoint_of(context, inputs["connection"])
        options = {name: inputs[name] for name in ("voice", "speed", "instructions") if inputs[name] not in (None, "")}
        options |= {"model": endpoint.model(inputs["model"], _MODEL), "response_format": inputs["format"]}
        speak = _speak_one if len(parts) == 1 else _speak_many
        return {"audio": speak(context, endpoint, parts, options)}


def _speak_one(context: TaskContext, endpoint: Endpoint, texts: Sequence[str], options: Mapping[str, Any]) -> FileValue:
    """Straight from the provider into the file."""
    kind = options["response_format"]
    with (
        openai_calls.speech(context, endpoint, text=texts[0], **options) as speech,
        _new_file(context, kind, local=speech.local) as file,
    ):
        context.usage(model=options["model"], characters=len(texts[0]), **_told(local=speech.local))
        if sum(file.write(chunk) for chunk in speech.chunks) == 0:
            raise _silent()
    return file.value


def _speak_many(
    context: TaskContext, endpoint: Endpoint, texts: Sequence[str], options: Mapping[str, Any]
) -> FileValue:
    """Part by part into a private folder, then joined."""
    kind = options["response_format"]
    with tempfile.TemporaryDirectory(prefix="speech-") as name:
        folder = Path(name)
        parts = [folder / f"part{index:05d}.{kind}" for index in range(len(texts))]
        local = False
        for index, (text, part) in enumerate(zip(texts, parts, strict=True)):
            context.progress(index / len(texts), f"Speaking part {index + 1} of {len(texts)}")
            local = _speak_part(context, endpoint, text, part, options) or local
        context.progress(_JOINING, "Joining the parts")
        whole = folder / f"whole.{kind}"
        audio.join(parts, whole, kind, cancellation=context.cancellation)
        with whole.open("rb") as sound, _new_file(context, kind, local=local) as file:
            shutil.copyfileobj(sound, file, _CHUNK)
    return file.value


def _speak_part(context: TaskContext, endpoint: Endpoint, text: str, part: Path, options: Mapping[str, Any]) -> bool:
    """Write one part; whether the local voice spoke it."""
    with openai_calls.speech(context, endpoint, text=text, **options) as speech, part.open("wb") as sound:
        # As it comes, not at the end: what was spoken before a failure is paid.
        context.usage(model=options["model"], characters=len(text), **_told(local=speech.local))
        if sum(sound.write(chunk) for chunk in speech.chunks) == 0:
            raise _silent()
        return speech.local


def _told(*, local: bool) -> dict[str, bool]:
    """What is spoken on this machine costs nothing."""
    return {"local": True} if local else {}


def _new_file(context: TaskContext, kind: str, *, local: bool) -> AbstractContextManager[FileWriter]:
    if local:
        context.log("Spoken by the local voice (espeak-ng), not by OpenAI.", level="warning")
    metadata = {"voice": "local"} if local else None
    return context.files.create(f"speech.{kind}", audio.FORMATS[kind].content_type, metadata=metadata)


def _silent() -> TaskError:
    return TaskError("provider_error", "The provider's answer has no sound in it.", retryable=True)
