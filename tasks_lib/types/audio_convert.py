"""``audio.convert``: a sound file in another format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tasks_lib import media
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType


class AudioConvert(TaskType):
    """Writes a sound in another format, bit rate, sample rate or number of channels."""

    name = "audio.convert"
    title = "Convert audio"
    category = "media"
    description = "Writes a sound file in another format, bit rate, sample rate or number of channels."
    inputs = (Field(name="audio", type="file", required=True, description="The sound file"), *media.SOUND_INPUTS)
    outputs = (
        Field(name="audio", type="file", description="The new sound file"),
        Field(name="duration", type="number", description="Its length in seconds", example=12.5),
    )
    timeout = media.TIMEOUT
    retried = ("timeout",)
    example = {"audio": "fl-sample0audio", "format": "wav", "sample_rate": 16_000, "channels": 1}

    def check(self, given: Mapping[str, JsonValue]) -> Iterable[tuple[str, str]]:
        """How the sound is to be written, where it is known."""
        return media.wrong_sound(given)

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Convert the sound. Raises ``TaskError``."""
        audio, seconds = media.converted_sound(context, inputs["audio"], inputs, "The audio file")
        return {"audio": audio, "duration": seconds}
