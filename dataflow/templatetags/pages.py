"""How values look on a page: status chips, times, durations, sizes, and any JSON value with its files.

Everything that comes from users or runs goes through Django's autoescape; nothing here marks user text as safe.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from dataflow.api.permissions import may_administer, may_change
from dataflow.reference import first_sentence
from dataflow.reference import limits as limits_of

register = template.Library()

#: Characters of one value that a page shows; the rest is one click away.
SHOWN_CHARACTERS = 64 * 1024
#: Up to there a text stands on the page as it is; a longer one is folded.
_SHORT = 1200


#: Name, address and key of what the header leads to.
NAVIGATION = (
    ("Overview", "/", "overview"),
    ("Workflows", "/workflows", "workflows"),
    ("Executions", "/executions", "executions"),
    ("Task types", "/task-types", "task-types"),
    ("Settings", "/secrets", "settings"),
    ("Admin", "/admin/", "admin"),
)


@register.inclusion_tag("parts/navigation.html", takes_context=True)
def navigation(context: Mapping[str, Any], here: str = "") -> dict[str, Any]:
    """The links of the header that the reader may follow; ``here`` is the key of the one that is open."""
    request: Any = context.get("request")
    # A request that was refused before anybody looked who sends it: then the page behind a link tells.
    known = hasattr(request, "user")
    shown = [entry for entry in NAVIGATION if not known or entry[2] not in _FOR or _FOR[entry[2]](request)]
    return {"entries": shown, "here": here}


#: Whom a link is for that not everybody who is signed in may follow.
_FOR = {"settings": may_administer, "admin": may_change}


@register.simple_tag
def server_now() -> str:
    """The server's clock: app.js counts from it, so that a wrong clock on the reader's side does no harm."""
    return iso(datetime.now(UTC))


@register.simple_tag
def status(value: str, extra: str = "") -> SafeString:
    """A status as a chip: word, mark and colour."""
    return format_html('<span class="chip {} {}">{}</span>', str(value).lower(), extra, value)


@register.filter
def pairs(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Names and values. In a template ``values.items`` would be the value of that name, where there is one."""
    return list(values.items())


@register.filter
def moment(value: Any) -> datetime | None:
    """A time given as ``datetime`` or RFC 3339 text; ``None`` for anything else."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    return value.astimezone(UTC) if isinstance(value, datetime) else None


@register.filter
def when(value: Any, show: str = "relative") -> SafeString | str:
    """A ``<time>``, exact and in UTC; app.js shows it in the reader's zone, relative unless ``show`` says otherwise."""
    if (at := moment(value)) is None:
        return "–"
    shown = f"{at:%H:%M:%S} UTC" if show == "clock" else f"{at.day} {at:%b %Y, %H:%M:%S} UTC"
    return format_html('<time datetime="{}" data-show="{}">{}</time>', iso(at), show, shown)


@register.filter
def iso(value: Any) -> str:
    """A time as RFC 3339 in UTC with milliseconds, nothing for no time."""
    at = moment(value)
    return "" if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@register.filter
def duration(seconds: Any) -> str:
    """Seconds in words with units: ``340 ms``, ``1.4 s``, ``2 min 5 s``, ``1 h 3 min``."""
    if not isinstance(seconds, (int, float)):
        return "–"
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{int(seconds)} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@register.simple_tag
def ticking(start: Any, end: Any = None) -> SafeString | str:
    """The time from ``start`` to ``end``; without an end, one that app.js lets tick."""
    first, last = moment(start), moment(end)
    if first is None:
        return "–"
    if last is not None:
        return duration(max(0.0, (last - first).total_seconds()))
    so_far = duration(max(0.0, (datetime.now(UTC) - first).total_seconds()))
    return format_html('<span data-since="{}">{}</span>', iso(first), so_far)


@register.filter
def byte_size(size: Any) -> str:
    """Bytes with a unit: ``512 B``, ``12.3 KiB``, ``4.0 MiB``."""
    if not isinstance(size, (int, float)):
        return "size unknown"
    amount = float(size)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


