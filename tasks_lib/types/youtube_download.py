"""``youtube.download``: a video of YouTube as a file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dataflow.lib.errors import TaskError
from tasks_lib import file_values
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.clients import ffmpeg, youtube
from tasks_lib.http_values import require_url
from tasks_lib.literals import wrong_inputs

#: Most lines of the picture for each quality; ``None`` is without a limit.
_HEIGHTS: Mapping[str, int | None] = {"best": None} | {
    f"{lines}p": lines for lines in (2160, 1440, 1080, 720, 480, 360, 240, 144)
}
#: Characters of the title that become the name of the file.
_NAME_LENGTH = 150
#: Share of the progress that the download takes; the rest is for writing the file.
_DOWNLOADED = 0.95


class YoutubeDownload(TaskType):
    """Downloads one video, or its sound only."""

    name = "youtube.download"
    title = "YouTube video"
    category = "media"
    description = (
        "Downloads one video of YouTube, or only its sound: at most 2 GiB and 12 hours, no live streams and no "
        "playlists. Respect the rights of those who made it."
    )
    inputs = (
        Field(
            name="url",
            type="text",
            required=True,
            description="Address of the video, on youtube.com or youtu.be",
            example="https://www.youtube.com/watch?v=jNQXAC9IVRw",
        ),
        Field(
            name="quality",
            type="text",
            default="best",
            enum=tuple(_HEIGHTS),
            description="The most lines that the picture may have; the best there is within that is taken",
        ),
        Field(name="audio_only", type="boolean", default=False, description="Give the sound alone, as m4a"),
    )
    outputs = (
        Field(name="video", type="file", description="The video, mp4 where its codecs allow; the sound for audio_only"),
        Field(name="title", type="text", description="Its title"),
        Field(name="duration", type="number", description="Its length in seconds", example=19),
        Field(name="uploader", type="text", description="Who has uploaded it"),
        Field(name="thumbnail_url", type="text", description="Address of its preview picture"),
    )
    timeout = 1800.0
    modules = ("yt_dlp", "yt_dlp_ejs", "deno")
    extra = "youtube"
    retried = ("communication", "timeout")
    example = {"url": "https://www.youtube.com/watch?v=jNQXAC9IVRw", "quality": "360p"}

    def check(self, given: Mapping[str, JsonValue]) -> Iterable[tuple[str, str]]:
        """The address, where it is known."""
        return wrong_inputs(given, {"url": require_url})

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Download the video. Raises ``TaskError``."""
        audio_only = inputs["audio_only"]
        formats = _AUDIO if audio_only else _selection(_HEIGHTS[inputs["quality"]])
        parts: dict[str, float] = {}

        def tell(part: str, done: float) -> None:
            parts[part] = done
            context.progress(_DOWNLOADED * sum(parts.values()) / max(len(parts), 2 - audio_only), "Downloading")

        with tempfile.TemporaryDirectory(prefix="youtube-") as name:
            folder = Path(name)
            found = youtube.download(context, inputs["url"], formats=formats, folder=folder, tell=tell)
            context.progress(_DOWNLOADED, "Writing the file")
            files = [folder / part for part in found["files"]]
            made, content_type = _sound(context, files[0]) if audio_only else _joined(context, files)
            media = ffmpeg.probe(made, cancellation=context.cancellation)
            video = file_values.send(context, made, f"{_name(found['title'])}{made.suffix}", content_type)
        return {
            "video": video,
            "duration": found["duration"] or media.duration,
            **{name: found[name] for name in ("title", "uploader", "thumbnail_url")},
        }


_AUDIO = "ba[ext=m4a]/ba/b"


def _selection(height: int | None) -> str:
    """In the language of yt-dlp: mp4 if there is one of that height, picture and sound apart or together."""
    most = "" if height is None else f"[height<=?{height}]"
    choices = (f"bv{most}[ext=mp4]+ba[ext=m4a]", f"b{most}[ext=mp4]", f"bv{most}+ba", f"b{most}", f"bv{most}", "b")
    return "/".join(choices)


def _joined(context: TaskContext, parts: Sequence[Path]) -> tuple[Path, str]:
    """The picture and the sound in one file, as they are: mp4, or Matroska where mp4 cannot hold them."""
    inputs = [argument for part in parts for argument in ffmpeg.source(part)]
    maps = ["-map", "0:v:0", "-map", f"{len(parts) - 1}:a:0?", "-sn", "-dn", "-c", "copy"]
    return _first_that_works(
        context,
        [
            ([*inputs, *maps, "-movflags", "+faststart", "-f", "mp4"], "video.mp4", "video/mp4"),
            ([*inputs, *maps, "-f", "matroska"], "video.mkv", "video/x-matroska"),
        ],
        parts[0].parent,
    )


def _sound(context: TaskContext, part: Path) -> tuple[Path, str]:
    """The sound as m4a: as it is, or encoded anew where m4a cannot hold it."""
    sound = [*ffmpeg.source(part), "-map", "0:a:0", "-vn", "-sn", "-dn"]
    return _first_that_works(
        context,
        [
            ([*sound, "-c:a", codec, "-movflags", "+faststart", "-f", "ipod"], "sound.m4a", "audio/mp4")
            for codec in ("copy", "aac")
        ],
        part.parent,
    )


def _first_that_works(
    context: TaskContext, ways: Sequence[tuple[list[str], str, str]], folder: Path
) -> tuple[Path, str]:
    for place, (arguments, name, content_type) in enumerate(ways, start=1):
        try:
            ffmpeg.run([*arguments, name], folder=folder, cancellation=context.cancellation)
        except TaskError as error:
            if error.code != "validation" or place == len(ways):
                raise
        else:
            return folder / name, content_type
    raise TaskError("runtime", "There is no way to write the file.")


def _name(title: str | None) -> str:
    return "".join(character if character not in "/\\" else "-" for character in title or "")[:_NAME_LENGTH] or "video"
