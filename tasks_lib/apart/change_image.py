"""Reads a picture, changes its size or format, and writes it without what a camera noted in it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from math import ceil
from typing import Any

from PIL import AvifImagePlugin, Image, ImageColor, ImageOps, UnidentifiedImageError

from dataflow.lib.errors import TaskError
from tasks_lib.apart.entry import SOURCE
from tasks_lib.pictures import BY_PILLOW_NAME, FORMATS, MAX_FRAMES, MAX_PIXELS, Format, new_size

#: Name of the picture made, in the private folder.
TARGET = "target"
#: Bytes of a colour profile that is kept.
_MAX_PROFILE = 1024 * 1024
_WHITE = "#ffffff"
#: One for each processor would reserve more memory than a reader may have.
_THREADS = 2
#: Milliseconds of a frame that does not say how long it is shown.
_DURATION = 100


def work(order: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``SOURCE`` as ``TARGET``.

    ``order``: ``format`` (``None``: as it is), ``quality``, ``background``, and, to change the size, ``mode`` with
    ``width``, ``height``, ``enlarge``.
    """
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    AvifImagePlugin.DEFAULT_MAX_THREADS = _THREADS
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    try:
        image = Image.open(SOURCE, formats=[known.pillow for known in FORMATS.values()])
        _require_small(image.size, 1)
        name = order["format"] or BY_PILLOW_NAME[str(image.format)]
        frames, options = _changed(image, order, FORMATS[name])
    except UnidentifiedImageError as error:
        known = ", ".join(name.upper() for name in FORMATS)
        raise TaskError(
            "validation", f"The image is damaged, or of a kind that is not read. These are: {known}."
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TaskError("too_large", f"The image has more than {MAX_PIXELS:,} pixels.") from error
    first, *rest = frames
    moving = {"save_all": True, "append_images": rest} if rest else {}
    first.save(TARGET, format=FORMATS[name].pillow, **moving, **options)
    return {"width": first.width, "height": first.height, "format": name}


def _require_small(size: tuple[int, int], frames: int) -> None:
    pixels = size[0] * size[1] * frames
    if pixels > MAX_PIXELS:
        all_frames = f" × {frames} frames" if frames > 1 else ""
        raise TaskError(
            "too_large", f"The image has {size[0]} × {size[1]}{all_frames} pixels; at most {MAX_PIXELS:,} are handled."
        )


def _changed(image: Image.Image, order: Mapping[str, Any], target: Format) -> tuple[list[Image.Image], dict[str, Any]]:
    """The frames as they are written, and how."""
    options: dict[str, Any] = {"quality": order["quality"]} if target.has_quality else {}
    if target.moves and FORMATS[BY_PILLOW_NAME[str(image.format)]].moves:
        frames, durations = [], []
        for frame in _frames(image):
            frames.append(_one(frame.copy(), order, target))
            _require_small(frames[-1].size, len(frames))
            durations.append(int(frame.info.get("duration") or _DURATION))
        if len(frames) > 1:
            loop = {"loop": image.info["loop"]} if "loop" in image.info else {}
            return frames, options | {"duration": durations, "disposal": 2} | loop
        return frames, options
    _shrink_while_reading(image, order)
    profile = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA", "P") else None
    if profile and len(profile) <= _MAX_PROFILE:
        options["icc_profile"] = profile
    ImageOps.exif_transpose(image, in_place=True)
    return [_one(image, order, target)], options


def _frames(image: Image.Image) -> Iterator[Image.Image]:
    for number in range(MAX_FRAMES + 1):
        try:
            image.seek(number)
        except EOFError:
            return
        if number == MAX_FRAMES:
            raise TaskError("too_large", f"The image has more than {MAX_FRAMES} frames.")
        _require_small(image.size, number + 1)
        yield image


def _shrink_while_reading(image: Image.Image, order: Mapping[str, Any]) -> None:
    """A JPEG can be read at a half, a quarter or an eighth of its size: for thumbnails that saves most of the work."""
    sides = [side for side in (order.get("width"), order.get("height")) if side]
    if image.format == "JPEG" and sides:
        scale = max(sides) / min(image.size)  # enough for either side, however the picture is turned
        image.draft(None, (ceil(image.width * scale), ceil(image.height * scale)))


def _one(image: Image.Image, order: Mapping[str, Any], target: Format) -> Image.Image:
    """One frame in its new size, in colours that the format can hold, with nothing noted beside it."""
    image = _plain(image)
    if order.get("mode"):
        size = new_size(image.size, order["width"], order["height"], order["mode"], enlarge=order["enlarge"])
        _require_small(size, 1)
        if order["mode"] == "fill":
            image = ImageOps.fit(image, size, Image.Resampling.LANCZOS)
        elif size != image.size:
            image = image.resize(size, Image.Resampling.LANCZOS)
    if image.mode == "RGBA" and (order["background"] or not target.has_transparency):
        image = _on(image, order["background"] or _WHITE)
    image.info = {}
    return image


def _plain(image: Image.Image) -> Image.Image:
    """In one of three ways to hold colours: grey, RGB, and RGB with transparency."""
    if image.mode in ("L", "RGB", "RGBA") and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode.startswith("I"):  # 16 bits of grey
        return image.point(lambda value: value * (1 / 256)).convert("L")
    return image.convert("L" if image.mode in ("1", "F") else "RGB")


def _on(image: Image.Image, colour: str) -> Image.Image:
    try:
        below = Image.new("RGB", image.size, ImageColor.getrgb(colour)[:3])
    except ValueError as error:
        raise TaskError("validation", f"`background` is no colour: {colour!r:.50}. Give one like #ffffff.") from error
    below.paste(image, mask=image.getchannel("A"))
    return below
