"""``http.request``: any HTTP request."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from dataflow.lib.errors import TaskError
from dataflow.lib.jsonvalues import JsonError, parse_json
from dataflow.lib.multipart import FilePart
from tasks_lib.base import MISSING, Field, FileValue, JsonValue, TaskContext, TaskType
from tasks_lib.file_values import given_file
from tasks_lib.http_errors import REPEATABLE_METHODS, status_error
from tasks_lib.http_values import (
    credentials,
    form_fields,
    query_params,
    require_method,
    require_url,
    status_check,
    text_headers,
)
from tasks_lib.literals import wrong_inputs
from tasks_lib.web_text import decode, is_text

if TYPE_CHECKING:  # imports `requests`
    from dataflow.lib.egress import Response

#: Bytes of text that are given as text; a longer body becomes a file.
MAX_TEXT = 1024 * 1024
#: Bytes of an answer that are read at all.
MAX_BODY = 100 * 1024 * 1024
#: Seconds for a request of a task without a deadline.
DEFAULT_TIMEOUT = 300.0
#: Methods with which the task's idempotency key is sent, so that a careful server acts once however often it is asked.
_KEYED_METHODS = frozenset({"POST", "PATCH"})
_ONE_BODY = "Give one of `json`, `body`, and `form` with `files`, not several of them."
_CHECKS: Mapping[str, Callable[[Any], object]] = {
    "url": require_url,
    "method": require_method,
    "headers": text_headers,
    "query": query_params,
    "form": form_fields,
    "expected_status": status_check,
    "auth": credentials,
}


class HttpRequest(TaskType):
    """Sends a request and gives back what comes: text, or a file when it is large or no text."""

    name = "http.request"
    title = "HTTP request"
    category = "web"
    description = "Sends any HTTP request. Anything but a 2xx answer (or `expected_status`) fails the task."
    inputs = (
        Field(name="url", type="text", required=True, description="Where to", example="https://example.com/api"),
        Field(name="method", type="text", default="GET", description="HTTP method", example="GET"),
        Field(name="headers", type="object", description="Headers to send", example={"Accept": "application/json"}),
        Field(name="query", type="object", description="Query parameters; a list repeats one", example={"page": 1}),
        Field(name="json", type="any", description="Body to send as JSON"),
        Field(name="body", type="text", description="Body to send as it is"),
        Field(name="form", type="object", description="Fields of a form to send"),
        Field(
            name="files", type="object", description="Files to send as multipart: field name to file or list of files"
        ),
        Field(name="expected_status", type="any", description='Wanted status: 201, "2xx", or a list; else any 2xx'),
        Field(
            name="auth",
            type="object",
            description='`{"type": "basic", "username", "password"}` or `{"type": "bearer", "token"}`',
        ),
    )
    outputs = (
        Field(name="body", type="any", description="The answer's body: text, or a file when it is large or no text"),
        Field(name="json", type="any", description="The body as JSON, where it is JSON"),
        Field(name="status_code", type="number", description="HTTP status", example=200),
        Field(name="headers", type="object", description="Headers of the answer, names in lower case"),
    )
    retried = ("communication", "rate_limited", "timeout")
    example = {"url": "https://example.com", "method": "GET"}

    def check(self, given: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
        """What is known of the address, the method and the rest; and that there is one body."""
        yield from wrong_inputs(given, _CHECKS)
        known = {name for name, value in given.items() if value is not None and value is not MISSING}
        if {"json", "body"} <= known or (known & {"json", "body"} and "form" in known):
            yield ("form" if "form" in known else "body"), _ONE_BODY

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Send the request. Raises ``TaskError`` by status, and whatever the way out raises."""
        wanted = status_check(inputs["expected_status"])
        left = context.cancellation.remaining()
        with ExitStack() as stack:
            request = context.http.request(
                inputs["method"],
                inputs["url"],
                params=query_params(inputs["query"]),
                timeout=DEFAULT_TIMEOUT if left is None else left,
                max_bytes=MAX_BODY,
                **_authorised(context, inputs),
                **_body(context, inputs, stack),
            )
            response = stack.enter_context(request)
            if not wanted(response.status):
                raise _unwanted(response)
            body, parsed = _answer(context, response)
        return {
            "body": body,
            "json": parsed,
            "status_code": response.status,
            "headers": {name.lower(): value for name, value in response.headers.items()},
        }

    def is_repeatable(self, inputs: Mapping[str, JsonValue]) -> bool:
        """By the method."""
        return str(inputs.get("method") or "GET").upper() in REPEATABLE_METHODS


