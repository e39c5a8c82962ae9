"""Multipart form bodies written to disk, so that a large file is never held in memory."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePart:
    """One file of a form: the field it is sent as, its name and media type, and its content."""

    field: str
    name: str
    content_type: str
    content: IO[bytes]


@contextmanager
def multipart_body(fields: Mapping[str, str], files: Iterable[FilePart]) -> Iterator[tuple[IO[bytes], str]]:
    """The body, rewound and ready to be sent, and its ``Content-Type``."""
    boundary = secrets.token_hex(16)
    with tempfile.TemporaryFile() as body:
        for name, value in fields.items():
            body.write(_part(boundary, name, ""))
            body.write(value.encode())
        for part in files:
            kind = part.content_type.translate(_ESCAPES)
            body.write(_part(boundary, part.field, f'; filename="{part.name.translate(_ESCAPES)}"', kind))
            shutil.copyfileobj(part.content, body)
        body.write(f"\r\n--{boundary}--\r\n".encode())
        body.seek(0)
        yield body, f"multipart/form-data; boundary={boundary}"


def _part(boundary: str, name: str, more: str, content_type: str = "") -> bytes:
    kind = f"\r\nContent-Type: {content_type}" if content_type else ""
    escaped = name.translate(_ESCAPES)
    return f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="{escaped}"{more}{kind}\r\n\r\n'.encode()
