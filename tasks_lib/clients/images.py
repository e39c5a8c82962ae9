"""Changes pictures, in a process of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from dataflow.lib import sniffing
from dataflow.lib.errors import TaskError
from dataflow.lib.text_kinds import SVG
from tasks_lib import file_values
from tasks_lib.apart.entry import SOURCE
from tasks_lib.base import FileValue, JsonValue, TaskContext
from tasks_lib.clients import apart
from tasks_lib.pictures import FORMATS, MAX_BYTES

_TARGET = "target"


def change(context: TaskContext, value: FileValue, **order: JsonValue) -> Mapping[str, JsonValue]:
    """The picture ``value`` changed by ``order`` (``apart/change_image.py``), its ``width``, ``height`` and ``format``.

    Raises ``TaskError``: ``validation`` for what is no picture or damaged, ``too_large`` over the limits.
    """
    with tempfile.TemporaryDirectory(prefix="image-") as name:
        folder = Path(name)
        file_values.copy(context, value, folder / SOURCE, most=MAX_BYTES, what="The image")
        _require_picture(folder / SOURCE)
        found = apart.run("change_image", folder=folder, cancellation=context.cancellation, what="The image", **order)
        ending = {"jpeg": "jpg"}.get(found["format"], found["format"])
        named = file_values.renamed(value, ending, "image")
        image = file_values.send(context, folder / _TARGET, named, FORMATS[found["format"]].content_type)
    return {"image": image, **found}


def _require_picture(path: Path) -> None:
    """Say what it is instead, where that is known."""
    with path.open("rb") as file:
        found = sniffing.media_type(file.read(sniffing.HEAD))
    if found == SVG:
        raise TaskError("validation", "The file is an SVG drawing. Only images made of pixels are handled.")
    if found not in {known.content_type for known in FORMATS.values()}:
        known = ", ".join(name.upper() for name in FORMATS)
        raise TaskError("validation", f"The file is no image that can be read, but {found}. These are read: {known}.")
