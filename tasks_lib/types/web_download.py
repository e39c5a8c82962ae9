"""``web.download``: the HTML (or other text) at a URL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dataflow.lib.errors import TaskError
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.http_errors import REPEATABLE_METHODS, status_error
from tasks_lib.http_values import require_url, text_headers
from tasks_lib.literals import wrong_inputs
from tasks_lib.web_text import decode, is_text

#: Bytes of a page, decompressed, that are read.
MAX_PAGE = 25 * 1024 * 1024
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class WebDownload(TaskType):
    """Fetches a page as text; anything but a 2xx answer is a failure."""

    name = "web.download"
    title = "Download a web page"
    category = "web"
    description = (
        "Fetches the text of a page. An answer other than 2xx fails the task, and is retried where that may help."
    )
    inputs = (
        Field(name="url", type="text", required=True, description="Where the page is", example="https://example.com"),
        Field(name="method", type="text", default="GET", description="HTTP method", enum=METHODS),
        Field(name="headers", type="object", description="Headers to send", example={"Accept-Language": "en"}),
        Field(name="body", type="text", description="Body to send, as it is"),
        Field(
            name="timeout", type="number", default=60, minimum=0.1, maximum=3600, description="Seconds for all of it"
        ),
    )
    outputs = (
        Field(name="html", type="text", description="The page, as text"),
        Field(name="status_code", type="number", description="HTTP status", example=200),
        Field(name="headers", type="object", description="Headers of the answer, names in lower case"),
        Field(name="final_url", type="text", description="Where the page was found after redirects"),
        Field(name="content_type", type="text", description="Media type", example="text/html; charset=utf-8"),
    )
    retried = ("communication", "rate_limited", "timeout")
    example = {"url": "https://example.com"}

    def check(self, given: Mapping[str, JsonValue]) -> Iterable[tuple[str, str]]:
        """The address and the headers, where they are known."""
        return wrong_inputs(given, {"url": require_url, "headers": text_headers})

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Fetch the page. Raises ``TaskError`` by status, and whatever the way out raises."""
        request = context.http.request(
            inputs["method"],
            inputs["url"],
            headers=text_headers(inputs["headers"]),
            data=inputs["body"],
            timeout=inputs["timeout"],
            max_bytes=MAX_PAGE,
        )
        with request as response:
            data = response.read()
            kind = response.content_type
            readable = is_text(kind, data)
            text = decode(data, kind) if readable else ""
            if not 200 <= response.status < 300:
                raise status_error(response, text)
        if not readable:
            message = f"The page is {kind or 'binary'}, not text. Use `http.request` to fetch it as a file."
            raise TaskError("output_invalid", message)
        context.log(f"{response.status} {response.final_url} ({len(data):,} bytes)", level="debug")
        return {
            "html": text,
            "status_code": response.status,
            "headers": {name.lower(): value for name, value in response.headers.items()},
            "final_url": response.final_url,
            "content_type": kind,
        }

    def is_repeatable(self, inputs: Mapping[str, JsonValue]) -> bool:
        """By the method."""
        return str(inputs.get("method") or "GET").upper() in REPEATABLE_METHODS
