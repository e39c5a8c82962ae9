"""One shape for every error: RFC 9457 ``application/problem+json``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from rest_framework import exceptions
from rest_framework.parsers import MultiPartParser
from rest_framework.response import Response

from dataflow.lib.errors import ApiProblem, Problem
from dataflow.lib.request_id import request_id

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
_LONGEST_POINTER = 1000
TOO_LARGE = "The request body is larger than 10 MiB. Send files by multipart to /files."


def problem_json(*, status: int, code: str, title: str, detail: str, errors: Sequence[Problem] = ()) -> dict[str, Any]:
    """The members of a problem. ``type`` is ``about:blank``: ``code`` tells problems apart."""
    return {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id.get(),
        "errors": [error.as_json() | {"pointer": _pointer(error)} for error in errors],
    }


def _pointer(error: Problem) -> str:
    """The place, or the one around it: a key of a megabyte is not said back five hundred times."""
    if len(error.pointer) <= _LONGEST_POINTER:
        return error.pointer
    return error.pointer[:_LONGEST_POINTER].rpartition("/")[0]


def handle(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """REST framework's exception handler: every exception becomes a problem; an unexpected one a logged 500."""
    problem = as_problem(error)
    if problem is None:
        return None
    if problem.status == 415 and getattr(context.get("view"), "parser_classes", ()) == [MultiPartParser]:
        problem.detail = _SEND_MULTIPART
    body = problem_json(
        status=problem.status, code=problem.code, title=problem.title, detail=problem.detail, errors=problem.errors
    )
    return Response(body, status=problem.status, headers=problem.headers, content_type=CONTENT_TYPE)


def as_problem(error: Exception) -> ApiProblem | None:
    """What an exception is to a client; ``None`` for what nobody expected."""
    return next((answer(error) for kind, answer in _ANSWERS if isinstance(error, kind)), None)


def _untakeable(error: Exception) -> ApiProblem:
    # Logged: it may as well be a check of ours that is missing.
    logger.warning("The database refused a value: %s", str(error).strip())
    return _simple(400, "validation", "The request holds a value that the database cannot take.")


def _unavailable(error: Exception) -> ApiProblem:
    logger.warning("The database did not answer: %s", str(error).strip())
    detail = "The database does not answer at the moment. Try again."
    return _simple(503, "unavailable", detail, headers={"Retry-After": "5"})


def _from_framework(error: Any) -> ApiProblem:
    code = _CODES.get(error.status_code, str(error.default_code))
    headers: dict[str, str] = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(int(wait))
    detail = _DETAILS.get(error.status_code, str(error.detail))
    return _simple(error.status_code, code, detail, headers=headers)


_CODES = {
    400: "validation", 401: "authentication", 403: "authorization", 404: "not_found", 405: "method_not_allowed",
    406: "not_acceptable", 413: "too_large", 415: "unsupported_media_type", 429: "rate_limited",
}  # fmt: skip
_SEND_MULTIPART = "Send one file with `Content-Type: multipart/form-data`, such as: curl -F file=@NAME …/files"
_DETAILS = {
    406: "This address answers in JSON. Send `Accept: application/json`.",
    415: "Send JSON with the header `Content-Type: application/json` (in UTF-8).",
}


def _simple(status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None) -> ApiProblem:
    title = HTTPStatus(status).phrase
    return ApiProblem(status=status, code=code, title=title, detail=detail, headers=headers)


_ANSWERS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], Callable[[Any], ApiProblem]], ...] = (
    (ApiProblem, lambda error: error),
    (exceptions.APIException, _from_framework),
    (Http404, lambda _: _simple(404, "not_found", "There is nothing here.")),
    (PermissionDenied, lambda error: _simple(403, "authorization", str(error) or "You may not do this.")),
    (RequestDataTooBig, lambda _: _simple(413, "too_large", TOO_LARGE)),
    # Too many parameters or parts; in development Django itself would answer with a page.
    (SuspiciousOperation, lambda error: _simple(400, "validation", f"The request is refused: {str(error)[:200]}")),
    (UnreadablePostError, lambda _: _simple(400, "validation", "The connection ended before the request did.")),
    (MultiPartParserError, lambda error: _simple(400, "validation", f"The multipart body cannot be read: {error}")),
    ((OperationalError, InterfaceError), _unavailable),
    # Such as a NUL in the name of who signs in, which PostgreSQL does not take even to look for it.
    (DataError, _untakeable),
)


def problem_response(problem: ApiProblem) -> HttpResponse:
    """A problem outside of REST framework's views."""
    body = problem_json(
        status=problem.status, code=problem.code, title=problem.title, detail=problem.detail, errors=problem.errors
    )
    return JsonResponse(body, status=problem.status, headers=problem.headers, content_type=CONTENT_TYPE)


def bad_request(exception: Exception) -> HttpResponse:
    """Django's handler400 for API clients."""
    return problem_response(as_problem(exception) or _simple(400, "validation", "The request cannot be read."))


def not_found_at(request: HttpRequest) -> HttpResponse:
    """Django's handler404 for API clients."""
    return problem_response(_simple(404, "not_found", f"There is nothing at {request.path[:200]}."))


def forbidden() -> HttpResponse:
    """Django's handler403 for API clients."""
    return problem_response(_simple(403, "authorization", "You may not do this."))


def server_error() -> HttpResponse:
    """Django's handler500 for API clients."""
    return problem_response(_simple(500, "runtime", "Something went wrong on our side; it was logged."))
