"""RSS 2.0, RSS 1.0 (RDF) and Atom, read from text that somebody else wrote.

Our own reader on lxml: feedparser cleans HTML by patterns that take quadratic time (32 s for 800 kB of ``<!--``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import unescape
from html.entities import html5
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from dataflow.lib.errors import TaskError
from tasks_lib.web_text import decode, visible_text

if TYPE_CHECKING:  # slow
    from lxml.etree import _Element

#: Characters of a feed, of one item's content, and of any other text in it.
MAX_FEED, MAX_CONTENT, MAX_TEXT = 10_000_000, 200_000, 5_000
#: Feeds that an error names where the address gives a page.
_MAX_NAMED = 5
_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]{1,31};)")
_MARKUP = re.compile(r"<[a-zA-Z/!]|&[#a-zA-Z0-9]{2,31};")
_DECLARED_ENCODING = re.compile(r"""^(\s*<\?xml[^<>]{0,200}?)\sencoding\s*=\s*["'][^"'<>]{0,60}["']""")
#: The rest of a document type that has declarations: ``[`` outside of what is quoted.
_OWN_DECLARATIONS = re.compile(r"""(?:[^\[>"']|"[^"]*"|'[^']*')*+(?:\[|["'])""")
_ATOM = ("http://www.w3.org/2005/Atom", "http://purl.org/atom/ns#")
_CONTENT = "http://purl.org/rss/1.0/modules/content/"
_DUBLIN = "http://purl.org/dc/elements/1.1/"
_XML_BASE = "{http://www.w3.org/XML/1998/namespace}base"
_RDF_ABOUT = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}about"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One entry. ``published`` is when it was published, else updated; ``summary`` is plain text."""

    title: str | None
    link: str | None
    id: str | None
    published: datetime | None
    author: str | None
    summary: str | None
    content: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """A feed and its items in the order it gives them."""

    title: str | None
    link: str | None
    items: tuple[Item, ...]


def parse(text: str, base_url: str, *, most: int) -> Feed:
    """The feed in ``text`` with at most ``most`` items. Links are made whole with ``base_url``.

    Raises ``output_invalid`` for what is no feed, ``too_large`` over ``MAX_FEED`` characters.
    """
    root = _root(text, base_url)
    name = _name(root)
    if name not in ("rss", "rdf", "feed"):
        raise TaskError("output_invalid", f"The address gives XML, but no feed: its root is <{name[:60]}>.")
    channel = root if name == "feed" else _child(root, "channel")
    entries = (element for element in _elements(root, channel) if _name(element) in ("item", "entry"))
    items = [_item(element, base_url) for element, _ in zip(entries, range(most), strict=False)]
    return Feed(
        title=None if channel is None else _short(_child(channel, "title")),
        link=None if channel is None else _link(channel, base_url),
        items=tuple(items),
    )


def characters(data: bytes, content_type: str) -> str:
    """The text of a feed: by byte order mark, the header's charset, what the XML declares, else UTF-8."""
    declared = re.match(rb"""\s*<\?xml[^<>]{0,200}?\sencoding\s*=\s*["']([A-Za-z0-9_.:-]{1,40})["']""", data[:300])
    if declared and "charset" not in content_type.lower():
        content_type = f"{content_type}; charset={declared[1].decode()}"
    return decode(data, content_type)


def _root(text: str, base_url: str) -> _Element:
    """The parsed document: no document type with a part of its own, no entities, nothing fetched."""
    from lxml import etree  # slow

    if len(text) > MAX_FEED:
        raise TaskError("too_large", f"The feed is longer than {MAX_FEED:,} characters.")
    text = text.removeprefix("\ufeff").lstrip()
    if _looks_like_html(text):
        raise TaskError("output_invalid", f"The address gives an HTML page, not a feed.{_named_feeds(text, base_url)}")
    _refuse_document_type(text)
    text = _DECLARED_ENCODING.sub(r"\1", text, count=1)
    data = _ENTITY.sub(_character, text).replace("\0", "").encode("utf-8", "replace")
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        recover=True,  # many feeds have an ampersand that is none
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError:
        root = None
    if root is None:
        raise TaskError("output_invalid", f"The address gives no feed: it begins with {text[:60]!r}.")
    return root


def _looks_like_html(text: str) -> bool:
    return re.match(r"(?:<\?xml[^<>]*>\s*)?(?:<!doctype\s+html|<html[\s>])", text[:2000], re.IGNORECASE) is not None


def _named_feeds(page: str, base_url: str) -> str:
    """Where an HTML page says that its feeds are, as the end of a message."""
    found: list[str] = []
    for tag in re.findall(r"<link\s[^<>]{1,1000}>", page[:200_000], re.IGNORECASE):
        kind = re.search(r"application/(?:rss|atom)\+xml", tag, re.IGNORECASE)
        address = re.search(r"""href\s*=\s*["']([^"'<>]+)""", tag, re.IGNORECASE)
        if kind and address:
            found.append(_whole(unescape(address[1]), base_url) or "")
    return f" It names these feeds: {', '.join(found[:_MAX_NAMED])}." if found else ""


def _refuse_document_type(text: str) -> None:
    """Refuse a document type with declarations of its own: entities that grow, or that name files."""
    place = 0
    while (place := text.find("<", place)) >= 0:
        if text.startswith("<!--", place):
            place = text.find("-->", place) + 1 or len(text)
        elif text.startswith("<?", place):
            place = text.find("?>", place) + 1 or len(text)
        elif text[place : place + 9].upper() == "<!DOCTYPE" and _OWN_DECLARATIONS.match(text, place + 9):
            raise TaskError("output_invalid", "The feed declares entities of its own, which no feed needs: refused.")
        else:
            return  # a plain document type, or the root: what follows is no prolog


def _character(found: re.Match[str]) -> str:
    """What a named character of HTML stands for; feeds use them though XML does not know them."""
    character = html5.get(found[1], found[0])
    return found[0] if any(mark in character for mark in "<>&\"'") else character


def _elements(root: _Element, channel: _Element | None) -> Iterator[_Element]:
    """Where the entries are: in the channel of RSS 2.0, beside it in RDF, in the feed of Atom."""
    if channel is not None:
        yield from channel
    if channel is not root:
        yield from root


def _item(element: _Element, base_url: str) -> Item:
    encoded = _child(element, "encoded", _CONTENT)
    content = encoded if encoded is not None else _child(element, "content")
    summary = _child(element, "description") if _child(element, "summary") is None else _child(element, "summary")
    body = _content(content if content is not None else summary)
    excerpt = _content(summary if summary is not None else content)
    link = _link(element, base_url)
    identifier = _short(_child(element, "guid")) or _short(_child(element, "id")) or element.get(_RDF_ABOUT)
    return Item(
        title=_short(_child(element, "title")),
        link=link or _permalink(element, base_url),
        id=identifier or link,
        published=_moment(element),
        author=_author(element),
        summary=_plain(excerpt)[:MAX_TEXT] or None if excerpt else None,
        content=body[:MAX_CONTENT] if body else None,
    )


def _name(element: _Element) -> str:
    """The local name, in lower case; nonsense for what is no element."""
    return str(element.tag).rpartition("}")[2].lower()


def _child(parent: _Element, name: str, namespace: str | None = None) -> _Element | None:
    """The first child of that name: of ``namespace``, or else the one of no extension where there is such a one."""
    other = None
    for child in parent:
        if _name(child) != name:
            continue
        found = str(child.tag).rpartition("}")[0].lstrip("{")
        if namespace is not None:
            if found == namespace:
                return child
        elif not found or found in _ATOM or found.startswith(("http://purl.org/rss/1.0/", "http://my.netscape.com")):
            if found != _CONTENT:
                return child
        elif found == _DUBLIN and other is None:
            other = child
    return other


def _content(element: _Element | None) -> str:
    """What an element holds, as HTML or text: XHTML of Atom is written out, everything else is its text."""
    if element is None:
        return ""
    if len(element) and element.get("type", "").lower() in ("xhtml", "application/xhtml+xml"):
        from lxml import etree  # slow

        inner = [str(etree.tostring(child, encoding="unicode", with_tail=True)) for child in element]
        return ((element.text or "") + "".join(inner)).strip()
    return _text(element).strip()


def _text(element: _Element) -> str:
    return "".join(map(str, element.itertext()))


def _short(element: _Element | None) -> str | None:
    """A title, a name: one line of plain text."""
    return (" ".join(_plain(_text(element)).split())[:MAX_TEXT] or None) if element is not None else None


def _plain(markup: str) -> str:
    """Text without markup, a line per block."""
    if not _MARKUP.search(markup):
        return markup.strip()
    return visible_text(markup[: 2 * MAX_CONTENT])


def _link(element: _Element, base_url: str) -> str | None:
    """The address that an item or a feed stands for: ``<link>`` of RSS, ``<link rel="alternate" href>`` of Atom."""
    base = urljoin(base_url, element.get(_XML_BASE, "")) if element.get(_XML_BASE) else base_url
    links = [child for child in element if _name(child) == "link"]
    for link in links:
        if link.get("href") and link.get("rel", "alternate") == "alternate" and "json" not in link.get("type", ""):
            return _whole(str(link.get("href")), base)
    written = next((text for link in links if (text := _text(link).strip())), "")
    return _whole(written, base)


def _permalink(element: _Element, base_url: str) -> str | None:
    """The ``<guid>`` of an item without a link, where it is one."""
    guid = _child(element, "guid")
    if guid is None or guid.get("isPermaLink", "true").lower() == "false":
        return None
    written = _text(guid).strip()
    return _whole(written, base_url) if written.startswith(("http://", "https://")) else None


def _whole(address: str, base_url: str) -> str | None:
    """An address made whole; ``None`` for none, and for what is not of the web (``javascript:``)."""
    try:
        whole = urljoin(base_url, address.strip())
    except ValueError:
        return None
    return whole[:MAX_TEXT] if address.strip() and whole.startswith(("http://", "https://")) else None


def _author(element: _Element) -> str | None:
    for name in ("author", "creator"):
        if (child := _child(element, name)) is not None:
            named = _child(child, "name")
            if found := _short(named if named is not None else child):
                return found
    return None


def _moment(element: _Element) -> datetime | None:
    for name in ("published", "pubdate", "issued", "date", "updated", "modified"):
        if (child := _child(element, name)) is not None and (moment := read_date(_text(child))) is not None:
            return moment
    return None


def read_date(text: str) -> datetime | None:
    """A date of a feed (RFC 822 or RFC 3339, with the usual liberties) in UTC; ``None`` where it is none."""
    text = text.strip()[:100]
    try:
        found = datetime.fromisoformat(text.upper()) if text[:4].isdecimal() else parsedate_to_datetime(text)
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, TypeError):
        return None
