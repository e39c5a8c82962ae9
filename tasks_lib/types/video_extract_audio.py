"""``video.extract_audio``: the sound of a video as a file of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tasks_lib import media
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType


class ExtractAudio(TaskType):
    """Writes the first sound track of a video as a sound file."""

    name = "video.extract_audio"
    title = "Extract audio"
    category = "media"
    description = "Takes the sound out of a video file (its first sound track) and writes it as a sound file."
    inputs = (Field(name="video", type="file", required=True, description="The video file"), *media.SOUND_INPUTS)
    outputs = (
        Field(name="audio", type="file", description="The sound file"),
        Field(name="duration", type="number", description="Its length in seconds", example=12.5),
    )
    timeout = media.TIMEOUT
    retried = ("timeout",)
    example = {"video": "fl-sample0video", "format": "mp3"}

    def check(self, given: Mapping[str, JsonValue]) -> Iterable[tuple[str, str]]:
        """How the sound is to be written, where it is known."""
        return media.wrong_sound(given)

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Extract the sound. Raises ``TaskError``."""
        audio, seconds = media.converted_sound(context, inputs["video"], inputs, "The video")
        return {"audio": audio, "duration": seconds}
