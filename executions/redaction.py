"""Takes known values out of what is stored, sent or shown: as they stand, and in the forms they are usually written in.

Pure. A value is found in text, in keys and in values of JSON: as it is, escaped for JSON or HTML, encoded for a URL,
and in base64 (wherever in the encoded text it begins, both alphabets, with or without padding). What a task makes of a
value otherwise (reversed, hashed, cut in pieces) is not found.
"""

from __future__ import annotations

import base64
import html
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any
from urllib.parse import quote, quote_plus

from dataflow.lib.mask import MASK

#: Characters: a shorter value would mask half of the text. Shorter secrets are refused when they are set.
SHORTEST = 8
#: Characters of a sensitive input that is masked inside other text.
SHORTEST_SENSITIVE = 4
#: Texts in sensitive inputs that are looked for inside other text: the longest. The rest counts where it stands alone.
_MAX_TEXTS = 500
#: Bits.
_LONGEST_INTEGER = 8192
#: What programs leave as it is in a URL, from the strictest to the most lenient.
_URL_SAFE = ("", "/", "!'()*~", "!#$%&'()*+,/:;=?@[]~")
_BASE64_OFFSETS = (0, 1, 2)
#: Characters of a piece of a value that counts in a message: half of the value, within these bounds.
_SMALLEST_PIECE, _PIECE = 6, 12
#: Characters of a long value, from its beginning and from its end, of which pieces are looked for.
_MAX_PIECES = 1000
#: Characters of a message.
_MAX_MESSAGE = 256 * 1024
#: Values that a process keeps out of its own log.
_MAX_KNOWN = 200


