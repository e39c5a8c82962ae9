"""``image.resize``: a picture in another size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dataflow.lib.errors import TaskError
from tasks_lib.base import MISSING, Field, JsonValue, TaskContext, TaskType
from tasks_lib.clients import images
from tasks_lib.pictures import MAX_SIDE


class ImageResize(TaskType):
    """Changes the size of a picture and keeps its format. What a camera noted in it (place, time) is left out."""

    name = "image.resize"
    title = "Resize an image"
    category = "files"
    description = (
        "An image in another size, of the same format: PNG, JPEG, WebP, GIF, AVIF, TIFF or BMP of up to 50 million "
        "pixels. It is turned the right way up; camera data is left out. Moving GIF and WebP images keep moving."
    )
    inputs = (
        Field(name="image", type="file", required=True, aliases=("file",), description="The image"),
        Field(name="width", type="number", minimum=1, maximum=MAX_SIDE, description="Width in pixels", example=320),
        Field(name="height", type="number", minimum=1, maximum=MAX_SIDE, description="Height in pixels", example=200),
        Field(
            name="mode",
            type="text",
            default="fit",
            enum=("fit", "fill", "exact"),
            description=(
                "`fit`: all of it, within width and height; `fill`: cut to their proportions; `exact`: distorted to "
                "exactly that size"
            ),
        ),
        Field(name="enlarge", type="boolean", default=False, description="Make a small image larger in `fit`, `fill`"),
        Field(name="quality", type="number", default=85, minimum=1, maximum=100, description="For JPEG, WebP and AVIF"),
    )
    outputs = (
        Field(name="image", type="file", description="The image"),
        Field(name="width", type="number", description="Its width in pixels", example=320),
        Field(name="height", type="number", description="Its height in pixels", example=180),
        Field(name="format", type="text", description="Its format", example="png"),
    )
    retried = ("timeout",)
    example = {"image": "fl-sample0image", "width": 320}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Resize. Raises ``validation`` for what is no image or damaged, ``too_large`` over the limits."""
        for _, problem in self.check({name: value for name, value in inputs.items() if value is not None}):
            raise TaskError("validation", problem)
        width, height = inputs["width"], inputs["height"]
        return images.change(
            context,
            inputs["image"],
            width=None if width is None else int(width),
            height=None if height is None else int(height),
            mode=inputs["mode"],
            enlarge=inputs["enlarge"],
            quality=int(inputs["quality"]),
            format=None,
            background=None,
        )

    def check(self, given: Mapping[str, JsonValue]) -> Iterable[tuple[str, str]]:
        """That there is a width or a height, in whole pixels, and both where the mode needs both."""
        for name in ("width", "height"):
            if given.get(name, MISSING) is not MISSING and given[name] != int(given[name]):
                yield name, f"`{name}` must be a whole number of pixels, not {given[name]:g}."
        if "width" not in given and "height" not in given:
            yield "width", "Give `width`, `height` or both."
        elif given.get("mode") in ("fill", "exact") and not {"width", "height"} <= set(given):
            yield "mode", f"The mode `{given['mode']}` needs both `width` and `height`."
