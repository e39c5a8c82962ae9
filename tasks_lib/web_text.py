"""Texts from the web: bytes to characters, and a page to what a reader wants of it."""

from __future__ import annotations

import codecs
import re
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dataflow.lib.errors import TaskError

if TYPE_CHECKING:  # slow to import
    from lxml.html import HtmlElement

Favour = Literal["balanced", "precision", "recall"]

#: Characters of HTML that are looked at; a longer page is refused.
MAX_HTML = 5_000_000
#: A page with less text than this (in characters) is small and gives all of it.
SMALL_PAGE = 1_000
#: The least share of a page's text that the extractor must find to be trusted.
LEAST_SHARE = 0.1

_CHARSET = re.compile(rb"""charset\s*=\s*["']?\s*([A-Za-z0-9_:.\-]{1,40})""", re.IGNORECASE)
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: What a page may be encoded in. Other codecs of Python are no character sets, and some take quadratic time.
_CHARACTER_SET = re.compile(r"utf-(8|16|32)|ascii|iso8859|iso2022|cp\d|koi8|euc|shift|big5|gb|mac|hz|tis-620|johab")
#: What the web means by these names.
_WEB_NAMES = {"iso8859-1": "cp1252", "ascii": "cp1252", "gb2312": "gb18030", "euc_kr": "cp949", "shift_jis": "cp932"}
_TEXT_TYPE = re.compile(
    r"text/|[^;]*[/+](json|xml|yaml|javascript|ecmascript|x-ndjson|x-www-form-urlencoded|csv)\b", re.IGNORECASE
)
_LEFT_OUT = (
    "//script|//style|//noscript|//template|//svg|//iframe|//object|//nav|//footer|//aside|//form//select"
    "|//*[@role='navigation' or @role='banner' or @role='complementary' or @hidden or @aria-hidden='true']"
    "|//*[contains(concat(' ', normalize-space(@class), ' '), ' ad ')"
    " or contains(concat(' ', normalize-space(@class), ' '), ' ads ')"
    " or contains(@class, 'advert') or contains(@class, 'cookie-banner')]"
)
_BLOCKS = [
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "br",
    "caption",
    "dd",
    "details",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "li",
    "main",
    "nav",
    "ol",
    "option",
    "p",
    "pre",
    "section",
    "summary",
    "table",
    "tbody",
    "tfoot",
    "thead",
    "tr",
    "ul",
]
_MARKUP = re.compile(r"<[a-zA-Z!/?]")
_NEVER_SHOWN = "//script|//style|//noscript|//template|//svg|//iframe|//object|//head"


@dataclass(frozen=True, slots=True, kw_only=True)
class PageText:
    """What a page says: its main text, and what it says about itself where it does."""

    text: str
    title: str | None
    language: str | None
    author: str | None
    date: str | None


def is_text(content_type: str, beginning: bytes) -> bool:
    """Whether a body is text, by its media type and, without one that says so, by its first bytes."""
    if _TEXT_TYPE.match(content_type):
        return True
    if content_type and not content_type.lower().startswith(("application/octet-stream", "application/unknown")):
        return False
    return b"\0" not in beginning[:8192] or beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))


