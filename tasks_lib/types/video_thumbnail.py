"""``video.thumbnail``: one picture of a video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dataflow.lib.errors import TaskError
from tasks_lib import file_values, media
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.clients import ffmpeg


@dataclass(frozen=True, slots=True)
class _Picture:
    content_type: str
    encoding: tuple[str, ...]


_PICTURES: Mapping[str, _Picture] = {
    "jpg": _Picture("image/jpeg", ("-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p", "-strict", "unofficial")),
    "png": _Picture(
        "image/png",
        (
            "-c:v",
            "png",
        ),
    ),
}


class VideoThumbnail(TaskType):
    """Takes one picture out of a video."""

    name = "video.thumbnail"
    title = "Thumbnail"
    category = "media"
    description = "Takes the picture at a moment of a video and writes it as an image file."
    inputs = (
        Field(name="video", type="file", required=True, description="The video file"),
        Field(name="at", type="number", default=0, minimum=0, description="Which second to show", example=1.5),
        Field(
            name="width",
            type="number",
            minimum=16,
            maximum=4096,
            description="Pixels across, at most and unless given those of the video; the height follows",
            example=320,
        ),
        Field(name="format", type="text", default="jpg", enum=tuple(_PICTURES), description="Kind of image file"),
    )
    outputs = (Field(name="image", type="file", description="The picture"),)
    timeout = media.TIMEOUT
    retried = ("timeout",)
    example = {"video": "fl-sample0video", "at": 0.5, "width": 160}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Take the picture. Raises ``TaskError``."""
        kind, picture = inputs["format"], _PICTURES[inputs["format"]]
        with media.opened(context, inputs["video"], "The video") as source:
            _require_picture(source.media, inputs["at"])
            target = source.folder / f"picture.{kind}"
            ffmpeg.run(
                [
                    *ffmpeg.source(source.path, "-ss", f"{inputs['at']:.3f}"),
                    *("-map", "0:v:0", "-an", "-sn", "-dn", "-frames:v", "1", "-threads", "1"),
                    *_scaling(inputs["width"]),
                    *(*picture.encoding, "-f", "image2", "-update", "1", target.name),
                ],
                folder=source.folder,
                cancellation=context.cancellation,
            )
            if not target.exists() or target.stat().st_size == 0:
                raise TaskError("validation", f"The video has no picture at second {inputs['at']:g}.")
            name = file_values.renamed(inputs["video"], kind, "picture")
            return {"image": file_values.send(context, target, name, picture.content_type)}


def _require_picture(found: ffmpeg.Media, at: float) -> None:
    if not found.has_video:
        raise TaskError("validation", "The video has no pictures in it.")
    if found.duration is not None and at >= found.duration > 0:
        raise TaskError("validation", f"The video is {found.duration:g} s long; there is nothing at {at:g} s.")


def _scaling(width: float | None) -> tuple[str, ...]:
    # Never more pixels than the video has: the height of a narrow one would grow without bound.
    return () if width is None else ("-vf", f"scale=w='min({int(width)},iw)':h=-2")