class Redactor:
    """Masks ``secrets``, those of at least ``SHORTEST`` characters, and ``sensitive`` JSON values.

    Of a sensitive value every text of at least ``SHORTEST_SENSITIVE`` characters in it is masked inside other text,
    numbers that are written with so many too. What is shorter is masked where it stands alone, as are whole objects and
    lists. True, false and null are everywhere, and stay.
    """

    def __init__(self, secrets: Iterable[str] = (), *, sensitive: Sequence[Any] = ()) -> None:
        leaves = {leaf for one in sensitive for leaf in _leaves(one) if leaf != ""}
        texts = (leaf if isinstance(leaf, str) else _digits(leaf) for leaf in leaves)
        inside = sorted((text for text in texts if len(text) >= SHORTEST_SENSITIVE), key=len, reverse=True)
        found = {part for value in secrets for part in _parts(value, SHORTEST)}
        found |= {part for value in inside[:_MAX_TEXTS] for part in _parts(value, SHORTEST_SENSITIVE)}
        # The longest first: a value that begins with another one is masked as a whole.
        self._forms = sorted({form for value in found for form in forms(value)}, key=len, reverse=True)
        self._alone = frozenset(leaves)
        self._built = [one for one in sensitive if isinstance(one, dict | list) and one]

    def __bool__(self) -> bool:
        """Whether there is anything to mask."""
        return bool(self._forms or self._alone or self._built)

    def text(self, text: str) -> str:
        """``text`` with the values masked; linear in its length."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text

    def message(self, text: str) -> str:
        """As ``text``, for what may quote a cut piece of something longer: large parts of a value count too."""
        text = self.text(text)[:_MAX_MESSAGE]
        for size, pieces in self._pieces.items():
            found = [at for at in range(len(text) - size + 1) if text[at : at + size] in pieces]
            for start, end in reversed(list(_joined(found, size))):
                text = f"{text[:start]}{MASK}{text[end:]}"
        return text

    @cached_property
    def _pieces(self) -> Mapping[int, frozenset[str]]:
        """The parts of all forms that give too much away, by their length."""
        pieces: dict[int, set[str]] = {}
        for form in self._forms:
            size = min(_PIECE, max(_SMALLEST_PIECE, len(form) // 2))
            for part in (form,) if len(form) <= 2 * _MAX_PIECES else (form[:_MAX_PIECES], form[-_MAX_PIECES:]):
                pieces.setdefault(size, set()).update(part[at : at + size] for at in range(len(part) - size + 1))
        return {size: frozenset(found) for size, found in pieces.items()}

    def value(self, value: Any) -> Any:
        """A JSON value with the values masked in its texts, keys included."""
        return self._walk(value, self.text) if self else value

    def told(self, value: Any) -> Any:
        """As ``value``, by the rule of ``message``: for errors and logs."""
        return self._walk(value, self.message) if self else value

    def _is_whole(self, value: Any) -> bool:
        return value in self._built if isinstance(value, dict | list) else value in self._alone

    def _walk(self, value: Any, mask: Callable[[str], str]) -> Any:
        match value:
            case bool() | None:
                return value
            case str() | int() | float() | dict() | list() if self._is_whole(value):
                return MASK
            case str():
                return mask(value)
            case dict():
                return {self.text(name): self._walk(inner, mask) for name, inner in value.items()}
            case list():
                return [self._walk(inner, mask) for inner in value]
        return value

    def error(self, error: Any) -> Any:
        """A stored error with what it says masked; codes, names and numbers stay."""
        if not self or not isinstance(error, dict):
            return error
        return {name: one if name in _ERROR_FACTS else self.told(one) for name, one in error.items()}


_ERROR_FACTS = frozenset({"code", "task", "item", "retryable", "retry_after", "by"})
#: Masks nothing.
NOTHING = Redactor()


def _joined(starts: Iterable[int], size: int) -> Iterator[tuple[int, int]]:
    """Where the pieces of ``size`` that begin at ``starts``, in order, lie; those that touch are one."""
    begun, end = -1, -1
    for start in starts:
        if start > end:
            if end > 0:
                yield begun, end
            begun = start
        end = start + size
    if end > 0:
        yield begun, end


def _leaves(value: Any) -> Iterator[Any]:
    """The texts and numbers in a JSON value."""
    match value:
        case bool() | None:
            return
        case dict():
            for inner in value.values():
                yield from _leaves(inner)
        case list() | tuple():
            for inner in value:
                yield from _leaves(inner)
        case _:
            yield value


def forms(value: str) -> set[str]:
    """The ways in which ``value`` is looked for."""
    data = value.encode("utf-8", "surrogatepass")
    escaped = {json.dumps(value, ensure_ascii=flag)[1:-1] for flag in (True, False)}
    escaped |= {json.dumps(one)[1:-1] for one in escaped} | {one.replace("/", "\\/") for one in escaped}
    marked = {html.escape(value), html.escape(value, quote=False)}
    marked |= {one.replace("&#x27;", "&#39;").replace("&quot;", "&#34;") for one in marked}
    urls = {quote_plus(data), *(quote(data, safe=safe) for safe in _URL_SAFE)}
    found = {value, repr(value)[1:-1], *escaped, *marked, *urls, *(_lower_percent(one) for one in urls)}
    if len(data) >= SHORTEST:
        found |= set(_base64_forms(data))
    return {form for form in found if form}


def _parts(value: str, shortest: int) -> Iterator[str]:
    """The value, without the white space around it, and each line of one with several."""
    candidates = (value, value.strip(), *(line.strip() for line in value.splitlines()))
    return (part for part in candidates if len(part) >= shortest)


def _base64_forms(data: bytes) -> Iterator[str]:
    """The characters of base64 that only ``data`` decides, for each place it can begin at."""
    for offset in _BASE64_OFFSETS:
        first, last = -(-offset * 8 // 6), (offset + len(data)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            plain = encode(bytes(offset) + data).decode()[first:last]
            yield plain
            yield quote(plain, safe="")


def _lower_percent(text: str) -> str:
    """The same with ``%2f`` for ``%2F``."""
    first, *rest = text.split("%")
    return "%".join([first, *(part[:2].lower() + part[2:] for part in rest)])


def _digits(number: float) -> str:
    """A number as JSON writes it; one too long to be written is no text."""
    return "" if isinstance(number, int) and number.bit_length() > _LONGEST_INTEGER else repr(number)


class _Known:
    """The values that this process came to know lately."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, None] = {}
        self._redactor = NOTHING

    def add(self, values: Iterable[str]) -> None:
        """Keep ``values``; of too many the oldest go."""
        with self._lock:
            new = [value for value in values if value not in self._values]
            if not new:
                return
            self._values |= dict.fromkeys(new)
            while len(self._values) > _MAX_KNOWN:
                del self._values[next(iter(self._values))]
            self._redactor = Redactor(self._values)

    def hide(self, text: str) -> str:
        """``text`` without them."""
        return self._redactor.text(text)


_known = _Known()
#: Tells the process of values that its own log must not hold.
remember = _known.add
#: A line of the log without the values that were told by ``remember``.
hide_known = _known.hide
