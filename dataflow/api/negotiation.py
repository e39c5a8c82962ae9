"""One address for people and programs: a browser gets the page, an API client the JSON.

What programs send is known without reading ``Accept`` by its rules, twice for each request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.views.decorators.csrf import csrf_exempt
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

Answer = Callable[..., HttpResponseBase]
_JSON = "application/json"
#: What programs send as ``Accept``: they mean JSON here. Most say nothing, or that all is welcome.
_FOR_JSON = frozenset({None, _JSON, "*/*"})


class Negotiation(DefaultContentNegotiation):
    """REST framework's own rules, with the common cases first."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """The renderer and the media type of the answer. Raises ``NotAcceptable``."""
        first = next(iter(renderers))
        if format_suffix is None and first.media_type == _JSON and request.META.get("HTTP_ACCEPT") in _FOR_JSON:
            return first, _JSON
        chosen: tuple[BaseRenderer, str] = super().select_renderer(request, renderers, format_suffix)
        return chosen


def by_accept(*, api: Answer, page: Answer) -> Answer:
    """A view that hands a request to ``page`` when its ``Accept`` prefers HTML, else to ``api``."""

    @csrf_exempt  # the API view checks CSRF itself where a session speaks; the page view always does
    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        chosen = page if wants_page(request) else api
        response = chosen(request, *args, **kwargs)
        patch_vary_headers(response, ["Accept"])
        return response

    return view


def wants_page(request: HttpRequest) -> bool:
    """Whether the caller would rather have HTML than JSON."""
    if request.META.get("HTTP_ACCEPT") in _FOR_JSON:
        return False
    return request.get_preferred_type([_JSON, "text/html"]) == "text/html"
