"""One address for people and programs: a browser gets the page, an API client the JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.views.decorators.csrf import csrf_exempt

Answer = Callable[..., HttpResponseBase]


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
    return request.get_preferred_type(["application/json", "text/html"]) == "text/html"
