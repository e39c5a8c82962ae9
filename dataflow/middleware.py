"""Middleware of the whole site."""

from __future__ import annotations

import re
from collections.abc import Callable

from csp.middleware import CSPMiddleware
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest
from django.http.response import HttpResponseBase

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
