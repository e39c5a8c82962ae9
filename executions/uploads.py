"""Uploads go to the disk as they come, hashed on their way: nothing is read or copied twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from dataflow.api.errors import problem_response
from dataflow.api.permissions import is_open_to
from dataflow.lib.errors import ApiProblem
from executions.blobs import Spool
from executions.files import MAX_BYTES

#: Bytes of all files of one request together.
MAX_REQUEST = 4 * MAX_BYTES


class Upload(UploadedFile[bytes]):
    """An uploaded file as Django's forms know it; ``spool`` is its content, up to a little over ``MAX_BYTES``."""

    def __init__(self, spool: Spool, name: str, content_type: str, size: int) -> None:
        super().__init__(spool.file, name, content_type, size)
        self.spool = spool

    def close(self) -> None:
        """Give the disk its room back. Django does it when the request is answered."""
        self.spool.close()


class SpoolingHandler(FileUploadHandler):
    """Receives each file of a request in a spool. The rest of one that is too large is read and left out."""

    def __init__(self, request: HttpRequest | None = None) -> None:
        super().__init__(request)
        self._spools: list[Spool] = []

    def handle_raw_input(
        self,
        input_data: Any,
        META: Any,  # noqa: N803 - as Django has it
        content_length: int,
        boundary: Any,
        encoding: Any = None,
    ) -> None:
        """Refuse what a stranger sends: Django reads a form for its token before anybody asks who they are."""
        if content_length > settings.DATA_UPLOAD_MAX_MEMORY_SIZE and not _is_known(self.request):
            raise RequestDataTooBig("Sign in to send files.")

    def new_file(self, *arguments: Any, **named: Any) -> None:
        """Begin a file."""
        super().new_file(*arguments, **named)
        self._spools.append(Spool())

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        """Take a piece; no other handler gets it."""
        if self._spools[-1].size <= MAX_BYTES:
            self._spools[-1].write(raw_data)
        return None

    def file_complete(self, file_size: int) -> Upload:
        """The file, with the size it came with."""
        content_type, charset = self.content_type or "", self._charset()
        if charset:
            content_type += f"; charset={charset}"
        return Upload(self._spools[-1], self.file_name or "file", content_type, file_size)

    def _charset(self) -> str:
        """What the part says of itself; Django's parser gives it as bytes."""
        given: Any = (self.content_type_extra or {}).get("charset") or ""
        return given.decode("ascii", "replace") if isinstance(given, bytes) else str(given)

    def close(self) -> None:
        """Give the disk its room back."""
        for spool in self._spools:
            spool.close()


def _is_known(request: HttpRequest | None) -> bool:
    """Whether it is a caller with an account, or from this machine in development."""
    if request is None:
        return False
    user = getattr(request, "user", None)
    return is_open_to(request) or bool(user is not None and user.is_authenticated)


class UploadsMiddleware:
    """Closes what a request uploaded, also where its connection broke: Django forgets that.

    A request with more than ``MAX_REQUEST`` bytes is refused before any of it is written.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request; then nothing of its files is needed any more."""
        if request.content_type != "multipart/form-data":
            return self._get_response(request)
        length = request.META.get("CONTENT_LENGTH") or ""
        if length.isdecimal() and int(length[:18]) > MAX_REQUEST:
            detail = f"A request may have at most {MAX_REQUEST // 1024**3} GiB. Upload files one by one to /files."
            return problem_response(ApiProblem(status=413, code="too_large", title="Content too large", detail=detail))
        try:
            return self._get_response(request)
        finally:
            for handler in request.upload_handlers:
                if isinstance(handler, SpoolingHandler):
                    handler.close()
