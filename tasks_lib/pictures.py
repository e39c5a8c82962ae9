"""Pictures: which formats there are, how large one may be, and how large one becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

#: Pixels of a picture, of all frames together where it moves; they take 4 bytes each. The largest phones make 50.
MAX_PIXELS = 50_000_000
#: Frames of a moving picture, bytes of a file, and the longest side that can be asked for.
MAX_FRAMES, MAX_BYTES, MAX_SIDE = 500, 100 * 1024 * 1024, 16_000

Mode = Literal["fit", "fill", "exact"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format that is read and written: Pillow's name for it, its media type, and what it can hold."""

    pillow: str
    content_type: str
    has_transparency: bool = True
    moves: bool = False
    has_quality: bool = False


FORMATS: Mapping[str, Format] = {
    "png": Format(pillow="PNG", content_type="image/png"),
    "jpeg": Format(pillow="JPEG", content_type="image/jpeg", has_transparency=False, has_quality=True),
    "webp": Format(pillow="WEBP", content_type="image/webp", moves=True, has_quality=True),
    "gif": Format(pillow="GIF", content_type="image/gif", moves=True),
    "avif": Format(pillow="AVIF", content_type="image/avif", has_quality=True),
    "tiff": Format(pillow="TIFF", content_type="image/tiff"),
    "bmp": Format(pillow="BMP", content_type="image/bmp", has_transparency=False),
}
#: Pillow calls a JPEG with several pictures in it, as some phones write, MPO; the first is the picture.
BY_PILLOW_NAME: Mapping[str, str] = {known.pillow: name for name, known in FORMATS.items()} | {"MPO": "jpeg"}


def new_size(
    size: tuple[int, int], width: int | None, height: int | None, mode: Mode, *, enlarge: bool
) -> tuple[int, int]:
    """Width and height that a picture of ``size`` gets. One of ``width`` and ``height`` is given, both but for "fit".

    ``fit`` keeps the whole within both. ``fill`` has their proportions, and is cut for it. ``exact`` is distorted.
    Nothing but ``exact`` grows unless ``enlarge``.
    """
    if mode == "exact" and width and height:
        return width, height
    if mode == "fill" and width and height:
        factor = 1.0 if enlarge else min(1.0, size[0] / width, size[1] / height)
        return _scaled((width, height), factor)
    factor = min((wanted / had for wanted, had in zip((width, height), size, strict=True) if wanted), default=1.0)
    return _scaled(size, factor if enlarge else min(factor, 1.0))


def _scaled(size: tuple[int, int], factor: float) -> tuple[int, int]:
    return max(round(size[0] * factor), 1), max(round(size[1] * factor), 1)
