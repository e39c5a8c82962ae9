"""``whisper.transcribe``: speech turned into text on this machine."""

from __future__ import annotations

from collections.abc import Mapping

from tasks_lib import media
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.clients import ffmpeg, whisper

#: Share of the progress that preparing the sound takes.
_PREPARED = 0.05


class WhisperTranscribe(TaskType):
    """Turns speech into text with a model on this machine: no key, no network."""

    name = "whisper.transcribe"
    title = "Transcription on this machine"
    category = "AI"
    description = (
        "Turns the speech in an audio or video file into text with a Whisper model on this machine: without a key and "
        "without the network. The model that comes with it, `tiny.en`, is small and knows English only."
    )
    inputs = (
        Field(name="audio", type="file", required=True, aliases=("file",), description="Audio or video file"),
        Field(
            name="model",
            type="text",
            description="A model in the folder that WHISPER_MODELS names; the default is WHISPER_MODEL, else `tiny.en`",
            example="tiny.en",
        ),
        Field(
            name="language",
            type="text",
            description="Language spoken, as a two-letter code; unless given, the model finds out",
            example="en",
        ),
    )
    outputs = (
        Field(name="text", type="text", description="The text"),
        Field(name="segments", type="list", description="Pieces with `id`, `start` and `end` in seconds, and `text`"),
        Field(name="language", type="text", description="The language given or found", example="en"),
        Field(name="duration", type="number", description="Length of the sound in seconds", example=12.5),
    )
    timeout = 3600.0
    modules = ("faster_whisper",)
    extra = "whisper"
    retried = ("timeout",)
    example = {"audio": "fl-sample0audio", "language": "en"}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Transcribe the file. Raises ``TaskError``."""
        model = whisper.find_model(inputs["model"])
        language = (inputs["language"] or "").strip().lower() or None
        with media.opened(context, inputs["audio"], "The audio file") as source:
            media.require_sound(source.media, "The audio file")
            seconds = _write_samples(context, source)
            heard = whisper.recognise(
                source.folder,
                model,
                language,
                cancellation=context.cancellation,
                tell=lambda done: context.progress(_PREPARED + (1 - _PREPARED) * done / seconds, f"{done:.0f} s heard"),
            )
        context.usage(model=model.name, seconds=seconds, local=True)
        return {**heard, "duration": seconds}


def _write_samples(context: TaskContext, source: media.Opened) -> float:
    """Write the sound as plain samples; its length in seconds."""
    context.progress(0.0, "Preparing the sound")
    target = source.folder / "samples.raw"
    sound = ["-map", "0:a:0", "-vn", "-sn", "-dn", "-ac", "1", "-ar", str(whisper.RATE), "-c:a", "pcm_s16le"]
    ffmpeg.run(
        [*ffmpeg.source(source.path), *sound, "-f", "s16le", target.name],
        folder=source.folder,
        cancellation=context.cancellation,
    )
    # In place of the file as it came, which is not needed any more.
    return target.rename(whisper.samples_file(source.folder)).stat().st_size / 2 / whisper.RATE