def decode(data: bytes, content_type: str = "") -> str:
    """The characters of a web text: byte order mark, then the header's charset, then the page's, then UTF-8."""
    for mark, name in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return data.decode(name, "replace")
    header = content_type.encode("ascii", "replace")
    for found in (_CHARSET.search(header), _CHARSET.search(data[:4096]) if b"<" in data[:4096] else None):
        if found is not None and (charset := _known_charset(found[1].decode())):
            return data.decode(charset, "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("utf-8" if _mostly_utf8(data) else "cp1252", "replace")


def extract(html: str, favour: Favour = "balanced") -> PageText:
    """The main text of a page and what it says about itself. Raises ``too_large`` over ``MAX_HTML`` characters.

    A small page gives all its text but navigation, scripts and ads; what is not HTML comes back as it is.
    """
    if len(html) > MAX_HTML:
        raise TaskError("too_large", f"The page is longer than {MAX_HTML:,} characters.")
    if not _MARKUP.search(html):
        return PageText(text=html.strip(), title=None, language=None, author=None, date=None)
    if (tree := _parse(html)) is None:
        return PageText(text="", title=None, language=None, author=None, date=None)
    import trafilatura  # half a second

    document = trafilatura.bare_extraction(
        deepcopy(tree),
        favor_precision=favour == "precision",
        favor_recall=favour == "recall",
        include_comments=False,
        with_metadata=True,
        date_extraction_params={"original_date": True, "extensive_search": False},
    )
    found = document.as_dict() if document is not None and not isinstance(document, dict) else document or {}
    title = found.get("title") or _first(tree, "string(//title)")
    return PageText(
        text=_chosen(str(found.get("text") or ""), tree, favour) or title or _tags_out(html, tree),
        title=title or None,
        language=found.get("language") or _language(tree),
        author=found.get("author") or None,
        date=found.get("date") or None,
    )


def visible_text(markup: str) -> str:
    """All that a reader sees of a piece of HTML, a line per block. Linear; the caller bounds the length."""
    tree = _parse(markup)
    return "" if tree is None else _without(tree, _NEVER_SHOWN) or _tags_out(markup, tree)


def _tags_out(html: str, tree: HtmlElement) -> str:
    """What is between the tags, where the parser gave up (nested too deeply)."""
    return "" if tree.xpath(_NEVER_SHOWN) else " ".join(re.sub(r"<[^<>]*>", " ", html).split())


def _known_charset(name: str) -> str | None:
    try:
        canonical = codecs.lookup(name).name
    except LookupError:
        return None
    return _WEB_NAMES.get(canonical, canonical) if _CHARACTER_SET.match(canonical) else None


def _mostly_utf8(data: bytes) -> bool:
    """Whether the odd wrong byte is the exception: then it is UTF-8 that was cut or mended badly."""
    sample = data[:100_000].decode("utf-8", "replace")
    wrong, beyond_ascii = sample.count("\ufffd"), sum(character > "\x7f" for character in sample)
    return wrong * 10 < beyond_ascii


def _parse(html: str) -> HtmlElement | None:
    """The page as a tree, ``None`` when there is nothing in it but comments."""
    from lxml import etree  # with trafilatura, slow
    from lxml import html as lxml_html  # the same

    parser = lxml_html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, huge_tree=False)
    try:
        return lxml_html.document_fromstring(html.replace("\0", "").encode("utf-8", "replace"), parser=parser)
    except etree.ParserError:
        return None


def _chosen(main: str, tree: HtmlElement, favour: Favour) -> str:
    """The extractor's text; all of a small page's, or where the extractor found next to nothing."""
    everything = _without(tree, _LEFT_OUT) or _without(tree, _NEVER_SHOWN)
    trusted = SMALL_PAGE if favour != "precision" else 0
    if main and len(everything) > trusted and len(main) >= LEAST_SHARE * len(everything):
        return main.strip()
    return everything


def _without(tree: HtmlElement, left_out: str) -> str:
    """The text of a page without some elements, a line per block."""
    copied = deepcopy(tree)
    for element in copied.xpath(f"{left_out}|//head"):
        if element.getparent() is not None:
            element.drop_tree()
    for block in copied.iter(*_BLOCKS):
        block.text = f"\n{block.text or ''}"
        block.tail = f"\n{block.tail or ''}"
    lines = (" ".join(line.split()) for line in copied.text_content().split("\n"))
    return "\n".join(line for line in lines if line)


def _language(tree: HtmlElement) -> str | None:
    return _first(tree, "string(/html/@lang)").split("-")[0].lower()[:8] or None


def _first(tree: HtmlElement, query: str) -> str:
    return " ".join(str(tree.xpath(query)).split())
