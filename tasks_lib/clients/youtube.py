"""Downloads videos with yt-dlp: in a process of its own whose only way out is a proxy with our address rules."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from dataflow.lib.addresses import AddressPolicy
from dataflow.lib.errors import TaskError
from tasks_lib.base import TaskContext
from tasks_lib.clients import apart, bounded
from tasks_lib.clients.forward_proxy import ForwardProxy, Rules

if TYPE_CHECKING:  # imports `requests`
    from dataflow.lib.egress import Egress

#: Bytes of one download, and seconds of one video.
MAX_BYTES, MAX_SECONDS = 2 * 1024**3, 12 * 3600
#: What yt-dlp may use. V8, which solves YouTube's puzzles, reserves far more address space than it ever touches.
LIMITS = bounded.Limits(
    cpu_seconds=1800, address_space=128 * 1024**3, data=2 * 1024**3, file_size=MAX_BYTES, timeout=3600.0
)
#: Hosts whose addresses are taken, and the domains that a download of theirs may reach.
HOSTS = frozenset(
    f"{sub}{host}" for host in ("youtube.com", "youtube-nocookie.com") for sub in ("", "www.", "m.", "music.")
) | {"youtu.be", "www.youtu.be"}
DOMAINS = (
    "youtube.com",
    "googlevideo.com",
    "ytimg.com",
    "ggpht.com",
    "youtube-nocookie.com",
    "youtubei.googleapis.com",
)
#: The only one of yt-dlp's extractors that may look at a YouTube address.
YOUTUBE = ("youtube",)

_ID = re.compile(r"[A-Za-z0-9_-]{11}")
_PATH = re.compile(r"/(?:shorts|embed|live|v|e)/([A-Za-z0-9_-]{11})/?")


def address_of(url: str, way_out: Egress) -> tuple[str, tuple[str, ...]]:
    """What yt-dlp is given for ``url``, and which of its extractors may take it.

    A YouTube address is made anew from the video's id. Another is taken only on a host that the operator has opened
    (``DATAFLOW_ALLOWED_PRIVATE_HOSTS``; loopback in development). Raises ``TaskError('validation')``.
    """
    from dataflow.lib.egress import check_url  # imports `requests`, which loading the task types must not

    parts = urlsplit(check_url(url))
    host = (parts.hostname or "").lower().rstrip(".")
    if host in HOSTS:
        return f"https://www.youtube.com/watch?v={_video_id(parts.path, parts.query, host)}", YOUTUBE
    if _is_opened(host, parts.port or {"http": 80, "https": 443}[parts.scheme], way_out):
        return parts.geturl(), ("generic", "html5")
    raise TaskError(
        "validation", f"{host[:200]} is not YouTube. Give the address of a video on youtube.com or youtu.be."
    )


def download(
    context: TaskContext, url: str, *, formats: str, folder: Path, tell: Callable[[str, float], None]
) -> dict[str, Any]:
    """Download the video into ``folder``: ``title``, ``duration``, ``uploader``, ``thumbnail_url``, ``files``.

    ``files`` are one name, or two: picture and sound. ``tell`` gets the name of a file and the share of it that is
    there. Raises ``TaskError``.
    """
    address, extractors = address_of(url, context.http)
    rules = Rules(
        policy=AddressPolicy(context.http.allowed_hosts, context.http.allow_loopback),
        resolve=context.http.resolve,
        may_reach=_is_youtubes if extractors == YOUTUBE else lambda _: True,
        max_bytes=MAX_BYTES,
    )

    def hear(line: str) -> None:
        if line.startswith('{"file": '):
            state = json.loads(line)
            tell(str(state["file"]), min(state["done"] / state["whole"], 1.0))

    proxy = ForwardProxy(rules, context.cancellation)
    order = {"url": address, "formats": formats, "extractors": extractors, "proxy": proxy.url}
    try:
        with proxy.running():
            return apart.ask(
                "fetch_video",
                order | {"max_bytes": MAX_BYTES, "max_seconds": MAX_SECONDS},
                folder=folder,
                cancellation=context.cancellation,
                limits=LIMITS,
                what="The video",
                on_line=hear,
                proxy=proxy,
            )
    except TaskError as error:
        if proxy.refused and error.code in ("validation", "communication"):  # what was refused is why it failed
            raise proxy.refused[0] from error
        if error.code == "communication":  # it may hold the next time; the process cannot say so
            raise TaskError(error.code, error.message, retryable=True) from error
        raise


def _video_id(path: str, query: str, host: str) -> str:
    if host.endswith("youtu.be"):
        found = path.strip("/")
    elif path.rstrip("/") == "/watch":
        found = parse_qs(query).get("v", [""])[0]
    else:
        named = _PATH.fullmatch(path)
        found = named[1] if named else ""
    if not _ID.fullmatch(found):
        raise TaskError("validation", "The address names no video. Give one like https://www.youtube.com/watch?v=ID.")
    return found


def _is_youtubes(host: str) -> bool:
    lowered = host.lower().rstrip(".")
    return any(lowered == domain or lowered.endswith(f".{domain}") for domain in DOMAINS)


def _is_opened(host: str, port: int, way_out: Egress) -> bool:
    """Whether the operator has opened this very host."""
    opened = AddressPolicy(way_out.allowed_hosts)
    try:
        opened.check(host, port, ["127.0.0.1"])  # refused unless the host is listed
    except TaskError:
        return way_out.allow_loopback and _is_loopback(host)
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
