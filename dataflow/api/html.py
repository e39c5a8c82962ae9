"""What every page stands on: the base view, paging of lists, and fragments that answer 304."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotModified, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_protect
from django.views.generic import View

from dataflow.api.pagination import page_of
from dataflow.api.permissions import PageAccess
from dataflow.lib.errors import ApiProblem

Row = TypeVar("Row", bound=Model)


@method_decorator(csrf_protect, name="dispatch")
class PageView(PageAccess, View):
    """A page. What a service refuses becomes a page that says why; forms are checked against CSRF in every case."""

    #: Key of the header's link that is marked as open.
    here: ClassVar[str] = ""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer; what is refused or missing becomes a page that says so, in development too."""
        try:
            return super().dispatch(request, *args, **kwargs)
        except ApiProblem as problem:
            refused = problem
        except Http404 as missing:
            detail = str(missing) or f"There is nothing at {request.path[:200]}."
            refused = ApiProblem(status=404, code="not_found", title="Not found", detail=detail)
        return self.render("problem.html", {"problem": refused, "back": "/"}, status=refused.status)

    def render(self, template: str, context: Mapping[str, Any], *, status: int = 200) -> HttpResponse:
        """A whole page. It differs by who asks for what, so shared caches keep nothing."""
        response = render(self.request, template, {"here": self.here, **context}, status=status)
        response.headers["Cache-Control"] = "private, no-cache"
        response.headers["Vary"] = "Accept, Cookie"
        return response

    def fragment(self, template: str, context: Mapping[str, Any], *, etag: str) -> HttpResponseBase:
        """A part of a page for htmx; 304 when the page says (``If-None-Match``) that it has this state already."""
        unchanged = self.request.headers.get("If-None-Match") == quoted(etag)
        response: HttpResponse = (
            HttpResponseNotModified() if unchanged else render(self.request, template, {**context, "etag": etag})
        )
        response.headers["ETag"] = quoted(etag)
        # The page itself remembers the ETag; a cached copy would come back as a 200 that looks like news.
        response.headers["Cache-Control"] = "no-store"
        return response


def quoted(etag: str) -> str:
    """An entity tag as it stands in headers."""
    return f'"{etag}"'


def digest(value: Any) -> str:
    """Eight characters that stand for a JSON value, which may hold times."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=4).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPage(Generic[Row]):
    """One page of a list, newest first, and the query strings of its neighbours (empty where there are none)."""

    rows: list[Row]
    next_query: str
    first_query: str


def list_page(rows: QuerySet[Row], query: QueryDict) -> ListPage[Row]:
    """The page that ``cursor`` asks for, by the paging of the API; what else is asked for stays in the addresses."""
    page = page_of(rows, query)
    kept = query.copy()
    for name in [name for name in kept if name == "cursor" or not any(kept.getlist(name))]:
        del kept[name]
    first = f"?{kept.urlencode()}" if query.get("cursor") else ""
    following = kept.copy()
    following["cursor"] = page.next_cursor or ""
    return ListPage(rows=page.rows, next_query=following.urlencode() if page.next_cursor else "", first_query=first)
