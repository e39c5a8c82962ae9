"""``rss.read``: the items of a feed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from dataflow.lib.errors import TaskError
from tasks_lib import feeds
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.http_errors import status_error
from tasks_lib.http_values import require_url
from tasks_lib.literals import wrong_inputs
from tasks_lib.moments import read_moment
from tasks_lib.web_text import is_text

#: Bytes of a feed, decompressed, that are read; items of one that are looked at; seconds for all of it.
MAX_BYTES, MAX_ITEMS, TIMEOUT = 10 * 1024 * 1024, 2_000, 60.0
#: Characters of a mark that a server gives.
MAX_ETAG = 500
_ACCEPT = (
    "application/rss+xml, application/atom+xml, application/rdf+xml, application/xml;q=0.9, text/xml;q=0.8, */*;q=0.5"
)


class RssRead(TaskType):
    """Reads a feed, whichever of the three formats it is in."""

    name = "rss.read"
    title = "Read a feed"
    category = "integrations"
    description = "Reads an RSS, Atom or RDF feed: its items in the feed's own order, each with the same fields."
    inputs = (
        Field(
            name="url",
            type="text",
            required=True,
            description="Where the feed is",
            example="https://example.com/feed.xml",
        ),
        Field(name="limit", type="number", default=50, minimum=1, maximum=500, description="Items at most"),
        Field(
            name="since",
            type="text",
            description="Only items published after this time (RFC 3339); items without a date are kept",
            example="2026-01-01T00:00:00Z",
        ),
        Field(
            name="etag",
            type="text",
            max_length=MAX_ETAG,
            description="The `etag` of an earlier run: a feed that has not changed since gives no items",
        ),
    )
    outputs = (
        Field(
            name="items",
            type="list",
            description="The items: `title`, `link`, `id`, `published` (RFC 3339), `author`, `summary` (plain text), "
            "`content` (as the feed has it, often HTML)",
        ),
        Field(name="title", type="text", description="Title of the feed"),
        Field(name="link", type="text", description="Page that the feed belongs to"),
        Field(name="etag", type="text", description="The server's mark of this state of the feed"),
        Field(name="not_modified", type="boolean", description="Whether the feed has not changed since `etag`"),
    )
    retried = ("communication", "rate_limited", "timeout")
    example = {"url": "https://example.com/feed.xml", "limit": 10}

    def check(self, given: Mapping[str, JsonValue]) -> Iterable[tuple[str, str]]:
        """The address and the time, where they are known."""
        return wrong_inputs(given, {"url": require_url, "since": _since})

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Fetch and read the feed. Raises ``TaskError``: ``output_invalid`` for what is no feed."""
        since = _since(inputs["since"])
        etag = inputs["etag"] or ""
        headers = {"Accept": _ACCEPT} | ({"If-None-Match": etag} if etag else {})
        request = context.http.request("GET", inputs["url"], headers=headers, timeout=TIMEOUT, max_bytes=MAX_BYTES)
        with request as response:
            mark = response.headers.get("ETag", "")[:MAX_ETAG] or None
            if etag and response.status == 304:
                return {"items": [], "title": None, "link": None, "etag": mark or etag, "not_modified": True}
            data = response.read()
            kind = response.content_type
            if not 200 <= response.status < 300:
                raise status_error(response, feeds.characters(data, kind) if is_text(kind, data) else "")
            address = response.final_url
        context.cancellation.check()
        feed = feeds.parse(feeds.characters(data, kind), address, most=MAX_ITEMS)
        wanted = [item for item in feed.items if since is None or item.published is None or item.published > since]
        return {
            "items": [_shown(item) for item in wanted[: int(inputs["limit"])]],
            "title": feed.title,
            "link": feed.link,
            "etag": mark,
            "not_modified": False,
        }


def _since(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        return read_moment(text)
    except ValueError as error:
        raise TaskError("validation", f"`since` is {text[:60]!r}, but {error}.") from None


def _shown(item: feeds.Item) -> dict[str, JsonValue]:
    return {
        "title": item.title,
        "link": item.link,
        "id": item.id,
        "published": None if item.published is None else item.published.isoformat().replace("+00:00", "Z"),
        "author": item.author,
        "summary": item.summary,
        "content": item.content,
    }
