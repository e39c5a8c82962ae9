"""``file.read``: the content of a file as a text."""

from __future__ import annotations

import base64
import codecs
from collections.abc import Mapping

from dataflow.lib.errors import TaskError
from dataflow.lib.jsonvalues import JsonError, parse_json
from dataflow.lib.sniffing import HEAD, UNKNOWN
from dataflow.lib.text_kinds import TEXTS
from tasks_lib import web_text
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.file_values import media_type, name_of

#: Bytes that are read at most.
MAX_BYTES = 10 * 1024 * 1024
#: Encodings that can be asked for. Others of Python are no character sets, and some take quadratic time.
ENCODINGS = (
    "auto", "base64", "utf-8", "utf-16", "latin-1", "iso-8859-15", "windows-1250", "windows-1251", "windows-1252",
    "koi8-r", "shift_jis", "euc-jp", "euc-kr", "gb18030", "big5",
)  # fmt: skip


class FileRead(TaskType):
    """The content of a file as text or base64, and as JSON where it is JSON."""

    name = "file.read"
    title = "Read a file"
    category = "files"
    description = "The content of a file of up to 10 MiB as text, as base64, and as JSON where it is JSON."
    inputs = (
        Field(name="file", type="file", required=True, description="The file"),
        Field(
            name="encoding",
            type="text",
            default="auto",
            enum=ENCODINGS,
            description="`auto` finds the encoding of a text; `base64` gives the bytes of any file",
            example="utf-8",
        ),
        Field(
            name="max_bytes",
            type="number",
            minimum=1,
            maximum=MAX_BYTES,
            description="Read the beginning only, up to this many bytes; without it, a file over 10 MiB is refused",
            example=100_000,
        ),
    )
    outputs = (
        Field(name="text", type="text", description="The content"),
        Field(name="json", type="any", description="The content as JSON, where all of it is JSON"),
        Field(name="name", type="text", description="Name of the file", example="table.csv"),
        Field(name="content_type", type="text", description="What it is, by its content", example="text/csv"),
        Field(name="size", type="number", description="Size of the whole file in bytes", example=120),
        Field(name="truncated", type="boolean", description="Whether `max_bytes` left some of it out"),
    )
    timeout = 300.0
    example = {"file": "fl-sample0csv"}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Read. Raises ``validation`` for what is no text in that encoding, ``too_large`` for a file over 10 MiB."""
        most = MAX_BYTES if inputs["max_bytes"] is None else int(inputs["max_bytes"])
        with context.files.open(inputs["file"]) as file:
            data = file.read(most)
            file.seek(0, 2)
            size = file.tell()
        truncated = size > len(data)
        if truncated and inputs["max_bytes"] is None:
            raise TaskError(
                "too_large", f"The file has {size:,} bytes; at most {MAX_BYTES:,} are read. `max_bytes` reads a part."
            )
        content_type = media_type(inputs["file"], data[:HEAD])
        text = _decoded(data, inputs["encoding"], content_type, truncated=truncated)
        return {
            "text": text,
            "json": None if truncated or inputs["encoding"] == "base64" else _parsed(text),
            "name": name_of(inputs["file"]),
            "content_type": content_type,
            "size": size,
            "truncated": truncated,
        }


def _decoded(data: bytes, encoding: str, content_type: str, *, truncated: bool) -> str:
    if encoding == "base64":
        return base64.b64encode(data).decode("ascii")
    if encoding == "auto":
        if data and not _is_text(data, content_type):
            raise TaskError("validation", f"The file is no text, but {content_type}. Read it with encoding `base64`.")
        return web_text.decode(_whole_characters(data) if truncated else data, content_type)
    try:
        return codecs.getincrementaldecoder(encoding)().decode(data, final=not truncated)
    except UnicodeError as error:
        raise TaskError("validation", f"The file is not written in {encoding}: {error}") from error


def _is_text(data: bytes, content_type: str) -> bool:
    bare = content_type.partition(";")[0]
    return TEXTS.fullmatch(bare) is not None or (bare == UNKNOWN and web_text.is_text("", data))


def _whole_characters(data: bytes) -> bytes:
    """Without the beginning of a UTF-8 character at the end, of which the rest was left out."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-back] if length > back else data
        if byte < 0x80:
            return data
    return data


def _parsed(text: str) -> JsonValue:
    if not text.lstrip("\ufeff \t\r\n").startswith(("{", "[")):
        return None
    try:
        return parse_json(text.removeprefix("\ufeff").encode("utf-8", "replace"))
    except JsonError:
        return None
