"""Downloads one video with yt-dlp, through the proxy that it is given and with nothing of the user's configuration.

It starts no ffmpeg: where sound and picture come as two files, both are left in the folder, and the platform joins them
with its own rules about what ffmpeg may read.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataflow.lib.errors import TaskError

#: Characters of a text that is passed on.
_LENGTH = 500
#: What yt-dlp says when a video is not to be had, ever: another try would not help.
_FINAL = (
    "private video", "video unavailable", "been removed", "not available", "sign in", "members-only", "copyright",
    "unsupported url", "is not a valid url", "requested format", "live event", "premieres in", "no video formats",
    "http error 404", "http error 403", "http error 410",
)  # fmt: skip


def work(order: Mapping[str, Any]) -> dict[str, Any]:
    """Download ``url``: what is known about it, and the names of its files (one, or picture and sound).

    ``order``: ``url``, ``formats`` (yt-dlp's selection), ``extractors``, ``proxy``, ``max_bytes``, ``max_seconds``.
    How far it is, is told on the standard output, one JSON object a line.
    """
    os.environ["YTDLP_NO_PLUGINS"] = "1"  # read when it is imported
    from yt_dlp import YoutubeDL
    from yt_dlp.utils import YoutubeDLError

    try:
        with YoutubeDL(_options(order)) as loader:
            info = loader.extract_info(order["url"], download=False)
            video = _the_video(info, order)
            files = [_downloaded(loader, video, part, order["max_bytes"]) for part in _parts(video)]
    except YoutubeDLError as error:
        raise _refusal(str(error)) from error
    thumbnail = video.get("thumbnail")
    return {
        "title": _text(video.get("title")),
        "duration": _seconds(video),
        "uploader": _text(video.get("uploader") or video.get("channel")),
        "thumbnail_url": thumbnail if re.fullmatch(r"https?://\S{1,2000}", str(thumbnail)) else None,
        "files": files,
    }


def _options(order: Mapping[str, Any]) -> dict[str, Any]:
    """All that yt-dlp is told. None of it is the user's, but for ``formats``, which is one of ours."""
    return {
        "allowed_extractors": order["extractors"],
        "format": order["formats"],
        "proxy": order["proxy"],
        "outtmpl": {"default": "%(format_id)s"},
        "max_filesize": order["max_bytes"],
        "noplaylist": True,
        "playlist_items": "1",
        "ffmpeg_location": os.devnull,  # no program is started for the files
        "hls_prefer_native": True,
        "external_downloader": {"default": "native"},
        "fixup": "never",
        "cachedir": False,
        "usenetrc": False,
        "updatetime": False,
        "enable_file_urls": False,
        "remote_components": [],
        "socket_timeout": 20,
        "retries": 3,
        "fragment_retries": 3,
        "extractor_retries": 1,
        "skip_unavailable_fragments": False,
        "quiet": True,
        "no_warnings": True,
        "noprogress": True,
        "no_color": True,
        "logger": _Silent(),
        "progress_hooks": [_tell],
    }


class _Silent:
    """What yt-dlp says besides: errors come as exceptions."""

    def debug(self, message: str) -> None:
        """Nothing."""

    warning = error = info = debug


def _the_video(info: Any, order: Mapping[str, Any]) -> dict[str, Any]:
    """What was found, which must be one video that has an end."""
    while info and info.get("_type") in ("playlist", "multi_video"):
        info = next(iter(info.get("entries") or ()), None)
    if not info or not (info.get("url") or info.get("requested_formats")):
        raise TaskError("validation", "There is no video at this address.")
    if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming"):
        raise TaskError("validation", "The video is live: it has no end yet.")
    if (_seconds(info) or 0) > order["max_seconds"]:
        raise TaskError("too_large", f"The video is longer than {order['max_seconds'] // 3600} hours.")
    found: dict[str, Any] = info
    return found


def _parts(video: Mapping[str, Any]) -> list[dict[str, Any]]:
    return video.get("requested_formats") or [dict(video)]


def _downloaded(loader: Any, video: Mapping[str, Any], part: dict[str, Any], max_bytes: int) -> str:
    """Download one file; its name is ours."""
    name = f"part{sum(1 for _ in Path().glob('part?'))}"
    about = {key: value for key, value in video.items() if key not in ("requested_formats", "requested_downloads")}
    done, _ = loader.dl(name, about | part)
    if not done or not Path(name).exists():
        known = part.get("filesize") or part.get("filesize_approx") or 0
        words = f"is larger than {max_bytes:,} bytes" if known > max_bytes else "is too large, or stops on its way"
        raise TaskError("too_large", f"The video could not be downloaded: it {words}.")
    return name


def _tell(state: Mapping[str, Any]) -> None:
    whole = state.get("total_bytes") or state.get("total_bytes_estimate")
    if state.get("status") == "downloading" and whole:
        part = {"file": state.get("filename", ""), "done": state.get("downloaded_bytes", 0), "whole": whole}
        print(json.dumps(part), flush=True)  # noqa: T201  whoever started it listens


def _seconds(video: Mapping[str, Any]) -> float | None:
    length = video.get("duration")
    return length if isinstance(length, int | float) else None


def _text(value: Any) -> str | None:
    return value[:_LENGTH] if isinstance(value, str) else None


def _refusal(said: str) -> TaskError:
    words = said.removeprefix("ERROR: ").split("; please report", maxsplit=1)[0].split(". Confirm you", maxsplit=1)[0]
    final = any(known in words.lower() for known in _FINAL)
    if "File too large" in words:
        return TaskError("too_large", "The video is larger than may be downloaded.")
    return TaskError(
        "validation" if final else "communication", f"The video cannot be had: {words[:_LENGTH]}", not final
    )
