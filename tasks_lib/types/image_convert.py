"""``image.convert``: a picture in another format."""

from __future__ import annotations

from collections.abc import Mapping

from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.clients import images
from tasks_lib.pictures import FORMATS


class ImageConvert(TaskType):
    """Writes a picture in another format. What a camera noted in it (place, time) is left out."""

    name = "image.convert"
    title = "Convert an image"
    category = "files"
    description = (
        "An image in another format, from PNG, JPEG, WebP, GIF, AVIF, TIFF or BMP of up to 50 million pixels. It is "
        "turned the right way up; camera data is left out. GIF and WebP keep moving among each other."
    )
    inputs = (
        Field(name="image", type="file", required=True, aliases=("file",), description="The image"),
        Field(
            name="format",
            type="text",
            required=True,
            enum=tuple(FORMATS),
            description="The format wanted",
            example="webp",
        ),
        Field(name="quality", type="number", default=85, minimum=1, maximum=100, description="For JPEG, WebP and AVIF"),
        Field(
            name="background",
            type="text",
            max_length=50,
            description="Colour to put behind what is transparent; JPEG and BMP, which need one, take white",
            example="#ffffff",
        ),
    )
    outputs = (
        Field(name="image", type="file", description="The image"),
        Field(name="width", type="number", description="Its width in pixels", example=640),
        Field(name="height", type="number", description="Its height in pixels", example=360),
        Field(name="format", type="text", description="Its format", example="webp"),
    )
    retried = ("timeout",)
    example = {"image": "fl-sample0image", "format": "webp"}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Convert. Raises ``validation`` for what is no image or damaged, ``too_large`` over the limits."""
        return images.change(
            context,
            inputs["image"],
            format=inputs["format"],
            quality=int(inputs["quality"]),
            background=inputs["background"],
        )
