"""Inputs of HTTP task types turned into what the way out takes. Each raises ``TaskError('validation')``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from dataflow.lib.errors import TaskError
from tasks_lib.base import JsonValue

_METHOD = re.compile(r"[A-Za-z]{1,20}")


def require_url(url: str) -> None:
    """Raise ``TaskError`` for what can be seen to be no address; the way out has the last word."""
    try:
        parts = urlsplit(url.lstrip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise TaskError("validation", f"The URL {url[:200]!r} must start with http:// or https:// and name a host.")


def require_method(method: str) -> None:
    """Raise ``TaskError`` for what can be seen to be no method; the way out has the last word."""
    if not _METHOD.fullmatch(method):
        raise TaskError("validation", f"{method[:40]!r} is not an HTTP method that can be used.")


def text_headers(headers: Mapping[str, JsonValue] | None) -> dict[str, str]:
    """Headers by name; numbers and booleans become texts, null leaves a header out."""
    given = {name: value for name, value in (headers or {}).items() if value is not None}
    return {name: as_text(value, f"headers.{name}") for name, value in given.items()}


def query_params(query: Mapping[str, JsonValue] | None) -> dict[str, list[str]]:
    """Query parameters by name; a list repeats its parameter, null leaves it out."""
    given = {name: value for name, value in (query or {}).items() if value is not None}
    return {
        name: [as_text(item, f"query.{name}") for item in (value if isinstance(value, list) else [value])]
        for name, value in given.items()
    }


def form_fields(form: Mapping[str, JsonValue] | None) -> dict[str, str]:
    """Fields of a form by name; null leaves one out."""
    given = {name: value for name, value in (form or {}).items() if value is not None}
    return {name: as_text(value, f"form.{name}") for name, value in given.items()}


def credentials(auth: Mapping[str, JsonValue] | None) -> tuple[tuple[str, str] | None, dict[str, str]]:
    """Basic credentials, or a header with a bearer token, from ``{"type": "basic" | "bearer", …}``."""
    if not auth:
        return None, {}
    kind = auth.get("type", "bearer" if "token" in auth else "basic")
    if kind == "bearer" and set(auth) <= {"type", "token"} and "token" in auth:
        return None, {"Authorization": f"Bearer {as_text(auth['token'], 'auth.token')}"}
    if kind == "basic" and set(auth) <= {"type", "username", "password"} and "username" in auth:
        password = auth.get("password")
        secret = "" if password is None else as_text(password, "auth.password")
        return (as_text(auth["username"], "auth.username"), secret), {}
    message = '`auth` must be {"type": "basic", "username", "password"} or {"type": "bearer", "token"}.'
    raise TaskError("validation", message)


def status_check(expected: JsonValue) -> Callable[[int], bool]:
    """Whether a status is wanted: ``None`` means 2xx; else a number, a text such as ``"2xx"``, or a list of these."""
    if expected is None:
        return lambda status: 200 <= status < 300
    wanted = [_status_pattern(item) for item in (expected if isinstance(expected, list) else [expected])]
    return lambda status: any(pattern in (str(status), f"{status // 100}xx") for pattern in wanted)


def as_text(value: JsonValue, where: str) -> str:
    """A single value as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    raise TaskError(
        "validation", f"`{where}` must be a single value, not {'null' if value is None else 'a structure'}."
    )


def _status_pattern(value: JsonValue) -> str:
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).lower()
    if len(text) == 3 and text[0] in "12345" and (text[1:].isdecimal() or text[1:] == "xx"):
        return text
    raise TaskError("validation", f'`expected_status` must be like 200, "2xx" or a list of these, not {value!r}.')
