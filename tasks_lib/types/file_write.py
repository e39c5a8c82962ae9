"""``file.write``: a file made of a text or a value."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping

from dataflow.lib.errors import TaskError
from dataflow.lib.sniffing import HEAD, media_type
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType

_MEDIA_TYPE = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}( *;.{0,50})?", re.ASCII)
_ENDINGS = {"text": "txt", "json": "json", "base64": "bin"}


class FileWrite(TaskType):
    """Makes a file of a text, of any value as JSON, or of base64."""

    name = "file.write"
    title = "Write a file"
    category = "files"
    description = "Makes a file of a text, of any value (as JSON), or of base64."
    inputs = (
        Field(name="content", type="any", required=True, description="What is to stand in it", example="Hello, World!"),
        Field(name="name", type="text", max_length=200, description="Name of the file", example="hello.txt"),
        Field(
            name="encoding",
            type="text",
            enum=("text", "json", "base64"),
            description="How `content` is written: as it is (a text; the default for one), as JSON, or as the bytes "
            "that its base64 stands for",
        ),
        Field(
            name="content_type",
            type="text",
            max_length=200,
            description="Media type; else by the name and the content",
            example="text/plain",
        ),
    )
    outputs = (
        Field(name="file", type="file", description="The file"),
        Field(name="size", type="number", description="Its size in bytes", example=13),
    )
    timeout = 300.0
    example = {"content": "Hello, World!", "name": "hello.txt"}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Write. Raises ``validation`` for content that is not what ``encoding`` says, or an odd media type."""
        content = inputs["content"]
        encoding = inputs["encoding"] or ("text" if isinstance(content, str) else "json")
        data = _encoded(content, encoding)
        name = inputs["name"] or f"file.{_ENDINGS[encoding]}"
        content_type = inputs["content_type"] or media_type(data[:HEAD], name=name)
        if not _MEDIA_TYPE.fullmatch(content_type):
            raise TaskError("validation", f"`content_type` must be a media type like text/plain, not {content_type!r}.")
        with context.files.create(name, content_type) as file:
            file.write(data)
        return {"file": file.value, "size": len(data)}


def _encoded(content: JsonValue, encoding: str) -> bytes:
    if encoding == "json":
        return json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False).encode("utf-8", "replace") + b"\n"
    if not isinstance(content, str):
        raise TaskError("validation", f"`content` must be a text to be written as {encoding}.")
    if encoding == "text":
        return content.encode("utf-8", "replace")
    try:
        return base64.b64decode("".join(content.split()), validate=True)
    except ValueError as error:
        raise TaskError("validation", f"`content` is not base64: {error}.") from error
