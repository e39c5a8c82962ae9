"""Downloads: byte ranges, entity tags, and nothing that a browser would run from our origin."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import IO
from urllib.parse import quote

from django.core.files.storage import default_storage
from django.http import HttpResponse, HttpResponseNotModified, StreamingHttpResponse
from django.http.response import HttpResponseBase

from dataflow.lib.errors import ApiProblem, not_found
from executions.models import StoredFile

#: Types that a page may show in place. Everything else is offered as a download.
SHOWN_IN_PLACE = re.compile(r"(audio|video)/[\w.+-]+|image/(png|jpeg|gif|webp|avif)|text/plain|application/json")
#: Never sent as what they claim to be: a browser would run them.
_ACTIVE = re.compile(r"(text/html|image/svg|.*[/+]xml|.*(java|ecma|vb)script|multipart/|message/)", re.IGNORECASE)
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_CHUNK = 64 * 1024


def download(stored: StoredFile, headers: Mapping[str, str]) -> HttpResponseBase:
    """The content of a file, or the part that ``Range`` asks for (RFC 9110); 304 for a known ``If-None-Match``."""
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
