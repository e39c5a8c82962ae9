"""Who may: in development everybody on this machine, else signed-in users; changes need staff."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.views.generic import View
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

if TYPE_CHECKING:  # REST framework reads this module while it loads its views
    from rest_framework.views import APIView


def is_open_to(request: HttpRequest) -> bool:
    """Whether the installation is open to this caller: development, and the caller is on this machine.

    A web page from elsewhere that makes this machine's browser call is not let in.
    """
    if not settings.DEBUG or "X-Forwarded-For" in request.headers:
        return False
    try:
        caller = ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    # A server on every address sees IPv4 callers as ::ffff:127.0.0.1, which Python 3.11 does not take for loopback.
    caller = getattr(caller, "ipv4_mapped", None) or caller
    return caller.is_loopback and not _from_another_site(request)


def may(request: HttpRequest) -> bool:
    """Whether this caller may make this request: signed-in users read, staff change."""
    return is_open_to(request) or _has_right(request)


def may_change(request: HttpRequest) -> bool:
    """Whether this caller may do more than read: what a page offers besides."""
    return is_open_to(request) or bool(request.user.is_authenticated and request.user.is_staff)


def may_administer(request: HttpRequest) -> bool:
    """Whether this caller may see and change what is the administrators' alone: secrets, connections."""
    return is_open_to(request) or _is_administrator(request)


class ApiAccess(BasePermission):
    """The rule for API clients."""

    message = "Sign in, or ask for the right to do this. With DEBUG=1 the API is open on loopback."

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Whether this request may be made."""
        return is_open_to(request._request) or _has_right(request)  # noqa: SLF001 - REST framework's way to the request


class AdministratorApiAccess(BasePermission):
    """The rule for API clients at what is the administrators' alone, reading included."""

    message = "Only administrators (superusers) may do this. With DEBUG=1 the API is open on loopback."

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Whether this request may be made."""
        return is_open_to(request._request) or _is_administrator(request)  # noqa: SLF001 - as above


def _is_administrator(request: HttpRequest | Request) -> bool:
    user = request.user
    return user.is_authenticated and bool(user.is_active and user.is_superuser)


def _has_right(request: HttpRequest | Request) -> bool:
    """What the account allows: Django's session for a page, whatever REST framework authenticated for the API."""
    user = request.user
    return user.is_authenticated and (request.method in SAFE_METHODS or bool(user.is_staff))


class PageAccess(View):
    """The rule for pages: who is not signed in is sent to the login."""

    #: What an account that may not is told.
    refusal = "Your account may look, not change."

    def is_allowed(self, request: HttpRequest) -> bool:
        """Whether this caller may open the page and send its forms."""
        return may(request)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Let in, send to the login, or refuse."""
        if self.is_allowed(request):
            return super().dispatch(request, *args, **kwargs)
        if request.user.is_authenticated or _from_another_site(request):
            raise PermissionDenied(self.refusal)
        return redirect_to_login(request.get_full_path(), settings.LOGIN_URL)


def _from_another_site(request: HttpRequest) -> bool:
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        # A link on another site may open a page; it may not send a form.
        return request.method not in SAFE_METHODS or request.headers.get("Sec-Fetch-Mode") != "navigate"
    origin = request.headers.get("Origin")
    if origin == "null":
        # A sandboxed frame or a local document of anybody's, unless the browser says that it is our own page.
        return request.headers.get("Sec-Fetch-Site") not in ("same-origin", "none")
    try:
        return bool(origin) and urlsplit(origin or "").netloc != request.get_host()
    except ValueError:  # no address at all, such as http://[
        return True
