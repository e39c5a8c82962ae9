"""Which text a text is: HTML, SVG, XML and JSON by what stands in it, others by what they are called."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Sequence

PLAIN, HTML, XHTML, SVG, XML, JSON = (
    "text/plain", "text/html", "application/xhtml+xml", "image/svg+xml", "application/xml", "application/json",
)  # fmt: skip
LINES = "application/x-ndjson"
#: Media types that are texts.
TEXTS = re.compile(
    r"text/[\w.+-]+|[\w.+-]+/[\w.+-]+\+(json|xml|yaml)|application/((x-)?(yaml|toml|sh|sql|tex|latex|perl|php|python)|json"
    r"|xml|x-ndjson|x-subrip|(x-)?javascript|ecmascript|graphql|x-www-form-urlencoded)|message/rfc822"
)
_JSON_KINDS = re.compile(r"[\w.+-]+/([\w.+-]+\+)?json|application/(x-ndjson|jsonl|json-seq)")
_XML_KINDS = re.compile(r"[\w.+-]+/([\w.+-]+\+)?xml")
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
          (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
#: Characters that stand in no text.
_BINARY = re.compile("[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
#: Before the first element may stand a declaration and comments. Nothing in it is tried twice.
_PROLOGUE = r"(?>\s+|<\?[^>]*>|<!--(?>.*?-->)|<!doctype\s+(?!html\b|svg\b)[^>]*>)*+"
_SVG = re.compile(_PROLOGUE + r"<(?:!doctype\s+svg|(?:\w+:)?svg)[\s>]", re.IGNORECASE | re.DOTALL)
_PAGE = re.compile(_PROLOGUE + r"<(?:!doctype\s+html|(?:\w+:)?html|head|body)\b", re.IGNORECASE | re.DOTALL)
#: What a browser takes for a page too, though Markdown may begin so.
_PIECE = re.compile(
    _PROLOGUE
    + r"<(script|iframe|h[1-6]|div|font|table|a|style|title|b|br|p|img|object|embed|form|meta|link|base|svg)[\s>/]",
    re.IGNORECASE | re.DOTALL,
)
_TOKEN = re.compile(
    r'\s*+(?:([{\[])|([}\]])|[,:]|"(?:[^"\\\x00-\x1f]|\\.)*+"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)'
)
#: The beginning of a token that is cut off.
_CUT = re.compile(r'\s*+(?:"(?:[^"\\\x00-\x1f]|\\.)*+\\?|-?[\d.eE+-]*|[a-z]{0,4})')


def text_of(head: bytes, *, is_hinted: bool) -> str | None:
    """The characters of a beginning, ``None`` for what is no text.

    It is one in UTF-8, in what its byte order mark says, or, if it is called a text (``is_hinted``), in any encoding
    without control characters. Nothing at all is a text if it is called one.
    """
    if not head:
        return "" if is_hinted else None
    encoding = next((name for mark, name in _MARKS if head.startswith(mark)), "utf-8")
    try:
        # The last character may be cut off.
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        text = head.decode("latin-1")
        if not is_hinted:
            return None
    return None if _BINARY.search(text) else text


def text_type(text: str, hints: Sequence[str]) -> str:
    """The media type of a text that begins like this; the first of ``hints`` that agrees with it may say which."""
    if _SVG.match(text):
        return SVG
    if _PAGE.match(text):
        return XHTML if XHTML in hints else HTML
    calm = [hint for hint in hints if hint not in (SVG, HTML, XHTML) and TEXTS.fullmatch(hint)]
    if text.lstrip().startswith("<"):
        return _marked_up(text, calm)
    if values := _json_values(text):
        named = _first(calm, only=_JSON_KINDS) or _first(calm, but=(_XML_KINDS,), also=PLAIN)
        return named or (JSON if values == 1 else LINES)
    if not text.strip() or _is_scalar(text):
        return _first(calm, but=(_XML_KINDS,)) or PLAIN
    return _first(calm, but=(_JSON_KINDS, _XML_KINDS)) or (HTML if HTML in hints else PLAIN)


def _marked_up(text: str, calm: Sequence[str]) -> str:
    """What begins with an element that makes it neither a page nor an image."""
    if _PIECE.match(text):
        return _first(calm, but=(_JSON_KINDS, _XML_KINDS)) or HTML
    if text.lstrip().startswith(("<?xml", "<!DOCTYPE")):
        return _first(calm, only=_XML_KINDS) or XML
    return _first(calm, but=(_JSON_KINDS,)) or PLAIN


def _first(
    hints: Iterable[str], *, only: re.Pattern[str] | None = None, but: Sequence[re.Pattern[str]] = (), also: str = ""
) -> str:
    """The first hint that fits ``only`` and nothing of ``but``, and is not ``also``; empty for none."""
    for hint in hints:
        if hint != also and (only is None or only.fullmatch(hint)) and not any(one.fullmatch(hint) for one in but):
            return hint
    return ""


def _json_values(text: str) -> int:
    """How many JSON objects or lists a text is the beginning of, as far as it goes; 0 where it is something else."""
    place, depth, values = 0, 0, 0
    if text.lstrip()[:1] not in ("{", "["):
        return 0
    while (token := _TOKEN.match(text, place)) is not None:
        opens, closes = token.groups()
        if depth == 0:
            if not opens:
                return 0
            values += 1
        depth += 1 if opens else -1 if closes else 0
        place = token.end()
    return values if (_CUT.fullmatch(text, place) if depth else not text[place:].strip()) else 0


def _is_scalar(text: str) -> bool:
    """Whether it is one JSON text, number or word, or the beginning of a text."""
    first = _TOKEN.match(text)
    if first is None:
        return text.lstrip().startswith('"') and _CUT.fullmatch(text) is not None
    return not text[first.end() :].strip()
