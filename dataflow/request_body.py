"""The body of a request as WSGI hands it over, of which we want all or nothing."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from io import BytesIO
from typing import Any, Protocol

#: Bytes of a body that is read before the request is answered.
_SMALL = 64 * 1024


class Readable(Protocol):
    """What ``wsgi.input`` is read by."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes, all that is left for -1; nothing at the end."""

    def readline(self, size: int = -1, /) -> bytes:
        """The same of one line."""


class WholeBody:
    """A body that breaks with ``OSError`` where the connection did.

    granian ends it there as if it were complete: half an upload would be taken for a file.
    """

    def __init__(self, body: Readable, length: int) -> None:
        self._body, self._left = body, length

    @classmethod
    def of(cls, environ: Mapping[str, Any]) -> Readable:
        """The body of a request; one without a length has none."""
        length, body = environ.get("CONTENT_LENGTH") or "", environ["wsgi.input"]
        return cls(body, int(length[:18])) if length.isdecimal() else body

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes. Raises ``OSError`` at an end before the end."""
        data = self._body.read(size)
        return self._counted(data, is_end=size < 0 or (size > 0 and not data))

    def readline(self, size: int = -1, /) -> bytes:
        """The same of one line."""
        data = self._body.readline(size)
        return self._counted(data, is_end=size != 0 and not data)

    def _counted(self, data: bytes, *, is_end: bool) -> bytes:
        self._left -= len(data)
        if is_end and self._left > 0:
            raise OSError(f"The connection ended {self._left} bytes before the end of the request.")
        return data


def read_ahead(environ: MutableMapping[str, Any]) -> bool:
    """Whether nothing of the body is still to come: a small one is read here, however slowly it comes."""
    given = environ.get("CONTENT_LENGTH") or ""
    length = int(given[:18]) if given.isdecimal() else 0
    if length > _SMALL:
        return False
    body, whole = environ["wsgi.input"], b""
    # A body that breaks breaks again for who answers the request.
    with suppress(OSError):
        # granian's takes no size below 0, and may give less than it is asked for.
        while len(whole) < length and (part := body.read(length - len(whole))):
            whole += part
        if length:
            environ["wsgi.input"] = BytesIO(whole)
    return True
