"""Downloads: byte ranges, entity tags, and nothing that a browser would run from our origin."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import IO
from urllib.parse import quote

from django.core.files.storage import default_storage
from django.http import HttpResponse, HttpResponseNotModified, StreamingHttpResponse
from django.http.response import HttpResponseBase

from dataflow.lib.errors import ApiProblem, not_found
from dataflow.lib.fields import dump_json
from executions.files import OUTPUT
from executions.hidden import mask_of
from executions.models import StoredFile
from executions.redaction import NOTHING

#: Bytes of an output in which sensitive values are masked when it is downloaded: it is held in memory for that.
MAX_MASKED = 16 * 1024 * 1024

#: Types that a page may show in place. Everything else is offered as a download.
SHOWN_IN_PLACE = re.compile(r"(audio|video)/[\w.+-]+|image/(png|jpeg|gif|webp|avif)|text/plain|application/json")
#: Never sent as what they claim to be: a browser would run them, or let them change how a page of ours looks.
_ACTIVE = re.compile(r"(text/html|image/svg|.*[/+]xml|.*script|.*css|multipart/|message/)", re.IGNORECASE)
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_CHUNK = 64 * 1024


def download(stored: StoredFile, headers: Mapping[str, str]) -> HttpResponseBase:
    """The content of a file, or the part that ``Range`` asks for (RFC 9110); 304 for a known ``If-None-Match``."""
    if (masked := _masked(stored)) is not None:
        return masked
    etag = f'"{stored.sha256}"'
    known = headers.get("If-None-Match", "")
    if etag in known or known.strip() == "*":
        return _with_headers(HttpResponseNotModified(), stored, etag)
    asked = headers.get("Range", "")
    if asked and headers.get("If-Range", etag) == etag:
        span = _span(asked, stored.size)
        if span is not None:
            return _with_headers(_part(stored, *span), stored, etag)
    return _with_headers(_streamed(stored, 0, stored.size, status=200), stored, etag)


def _masked(stored: StoredFile) -> HttpResponseBase | None:
    """An output that is kept as a file, without the sensitive values of its execution; ``None`` for all else."""
    mask = mask_of(stored.execution) if stored.execution is not None and OUTPUT in stored.metadata else NOTHING
    if not mask:
        return None
    if stored.size > MAX_MASKED:
        detail = (
            f"This output may hold sensitive values, and is larger than the {MAX_MASKED // 1024**2} MiB in which they "
            "are masked. Write what is needed of it to a file or an output of its own."
        )
        raise ApiProblem(status=403, code="authorization", title="Forbidden", detail=detail)
    try:
        with default_storage.open(stored.blob.name, "rb") as content:
            text = dump_json(mask.value(json.loads(content.read())))
    except FileNotFoundError as error:
        raise not_found("content of file", stored.pk) from error
    response = _with_headers(HttpResponse(text), stored, f'"{hashlib.sha256(text.encode()).hexdigest()}"')
    response.headers["Accept-Ranges"] = "none"
    return response


def _span(asked: str, size: int) -> tuple[int, int] | None:
    """First and last byte of a single range; ``None`` for what is to be ignored. Raises 416 beyond the end."""
    match = _RANGE.fullmatch(asked.strip())
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last), size - 1) if first and last else size - 1
    if start >= size or (first and last and int(last) < int(first)):
        raise ApiProblem(
            status=416,
            code="range_not_satisfiable",
            title="Range not satisfiable",
            detail=f"The file has {size} bytes.",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return start, end


def _part(stored: StoredFile, start: int, end: int) -> HttpResponse | StreamingHttpResponse:
    response = _streamed(stored, start, end - start + 1, status=206)
    response.headers["Content-Range"] = f"bytes {start}-{end}/{stored.size}"
    return response


def _streamed(stored: StoredFile, start: int, length: int, *, status: int) -> StreamingHttpResponse:
    try:
        content: IO[bytes] = default_storage.open(stored.blob.name, "rb")
    except FileNotFoundError as error:
        raise not_found("content of file", stored.pk) from error
    content.seek(start)
    response = StreamingHttpResponse(_Part(content, length), status=status)
    response.headers["Content-Length"] = str(length)
    return response


class _Part:
    """A part of an open file in chunks. Django closes it with the answer, also where nothing is sent (HEAD)."""

    def __init__(self, content: IO[bytes], length: int) -> None:
        self._content, self._length = content, length

    def __iter__(self) -> Iterator[bytes]:
        while self._length > 0 and (chunk := self._content.read(min(_CHUNK, self._length))):
            self._length -= len(chunk)
            yield chunk

    def close(self) -> None:
        """Give the file back."""
        self._content.close()


def _with_headers(response: HttpResponseBase, stored: StoredFile, etag: str) -> HttpResponseBase:
    kind = stored.content_type
    shown = SHOWN_IN_PLACE.fullmatch(kind.split(";")[0].strip().lower()) is not None
    response.headers["Content-Type"] = "application/octet-stream" if _ACTIVE.match(kind) or not _clean(kind) else kind
    place = "inline" if shown else "attachment"
    response.headers["Content-Disposition"] = f"{place}; filename*=UTF-8''{quote(stored.name, safe='')}"
    response.headers["ETag"] = etag
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["Cache-Control"] = "private, max-age=3600"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response


def _clean(kind: str) -> bool:
    """Whether it is one media type, with or without parameters, that can stand in a header."""
    return re.fullmatch(r"[\w.+-]+/[\w.+-]+\s*(;[\x20-\x7e]*)?", kind, re.ASCII) is not None