def _authorised(context: TaskContext, inputs: Mapping[str, JsonValue]) -> dict[str, Any]:
    """Headers and credentials."""
    basic, bearer = credentials(inputs["auth"])
    headers = text_headers(inputs["headers"]) | bearer
    if inputs["method"].upper() in _KEYED_METHODS and "idempotency-key" not in {name.lower() for name in headers}:
        headers["Idempotency-Key"] = context.idempotency_key
    return {"headers": headers, "auth": basic}


def _body(context: TaskContext, inputs: Mapping[str, JsonValue], stack: ExitStack) -> dict[str, Any]:
    """The body, in one of the three ways to give it."""
    as_form = inputs["form"] is not None or bool(inputs["files"])
    if (inputs["json"] is not None) + (inputs["body"] is not None) + as_form > 1:
        raise TaskError("validation", _ONE_BODY)
    if as_form:
        return {"data": form_fields(inputs["form"]), "files": _parts(context, inputs["files"] or {}, stack)}
    return {"json": inputs["json"], "data": inputs["body"]}


def _parts(context: TaskContext, files: Mapping[str, JsonValue], stack: ExitStack) -> Sequence[FilePart]:
    pairs = [
        (name, given_file(context, one, f"files.{name}"))
        for name, given in files.items()
        for one in (given if isinstance(given, list) else [given])
    ]
    return [
        FilePart(
            field=name,
            name=str(value.get("name") or "file"),
            content_type=str(value.get("content_type") or "application/octet-stream"),
            content=stack.enter_context(context.files.open(value)),
        )
        for name, value in pairs
    ]


def _unwanted(response: Response) -> TaskError:
    if 200 <= response.status < 300:
        return TaskError("output_invalid", f"The server answered {response.status}, which is not the expected status.")
    beginning = b"".join(_until(response.iter_bytes(), MAX_TEXT))
    kind = response.content_type
    return status_error(response, decode(beginning, kind) if is_text(kind, beginning) else "")


def _answer(context: TaskContext, response: Response) -> tuple[str | FileValue, JsonValue]:
    """The body as text or file, and as JSON where it is."""
    chunks = response.iter_bytes()
    beginning = b"".join(_until(chunks, MAX_TEXT))
    kind = response.content_type
    if len(beginning) <= MAX_TEXT and is_text(kind, beginning):
        text = decode(beginning, kind)
        return text, _parsed(context, text, kind)
    media_type = kind or "application/octet-stream"
    with context.files.create(_file_name(response.final_url, kind), media_type) as file:
        for chunk in chain([beginning], chunks):
            file.write(chunk)
    return file.value, None


def _until(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Chunks until they are more than ``size`` bytes together; the rest stays in ``chunks``."""
    seen = 0
    while seen <= size and (chunk := next(chunks, b"")):
        seen += len(chunk)
        yield chunk


def _parsed(context: TaskContext, text: str, content_type: str) -> JsonValue:
    declared = "json" in content_type.split(";", maxsplit=1)[0].lower()
    if not declared and not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return parse_json(text.removeprefix("\ufeff").encode("utf-8", "replace"))
    except JsonError as error:
        if declared:
            context.log(f"The answer says that it is JSON, but: {error.detail}", level="warning")
        return None


def _file_name(url: str, content_type: str) -> str:
    name = PurePosixPath(unquote(urlsplit(url).path)).name[-100:] or "response"
    if "." in name:
        return name
    return name + (mimetypes.guess_extension(content_type.split(";", maxsplit=1)[0].strip()) or ".bin")
