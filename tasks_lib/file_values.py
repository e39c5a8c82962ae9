"""File values as task types get them: in lists too, where they come as they were written."""

from __future__ import annotations

import codecs
import re
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import unquote, urlsplit

from dataflow.lib import sniffing
from dataflow.lib.errors import TaskError
from tasks_lib.base import FileValue, JsonValue, TaskContext

#: Bytes that are read and written at once.
CHUNK = 256 * 1024
#: Characters of a name.
MAX_NAME = 200
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_FILE_ID = re.compile(r"fl-[a-z0-9]{1,64}")


def as_file(value: JsonValue, place: str) -> FileValue:
    """A file value from one, its id, or a URL object. Raises ``validation``, naming ``place``: ``files[2]``."""
    if isinstance(value, str) and _FILE_ID.fullmatch(value):
        return {"file_id": value}
    if isinstance(value, dict) and (isinstance(value.get("file_id"), str) or isinstance(value.get("url"), str)):
        return value
    raise TaskError(
        "validation", f'`{place}` is not a file: give "fl-…", {{"file_id": "fl-…"}} or {{"url": "https://…"}}.'
    )


def given_file(context: TaskContext, value: JsonValue, place: str) -> FileValue:
    """``as_file``, with the name and type of a file that is given by its id alone."""
    return context.files.describe(as_file(value, place))


def name_of(value: FileValue, otherwise: str = "file") -> str:
    """What the file is called, without folders. One that is known by its id alone has no name here."""
    named = str(value.get("name") or "") or ("" if "file_id" in value else _last_of(str(value.get("url") or "")))
    last = PurePosixPath(named.replace("\\", "/")).name
    shown = "".join(character for character in last if character.isprintable())[-MAX_NAME:]
    return shown if shown.strip(". ") else otherwise


def _last_of(url: str) -> str:
    try:
        return unquote(urlsplit(url).path)
    except ValueError:  # no URL at all; opening it says so
        return ""


def renamed(value: FileValue, ending: str, otherwise: str = "file") -> str:
    """The name with another ending (given without its dot)."""
    return f"{PurePosixPath(name_of(value, otherwise)).stem or otherwise}.{ending}"


def media_type(value: FileValue, head: bytes) -> str:
    """What a file is, by its beginning (``sniffing.HEAD`` bytes); its name and its sender only choose among that."""
    if head.startswith(_UTF16_MARKS):  # also the mark of a sound frame, of a kind that nobody makes
        return "text/plain"
    return sniffing.media_type(head, name=name_of(value, ""), claimed=str(value.get("content_type") or ""))


def copy(context: TaskContext, value: FileValue, target: Path, *, most: int, what: str) -> None:
    """Copy a file's content to ``target``. Raises ``too_large`` over ``most`` bytes, ``validation`` for none."""
    size = 0
    with context.files.open(value) as given, target.open("wb") as file:
        while chunk := given.read(CHUNK):
            context.cancellation.check()
            size += len(chunk)
            if size > most:
                raise TaskError("too_large", f"{what} is larger than the {most // 1024**2} MiB that are read.")
            file.write(chunk)
    if size == 0:
        raise TaskError("validation", f"{what} is empty.")


def send(context: TaskContext, path: Path, name: str, content_type: str) -> FileValue:
    """Store the file at ``path``."""
    with path.open("rb") as file, context.files.create(name, content_type) as stored:
        while chunk := file.read(CHUNK):
            context.cancellation.check()
            stored.write(chunk)
    return stored.value


def beginning(file: IO[bytes], size: int) -> bytes:
    """The first ``size`` bytes, or all there are; the file is where it was before."""
    place = file.tell()
    found = file.read(size)
    file.seek(place)
    return found
