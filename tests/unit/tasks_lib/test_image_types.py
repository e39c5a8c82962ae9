"""``image.resize`` and ``image.convert``."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dataflow.lib.errors import TaskError
from tasks_lib import pictures
from tasks_lib.base import MISSING, FileValue
from tasks_lib.types.image_convert import ImageConvert
from tasks_lib.types.image_resize import ImageResize
from tests.stubs import hostile_files as hostile
from tests.stubs.context import StubContext, run

FORMATS = list(pictures.FORMATS)


def resize(context: StubContext, data: bytes, name: str = "some.picture", **inputs: object):
    return run(ImageResize(), context, image=context.files.add(name, "", data), **inputs)


def convert(context: StubContext, data: bytes, **inputs: object):
    return run(ImageConvert(), context, image=context.files.add("some.picture", "", data), **inputs)


def opened(context: StubContext, value: FileValue) -> Any:
    return Image.open(io.BytesIO(context.files.read(value)))


@pytest.mark.parametrize(
    ("size", "width", "height", "mode", "enlarge", "wanted"),
    [
        ((400, 200), 100, None, "fit", False, (100, 50)),
        ((400, 200), None, 100, "fit", False, (200, 100)),
        ((400, 200), 100, 100, "fit", False, (100, 50)),
        ((400, 200), 800, None, "fit", False, (400, 200)),
        ((400, 200), 800, None, "fit", True, (800, 400)),
        ((400, 200), 100, 100, "fill", False, (100, 100)),
        ((400, 200), 800, 800, "fill", False, (200, 200)),
        ((400, 200), 800, 800, "fill", True, (800, 800)),
        ((400, 200), 30, 90, "exact", False, (30, 90)),
        ((400, 200), 800, 800, "exact", False, (800, 800)),
        ((10_000, 1), 100, None, "fit", False, (100, 1)),
    ],
)
def test_the_new_size(size, width, height, mode, enlarge, wanted) -> None:
    assert pictures.new_size(size, width, height, mode, enlarge=enlarge) == wanted


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_resized(tmp_path: Path, kind: str) -> None:
    context = StubContext(tmp_path)
    outputs = resize(context, hostile.picture(pictures.FORMATS[kind].pillow, (400, 200)), width=100)
    assert (outputs["width"], outputs["height"], outputs["format"]) == (100, 50, kind)
    image = opened(context, outputs["image"])
    assert (image.size, image.format) == ((100, 50), pictures.FORMATS[kind].pillow)
    assert outputs["image"]["content_type"] == pictures.FORMATS[kind].content_type
    assert outputs["image"]["name"] == f"some.{'jpg' if kind == 'jpeg' else kind}"


@pytest.mark.parametrize(
    ("source", "kind"), [*((kind, "png") for kind in FORMATS), *(("png", kind) for kind in FORMATS if kind != "png")]
)
def test_formats_become_others(tmp_path: Path, source: str, kind: str) -> None:
    context = StubContext(tmp_path)
    outputs = convert(context, hostile.picture(pictures.FORMATS[source].pillow), format=kind)
    image = opened(context, outputs["image"])
    assert (image.size, image.format, outputs["format"]) == ((64, 32), pictures.FORMATS[kind].pillow, kind)
    red, green, blue = image.convert("RGB").getpixel((30, 15))
    assert (red > 240, green < 15, blue < 15) == (True, True, True)


@pytest.mark.parametrize(("mode", "colour"), [("1", 1), ("L", 200), ("LA", (200, 255)), ("P", 3), ("RGBA", (9, 8, 7, 255)), ("I;16", 51_400), ("CMYK", (0, 0, 0, 55))])  # fmt: skip
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_ways_to_hold_colours(tmp_path: Path, mode: str, colour: object, kind: str) -> None:
    context = StubContext(tmp_path)
    data = hostile.picture("TIFF", mode=mode, colour=colour)
    outputs = convert(context, data, format=kind)
    image = opened(context, outputs["image"])
    if mode in ("L", "LA", "I;16", "CMYK"):
        assert image.convert("L").getpixel((30, 15)) == pytest.approx(200, abs=2)
    assert resize(context, data, width=10)["width"] == 10


def halves(left: object, right: object, size: tuple[int, int] = (40, 20), mode: str = "RGB") -> Image.Image:
    image = Image.new(mode, size, left)
    image.paste(Image.new(mode, (size[0] // 2, size[1]), right), (size[0] // 2, 0))
    return image


def saved(image: Image.Image, kind: str, **how: object) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **how)
    return target.getvalue()


def test_fill_cuts_and_exact_distorts(tmp_path: Path) -> None:
    context = StubContext(tmp_path)
    data = saved(halves("red", "blue", (60, 20)), "PNG")
    filled = opened(context, resize(context, data, width=10, height=10, mode="fill")["image"])
    assert filled.size == (10, 10)
    assert [filled.getpixel((x, 5))[0] > 128 for x in (1, 8)] == [True, False], "its middle was kept"
    exact = opened(context, resize(context, data, width=10, height=40, mode="exact")["image"])
    assert exact.size == (10, 40)


def test_it_is_turned_the_right_way_up_and_tells_nothing_of_the_camera(tmp_path: Path) -> None:
    context = StubContext(tmp_path)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera of Ann"  # to be turned by a quarter; who made the camera
    data = saved(halves("red", "blue", (400, 200)), "JPEG", exif=exif, comment=b"Ann was here", quality=95)
    for outputs in (resize(context, data, width=50), convert(context, data, format="jpeg")):
        raw = context.files.read(outputs["image"])
        image = opened(context, outputs["image"])
        assert image.height == image.width * 2
        assert [image.getpixel((image.width // 2, y))[0] > 128 for y in (5, image.height - 5)] == [True, False]
        assert b"Ann" not in raw
        assert not image.getexif()


@pytest.mark.parametrize("kind", ["png", "webp", "tiff", "avif", "gif"])
def test_what_a_file_notes_beside_the_picture_is_left_out(tmp_path: Path, kind: str) -> None:
    context = StubContext(tmp_path)
    exif = Image.Exif()
    exif[0x010F] = "Camera of Ann"
    note = {"comment": b"Camera of Ann"} if kind == "gif" else {"exif": exif}
    data = saved(Image.new("RGB", (30, 30)), kind, **note)
    assert b"Camera" in data
    for target in (kind, "png", "tiff"):
        assert b"Camera" not in context.files.read(convert(context, data, format=target)["image"])


def test_a_jpeg_with_two_pictures_in_it_is_its_first(tmp_path: Path) -> None:
    """Some phones write them; Pillow calls them MPO."""
    context = StubContext(tmp_path)
    data = saved(Image.new("RGB", (40, 20), "red"), "MPO", save_all=True, append_images=[Image.new("RGB", (40, 20))])
    outputs = resize(context, data, width=20)
    assert (outputs["width"], outputs["height"], outputs["format"]) == (20, 10, "jpeg")
    assert opened(context, outputs["image"]).getpixel((5, 5))[0] > 240


def test_a_colour_profile_is_kept(tmp_path: Path) -> None:
    context = StubContext(tmp_path)
    data = saved(Image.new("RGB", (30, 30)), "PNG", icc_profile=b"a profile")
    assert opened(context, convert(context, data, format="jpeg")["image"]).info["icc_profile"] == b"a profile"


def test_transparency(tmp_path: Path) -> None:
    context = StubContext(tmp_path)
    data = saved(halves((255, 0, 0, 255), (0, 0, 0, 0), mode="RGBA"), "PNG")
    for kind, background, right in (
        ("jpeg", None, (255, 255, 255)),
        ("bmp", "#00ff00", (0, 255, 0)),
        ("png", None, (0, 0, 0, 0)),
        ("webp", None, (0, 0, 0, 0)),
        ("png", "rgb(0, 0, 255)", (0, 0, 255)),
    ):
        image = opened(context, convert(context, data, format=kind, background=background, quality=100)["image"])
        assert image.getpixel((35, 10)) == pytest.approx(right, abs=3), kind
    gif = opened(context, convert(context, data, format="gif")["image"]).convert("RGBA")
    assert [gif.getpixel((x, 10))[3] for x in (5, 35)] == [255, 0]


@pytest.mark.parametrize("target", ["gif", "webp"])
def test_it_keeps_moving(tmp_path: Path, target: str) -> None:
    context = StubContext(tmp_path)
    data = hostile.gif(5, (40, 20))
    image = opened(context, convert(context, data, format=target)["image"])
    assert (image.n_frames, image.info["loop"]) == (5, 0)
    image.seek(3)
    image.load()
    assert image.info["duration"] == 50
    assert image.convert("RGB").getpixel((3, 3)) == pytest.approx((120, 120, 120), abs=5)
    small = opened(
        context, resize(context, context.files.read(convert(context, data, format=target)["image"]), width=10)["image"]
    )
    assert (small.size, small.n_frames) == ((10, 5), 5)


def test_what_cannot_move_shows_the_first_frame(tmp_path: Path) -> None:
    context = StubContext(tmp_path)
    image = opened(context, convert(context, hostile.gif(5), format="png")["image"])
    assert getattr(image, "n_frames", 1) == 1
    assert image.convert("RGB").getpixel((3, 3)) == (0, 0, 0)


def test_quality(tmp_path: Path) -> None:
    context = StubContext(tmp_path)
    data = saved(Image.effect_noise((200, 200), 50), "PNG")
    small, large = (convert(context, data, format="jpeg", quality=quality)["image"]["size"] for quality in (10, 95))
    assert small < large / 3


@pytest.mark.parametrize(
    ("make", "code", "why"),
    [
        (lambda: hostile.claiming_png(60_000, 60_000), "too_large", "50,000,000 pixels"),
        (lambda: hostile.claiming_png(8000, 7000), "too_large", "50,000,000 pixels"),
        (lambda: hostile.claiming_png(5000, 5000), "validation", "damaged"),
        (lambda: hostile.claiming_png(0, 0), "validation", ""),
        (lambda: hostile.picture("JPEG", (500, 500))[:2000], "validation", "truncated"),
        (lambda: hostile.gif(501), "too_large", "more than 500 frames"),
        pytest.param(lambda: hostile.gif(60, (1000, 1000)), "too_large", "51 frames", marks=pytest.mark.slow),
        (lambda: b"<?xml version='1.0'?><!-- x --><svg xmlns='http://www.w3.org/2000/svg'/>", "validation", "SVG"),
        (lambda: hostile.pdf("x"), "validation", "application/pdf"),
        (lambda: b"\0\0\0\x1cftypheic" + bytes(50), "validation", "image/heic"),
        (lambda: b"hello", "validation", "text/plain"),
        (lambda: b"", "validation", "is empty"),
        (lambda: b"\x89PNG\r\n\x1a\n" + bytes(100), "validation", "damaged"),
        (lambda: b"\xff\xd8\xff" + bytes(100), "validation", "damaged"),
    ],
    ids="huge large hollow none cut frames film svg pdf heic text empty zeros jpeg".split(),
)
def test_images_that_are_refused(tmp_path: Path, make: Callable[[], bytes], code: str, why: str) -> None:
    with pytest.raises(TaskError) as raised:
        resize(StubContext(tmp_path), make(), "x.png", width=10)
    assert (raised.value.code, why in raised.value.message) == (code, True), raised.value.message
    assert not raised.value.retryable


def test_converting_refuses_the_same(tmp_path: Path) -> None:
    context = StubContext(tmp_path)
    for data, code in ((hostile.claiming_png(60_000, 60_000), "too_large"), (b"<svg/>", "validation")):
        with pytest.raises(TaskError) as raised:
            convert(context, data, format="png")
        assert raised.value.code == code


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "Give `width`"),
        ({"width": 10, "mode": "fill"}, "needs both"),
        ({"height": 10, "mode": "exact"}, "needs both"),
        ({"height": 10.5}, "a whole number of pixels"),
    ],
)
def test_sizes_that_say_too_little(tmp_path: Path, inputs: dict[str, object], message: str) -> None:
    with pytest.raises(TaskError, match=message) as raised:
        resize(StubContext(tmp_path), hostile.picture("PNG"), **inputs)
    assert raised.value.code == "validation"
    assert [problem for _, problem in ImageResize().check(inputs) if message in problem]


def test_a_size_that_an_expression_decides_is_looked_at_later() -> None:
    assert list(ImageResize().check({"width": MISSING, "height": MISSING, "mode": "fill"})) == []


def test_sizes_that_are_too_large(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="at most 50,000,000") as raised:
        resize(StubContext(tmp_path), hostile.picture("PNG"), width=16_000, height=16_000, mode="exact")
    assert raised.value.code == "too_large"


def test_a_colour_that_is_none(tmp_path: Path) -> None:
    data = hostile.picture("PNG", mode="RGBA", colour=(1, 2, 3, 4))
    with pytest.raises(TaskError, match="`background` is no colour") as raised:
        convert(StubContext(tmp_path), data, format="jpeg", background="nonsense")
    assert raised.value.code == "validation"