@register.filter
def pretty(value: Any) -> str:
    """A value as indented JSON."""
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)


@register.filter
def compact(value: Any) -> str:
    """A value as JSON on one line."""
    return json.dumps(value, ensure_ascii=False, default=str)


@register.filter
def brief(text: Any) -> str:
    """The first sentence."""
    return first_sentence(str(text))


@register.filter
def limits(field: Any) -> str:
    """What a value of a described input must keep to besides its type."""
    return limits_of(field)


@register.filter
def item(mapping: Any, key: Any) -> Any:
    """``mapping[key]``, or ``None``: for keys that are not known when a template is written."""
    return mapping.get(key) if isinstance(mapping, Mapping) else None


@register.filter
def unlocalized(number: Any) -> str:
    """A number for an attribute: digits and a point, whatever the language."""
    return f"{number}"


@register.filter
def percent(share: Any) -> str:
    """A share of 1 as per cent."""
    return f"{round(100 * share)} %" if isinstance(share, (int, float)) else ""


@register.filter
def coded(text: Any) -> SafeString:
    """Text in which what stands between backticks is code."""
    parts = str(text).split("`")
    pairs = ((part, place % 2 == 1) for place, part in enumerate(parts))
    return format_html_join(
        "", "{}", ((format_html("<code>{}</code>", part) if code else part,) for part, code in pairs)
    )


@register.filter
def words(name: Any) -> str:
    """``input_tokens`` as words: ``Input tokens``."""
    return str(name).replace("_", " ").capitalize()


@register.simple_tag
def input_address(execution: Any, name: str) -> str:
    """Where the whole of an execution's input is."""
    return f"/pages/executions/{execution.pk}/value?{urlencode({'kind': 'inputs', 'name': name})}"


@register.filter
def dom_id(text: Any) -> str:
    """Text as part of an element's id: letters, digits, ``_`` and ``-`` only."""
    return "".join(character if character.isalnum() or character in "_-" else "-" for character in str(text))


def is_file(value: Any) -> bool:
    """Whether a value is a stored file."""
    return isinstance(value, Mapping) and isinstance(value.get("file_id"), str) and "content_type" in value


@register.inclusion_tag("parts/value.html")
def show_value(value: Any, whole: str = "", files: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Any JSON value: a file with its player, text, a number, or folded JSON cut at 64 KiB.

    ``whole`` is the address of all of it, ``files`` the metadata of stored files by id (for the local voice's mark).
    """
    if is_file(value):
        return {"kind": "file", "file": value, "metadata": (files or {}).get(value["file_id"], {})}
    if isinstance(value, list) and value and all(is_file(entry) for entry in value):
        shown = [{"file": entry, "metadata": (files or {}).get(entry["file_id"], {})} for entry in value[:50]]
        return {"kind": "files", "shown": shown, "more": len(value) - len(shown)}
    if value is None or isinstance(value, (bool, int, float)):
        return {"kind": "nothing" if value is None else "plain", "text": pretty(value)}
    text = value if isinstance(value, str) else pretty(value)
    context = {
        "text": text[:SHOWN_CHARACTERS],
        "length": len(text),
        "whole": whole,
        "cut": len(text) > SHOWN_CHARACTERS,
    }
    return context | {"kind": "text" if isinstance(value, str) else "json", "fold": len(text) > _SHORT}


@register.inclusion_tag("parts/file.html")
def show_file(file: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A file: player or picture where the browser has one, then name, type, size, SHA-256 and download."""
    kind = str(file.get("content_type", "")).partition("/")[0]
    drawn = file.get("content_type") in {"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"}
    kind = "other" if kind == "image" and not drawn else kind
    return {"file": file, "kind": kind, "local_voice": metadata.get("voice") == "local"}


@register.inclusion_tag("parts/call.html")
def api_call(text: str, name: str) -> dict[str, str]:
    """An API call to copy. ``name`` makes its element's id."""
    return {"text": text, "id": f"call-{name}"}
