"""Speech for tests, in the local voice: as a sound or inside a video, and how much of it was heard."""

from __future__ import annotations

import re
from pathlib import Path

from dataflow.lib.cancellation import Cancellation
from tasks_lib.clients import espeak, ffmpeg

#: Of which the tiny model understands most.
SENTENCE = (
    "Good morning. The weather in London is cold and wet today. "
    "Please remember to bring your coat and your umbrella. We will meet at the station at seven."
)
#: How ffmpeg puts a sound into a video.
PICTURE = ("-f", "lavfi", "-i", "color=c=navy:s=160x120:r=5", "-shortest", "-c:v", "libx264", "-c:a", "aac")


def spoken(text: str, folder: Path, *arguments: str, name: str = "speech.wav") -> bytes:
    """``text`` in the local voice, as the file ``name`` that ffmpeg makes of it in ``folder`` with ``arguments``."""
    sound = espeak.speak(text, espeak.Voice("en-us"), 0.9)
    (folder / "samples").write_bytes(sound.samples)
    raw = ffmpeg.source(folder / "samples", "-f", "s16le", "-ar", str(sound.rate), "-ac", "1")
    ffmpeg.run([*raw, *arguments, name], folder=folder, cancellation=Cancellation(60))
    return (folder / name).read_bytes()


def share_heard(said: str, heard: str) -> float:
    """How many of the different words of what was said are among those heard, 0–1."""
    wanted, found = (set(re.findall(r"[a-z]+", text.lower())) for text in (said, heard))
    return len(wanted & found) / len(wanted)
