"""Middleware of the whole site."""

from __future__ import annotations

import re
from collections.abc import Callable

from csp.middleware import CSPMiddleware
from django.conf import settings
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.messages.storage import default_storage
from django.contrib.messages.storage.base import BaseStorage
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.functional import SimpleLazyObject

from dataflow.api.errors import as_problem, problem_response
from dataflow.lib.errors import ApiProblem
from dataflow.lib.ids import new_id
from dataflow.lib.request_id import request_id

#: A client's own id is taken over when it is short and harmless, so that logs of both sides can be joined.
_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestIdMiddleware:
    """Gives each request an id: in the log, in error answers and in the header ``X-Request-ID``."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request with its id set."""
        given = request.headers.get("X-Request-ID", "")
        token = request_id.set(given if _ACCEPTED.fullmatch(given) else new_id("rq"))
        try:
            response = self._get_response(request)
            response.headers["X-Request-ID"] = request_id.get()
            return response
        finally:
            request_id.reset(token)


class ProxyMiddleware:
    """Believes a proxy of ``FORWARDED_ALLOW_IPS`` that its client speaks TLS."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request under its own scheme."""
        if request.META.get("HTTP_X_FORWARDED_PROTO") == "https" and _is_proxy(request.META.get("REMOTE_ADDR", "")):
            request.META["wsgi.url_scheme"] = "https"
        return self._get_response(request)


class RefusalMiddleware:
    """Refuses, in the one shape of an error, what no view could answer well."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request, unless it is for another host or has a body of unknown length or a broken cookie."""
        problem = _refusal(request)
        return self._get_response(request) if problem is None else problem_response(problem)


class PagePolicyMiddleware(CSPMiddleware):
    """The Content-Security-Policy of whatever a browser could show as a page; JSON is none."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Add the header, unless the answer is JSON."""
        if response.headers.get("Content-Type") == "application/json":
            return response
        guarded: HttpResponseBase = super().process_response(request, response)
        return guarded


class LazyMessageMiddleware(MessageMiddleware):
    """Django's messages of pages, whose storage is made when something asks for it: the API never does."""

    def process_request(self, request: HttpRequest) -> None:
        """Have the storage at hand."""

        def storage() -> BaseStorage:
            request._used_messages = made = default_storage(request)  # type: ignore[attr-defined]  # noqa: SLF001
            return made

        # The attributes are those by which Django's own functions find it.
        request._messages = SimpleLazyObject(storage)  # type: ignore[attr-defined]  # noqa: SLF001

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Keep what is not shown yet, where the storage was used."""
        return super().process_response(request, response) if hasattr(request, "_used_messages") else response


def _is_proxy(address: str) -> bool:
    trusted: frozenset[str] = settings.FORWARDED_ALLOW_IPS
    return "*" in trusted or address in trusted


def _refusal(request: HttpRequest) -> ApiProblem | None:
    try:
        request.get_host()
    except DisallowedHost as error:
        # In development Django itself would answer with a page.
        return as_problem(error)
    if any("\0" in value for value in request.COOKIES.values()):
        # Quoted cookies can hold one; PostgreSQL does not take it for the key of a session.
        detail = "A cookie holds a NUL character."
        return ApiProblem(status=400, code="validation", title="Invalid request", detail=detail)
    if "Transfer-Encoding" in request.headers and not request.headers.get("Content-Length"):
        # Django would take the body for empty, and start an execution without its inputs.
        detail = "Send the body with its Content-Length, not in chunks."
        return ApiProblem(status=411, code="length_required", title="Length required", detail=detail)
    return None
