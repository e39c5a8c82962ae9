"""The one strict JSON parser for what comes in, and the cleaning of what tasks give back."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

JsonValue = Any  # None | bool | int | float | str | list[JsonValue] | dict[str, JsonValue]

MAX_DEPTH = 50
#: Integers outside of these are refused: neither database nor expression language holds them all.
SMALLEST_INTEGER, LARGEST_INTEGER = -(2**63), 2**63 - 1
#: More values than this are not a task's output but a mistake (or a structure that shares its parts many times).
MAX_VALUES = 5_000_000

_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_SAME_BRACKETS = bytes.maketrans(b"{}", b"[]")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_ENCODING_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


@dataclass(eq=False)
class JsonError(ValueError):
    """JSON that is refused.

    ``code`` is one of ``empty``, ``invalid_encoding``, ``invalid_json``, ``too_deep``, ``duplicate_key``,
    ``invalid_number``, ``invalid_unicode``; ``pointer`` is the JSON pointer to the place, where one is known.
    """

    code: str
    detail: str
    pointer: str = ""

    def __post_init__(self) -> None:
        super().__init__(self.detail)


@dataclass(frozen=True, slots=True)
class _Refused:
    """Stands in the parsed tree for what is refused, until the walk that knows its pointer finds it."""

    code: str
    detail: str
    key: str | None = None


def parse_json(data: bytes, *, max_depth: int = MAX_DEPTH) -> JsonValue:
    """The value of a JSON document in UTF-8. Raises ``JsonError``; takes linear time and never recurses deeply."""
    text = _decode(data)
    if not text.strip(" \t\r\n"):
        raise JsonError("empty", "The body is empty; a JSON document is needed.")
    if _depth_over(data, max_depth):
        raise JsonError("too_deep", f"The JSON is nested more than {max_depth} levels deep.")
    try:
        value = json.loads(
            text,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
            object_pairs_hook=_object,
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise JsonError("invalid_json", f"This is not JSON: {error.msg} at {place}.") from error
    _refuse_marked(value, "")
    return value


def clean_json(value: object, *, max_depth: int = MAX_DEPTH) -> JsonValue:
    """What a task gave back, made fit to be stored.

    NUL characters and lone surrogates become U+FFFD, tuples become lists. Raises ``ValueError``, whose text says
    where, for NaN, infinity, integers beyond 64 bits, what is not JSON, and what is nested too deeply.
    """
    return _Cleaner(max_depth).clean(value, 0, "")


def _decode(data: bytes) -> str:
    if data.startswith(_ENCODING_MARKS):
        raise JsonError("invalid_encoding", "The JSON starts with a byte order mark; send plain UTF-8 without one.")
    if data[:1] == b"\0" or data[1:4:2] == b"\0\0":
        raise JsonError("invalid_encoding", "The JSON looks like UTF-16 or UTF-32; send UTF-8.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JsonError("invalid_encoding", f"The JSON is not UTF-8: byte {error.start} is wrong.") from error


def _depth_over(data: bytes, limit: int) -> bool:
    """Whether brackets nest deeper than ``limit``, found without parsing: each pass takes the innermost pairs out."""
    if data.count(b"[") + data.count(b"{") <= limit:
        return False
    brackets = _STRINGS.sub(b"", data).translate(_SAME_BRACKETS, delete=_NOT_BRACKETS)
    for _ in range(limit):
        if not (brackets := brackets.replace(b"[]", b"")):
            return False
    # Brackets that fit nothing remain in a document that is no JSON; the parser stops at the first of them.
    return b"[]" in brackets or brackets.startswith(b"[" * (limit + 1))


def _integer(text: str) -> int | _Refused:
    # The length first: turning thousands of digits into a number is slow, and Python refuses it with another error.
    if len(text) <= 20 and SMALLEST_INTEGER <= (number := int(text)) <= LARGEST_INTEGER:
        return number
    return _Refused("invalid_number", "The integer is beyond 64 bits (-2^63 to 2^63-1); send it as a text.")


def _float(text: str) -> float | _Refused:
    number = float(text)
    return number if math.isfinite(number) else _Refused("invalid_number", "The number is too large to be held.")


def _constant(text: str) -> _Refused:
    return _Refused("invalid_number", f"{text} is not a JSON number.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Refused:
    built = dict(pairs)
    if len(built) == len(pairs):
        return built
    repeated = Counter(key for key, _ in pairs).most_common(1)[0][0]
    return _Refused("duplicate_key", f"The key {_shown(repeated)} occurs more than once.", repeated)


def _refuse_marked(value: Any, pointer: str) -> None:
    """Raise for the first thing in the tree that was refused. The depth is bounded, so recursion is safe."""
    if isinstance(value, _Refused):
        place = pointer if value.key is None else f"{pointer}/{_escape(value.key)}"
        raise JsonError(value.code, value.detail, place)
    if isinstance(value, str):
        _refuse_unstorable(value, pointer)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _refuse_marked(item, f"{pointer}/{index}")
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_unstorable(key, pointer)
            _refuse_marked(item, f"{pointer}/{_escape(key)}")


def _refuse_unstorable(text: str, pointer: str) -> None:
    if not text.isascii() or "\0" in text:
        found = _UNSTORABLE.search(text)
        if found is not None:
            what = "a NUL character" if found[0] == "\0" else "half of a surrogate pair"
            raise JsonError("invalid_unicode", f"The text contains {what}.", pointer)


def _escape(key: str) -> str:
    """A key as a part of a JSON pointer that can be shown."""
    return _UNSTORABLE.sub("\ufffd", key).replace("~", "~0").replace("/", "~1")


def _shown(key: str) -> str:
    return json.dumps(_UNSTORABLE.sub("\ufffd", key[:100]), ensure_ascii=False)


class _Cleaner:
    """One cleaning: it counts the values it sees, so shared parts cannot grow without bound."""

    def __init__(self, max_depth: int) -> None:
        self._max_depth = max_depth
        self._left = MAX_VALUES

    def clean(self, value: object, depth: int, pointer: str) -> JsonValue:
        self._left -= 1
        if self._left < 0:
            _fail(pointer, f"holds more than {MAX_VALUES:,} values")
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return _clean_text(value)
        if isinstance(value, (int, float)):
            return _clean_number(value, pointer)
        if not isinstance(value, (list, tuple, dict)):
            _fail(pointer, f"is a {type(value).__name__}, which is not JSON")
        if depth >= self._max_depth:
            _fail(pointer, f"is nested more than {self._max_depth} levels deep")
        if isinstance(value, dict):
            return dict(self._items(value, depth + 1, pointer))
        return [self.clean(item, depth + 1, f"{pointer}/{index}") for index, item in enumerate(value)]

    def _items(self, value: dict[Any, Any], depth: int, pointer: str) -> Iterator[tuple[str, JsonValue]]:
        for key, item in value.items():
            if not isinstance(key, str):
                _fail(pointer, f"has the key {key!r}, which is not a text")
            yield _clean_text(key), self.clean(item, depth, f"{pointer}/{_escape(key)}")


def _clean_text(text: str) -> str:
    # str() makes a plain string of a subclass
    return str(text) if text.isascii() and "\0" not in text else _UNSTORABLE.sub("\ufffd", text)


def _clean_number(number: int | float, pointer: str) -> int | float:  # noqa: PYI041  they are told apart here
    if isinstance(number, float):
        if not math.isfinite(number):
            _fail(pointer, f"is {number}, which is not a JSON number")
        return float(number)
    if not SMALLEST_INTEGER <= number <= LARGEST_INTEGER:
        _fail(pointer, "is an integer beyond 64 bits")
    return int(number)


def _fail(pointer: str, what: str) -> NoReturn:
    raise ValueError(f"The value at {pointer[:200] or 'the top'} {what}.")
