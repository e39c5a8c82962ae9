"""``text.hash``: the digest of a text or a file."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator, Mapping
from typing import Any

from dataflow.lib.errors import TaskError
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.text_or_file import check_one, chunks_of, require_one

#: Bytes of a file.
MAX_FILE = 2 * 1024**3
_ALGORITHMS = ("sha256", "sha512", "sha1", "md5", "blake2b")


class TextHash(TaskType):
    """Hashes a text (as UTF-8) or a file (streamed), with a key as HMAC."""

    name = "text.hash"
    title = "Hash"
    category = "text"
    description = (
        "Gives the digest of a text (its UTF-8 bytes) or of a file. With a `key` it is an HMAC, as signatures are. "
        "`md5` and `sha1` are for comparing with what others give; they protect nothing."
    )
    inputs = (
        Field(name="text", type="text", description="The text", example="Hello, World!"),
        Field(name="file", type="file", description="The file, at most 2 GiB"),
        Field(
            name="algorithm",
            type="text",
            default="sha256",
            enum=_ALGORITHMS,
            description="How to hash",
            example="sha256",
        ),
        Field(
            name="key",
            type="text",
            min_length=1,
            description="Makes it an HMAC with this key, best `{{secrets.NAME}}`",
        ),
        Field(
            name="format",
            type="text",
            default="hex",
            enum=("hex", "base64"),
            description="How the digest is written",
        ),
    )
    outputs = (
        Field(
            name="hash",
            type="text",
            description="The digest",
            example="dffd6021bb2bd5b0af676290809ec3a53191dd81c7f70a4b28688a362182986f",
        ),
        Field(name="size", type="number", description="How many bytes were hashed", example=13),
    )
    example = {"text": "Hello, World!"}

    def check(self, given: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
        """A text or a file."""
        return check_one(given)

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Hash. Raises ``TaskError``: ``validation``, ``too_large``, and what opening the file raises."""
        require_one(inputs)
        algorithm, key = inputs["algorithm"], inputs["key"]
        if algorithm not in _ALGORITHMS:
            raise TaskError("validation", f"`algorithm` must be one of {', '.join(_ALGORITHMS)}.")
        digest: Any = hashlib.new(algorithm, usedforsecurity=False)
        if key is not None:
            digest = hmac.new(key.encode(), digestmod=algorithm)
        size = 0
        given = inputs["text"]
        for chunk in [given.encode()] if given is not None else chunks_of(context, inputs["file"], MAX_FILE):
            digest.update(chunk)
            size += len(chunk)
        made = digest.digest()
        return {"hash": made.hex() if inputs["format"] == "hex" else base64.b64encode(made).decode(), "size": size}
