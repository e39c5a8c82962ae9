"""The types of values: what fits where, literal checks, conversions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, get_args
from urllib.parse import urlsplit

from dataflow.lib.errors import Problem
from dataflow.lib.patterns import search
from tasks_lib.base import JsonValue, ValueType
from workflows.definition.problems import kind, shown

VALUE_TYPES: tuple[ValueType, ...] = get_args(ValueType)
FILE_FIELDS: Mapping[str, ValueType] = {
    "file_id": "text", "name": "text", "content_type": "text", "size": "number", "sha256": "text", "url": "text",
}  # fmt: skip
MAX_URL = 2_048
#: Bits: Python refuses to write longer ones as decimal digits.
_LONGEST_INTEGER = 14_000
_FILE_ID = re.compile(r"fl-[a-z0-9]{1,64}")
_NAMES: Mapping[str, str] = {
    "text": "text", "number": "a number", "boolean": "a boolean", "file": "a file", "object": "an object",
    "list": "a list", "any": "any value",
}  # fmt: skip


class Rules(Protocol):
    """A type and its checks: an input of a workflow, or a ``Field`` of a task type."""

    @property
    def type(self) -> ValueType:
        """As in JSON Schema."""

    @property
    def enum(self) -> Sequence[JsonValue]:
        """As in JSON Schema."""

    @property
    def minimum(self) -> float | None:
        """As in JSON Schema."""

    @property
    def maximum(self) -> float | None:
        """As in JSON Schema."""

    @property
    def min_length(self) -> int | None:
        """As in JSON Schema."""

    @property
    def max_length(self) -> int | None:
        """As in JSON Schema."""


def fits(source: ValueType, target: ValueType) -> bool:
    """Whether a plain reference to a ``source`` may go where a ``target`` is wanted; ``any`` is checked at run time."""
    return source == target or "any" in (source, target) or (source, target) == ("number", "text")


def named(value_type: str) -> str:
    """The type with its article: ``a number``."""
    return _NAMES[value_type]


def is_number(value: object) -> bool:
    """Whether it is a finite number (a boolean is not)."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def is_file(value: object) -> bool:
    """Whether it is a file value: an object with a ``file_id`` and no other fields than a file has."""
    return isinstance(value, Mapping) and "file_id" in value and all(key in FILE_FIELDS for key in value)


def is_file_id(value: object) -> bool:
    """Whether it has the shape of a file's id."""
    return isinstance(value, str) and _FILE_ID.fullmatch(value) is not None


def url_problem(value: object, *, userinfo: bool = False) -> str:
    """Why ``value`` is not an http(s) URL, empty when it is; ``userinfo``: whether ``user:password@`` is allowed."""
    if not isinstance(value, str) or len(value) > MAX_URL:
        return f"must be text of at most {MAX_URL:,} characters"
    if not value.isprintable() or " " in value or "\\" in value:
        return "has characters that a URL cannot have"
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return "is not a URL"
    if not usable:
        return "must start with http:// or https:// and name a host"
    return "must not hold a user name or password" if "@" in parts.netloc and not userinfo else ""


def is_of_type(value: object, value_type: ValueType) -> bool:
    """Whether a literal is of the type."""
    return _IS_OF_TYPE[value_type](value)


def file_problem(value: object) -> str:
    """Why ``value`` cannot be passed as a file, empty when it can: ``"fl-…"``, ``{"file_id": …}`` or ``{"url": …}``."""
    wanted = 'A file is given as "fl-…", {"file_id": "fl-…"} or {"url": "https://…"}.'
    if is_file_id(value):
        return ""
    if not isinstance(value, Mapping):
        return wanted
    if "file_id" in value:
        known = all(key in FILE_FIELDS or key in DESCRIBED_FIELDS for key in value)
        return "" if is_file_id(value["file_id"]) and known else wanted
    if set(value) != {"url"}:
        return wanted
    return f"The `url` of the file {problem}." if (problem := url_problem(value["url"], userinfo=True)) else ""


def as_file(value: JsonValue) -> JsonValue:
    """A file in its object form: ``"fl-…"`` becomes ``{"file_id": "fl-…"}``. Any other text stays the text it is."""
    return {"file_id": value} if is_file_id(value) else value


def number_as_text(value: float) -> str:
    """A number where a text is wanted, written as in JSON."""
    if isinstance(value, int):
        return hex(value) if value.bit_length() > _LONGEST_INTEGER else str(value)
    return repr(value)


def check_literal(value: JsonValue, rules: Rules, pointer: str, name: str, pattern: str | None = None) -> list[Problem]:
    """What is wrong with a literal ``value`` for the input called ``name``: its type first, then every check."""
    if not is_of_type(value, rules.type):
        if rules.type == "file":
            return [Problem(pointer=pointer, code="wrong_type", detail=f"{shown(name)}: {file_problem(value)}")]
        detail = f"{shown(name)} must be {named(rules.type)}, not {kind(value)}."
        if isinstance(value, float) and not math.isfinite(value):
            detail = f"{shown(name)} must be a finite number."
        return [Problem(pointer=pointer, code="wrong_type", detail=detail)]
    broken = broken_checks(value, rules, pattern)
    return [Problem(pointer=pointer, code=code, detail=f"{shown(name)} {detail}") for code, detail in broken]


def broken_checks(value: JsonValue, rules: Rules, pattern: str | None = None) -> list[tuple[str, str]]:
    """The checks that ``value`` fails, each a code and a sentence without its subject."""
    broken = []
    if rules.enum and not any(same(value, allowed) for allowed in rules.enum):
        choices = ", ".join(shown(allowed) for allowed in rules.enum[:20])
        broken.append(("not_in_enum", f"must be one of {choices}."))
    if is_number(value):
        if rules.minimum is not None and value < rules.minimum:
            broken.append(("below_minimum", f"must be at least {rules.minimum:g}."))
        if rules.maximum is not None and value > rules.maximum:
            broken.append(("above_maximum", f"must be at most {rules.maximum:g}."))
    if isinstance(value, str):
        if rules.min_length is not None and len(value) < rules.min_length:
            broken.append(("too_short", f"must have at least {rules.min_length:,} characters, not {len(value):,}."))
        if rules.max_length is not None and len(value) > rules.max_length:
            broken.append(("too_long", f"must have at most {rules.max_length:,} characters, not {len(value):,}."))
        if pattern is not None and not search(pattern, value):
            broken.append(("pattern_mismatch", f"must match the pattern {shown(pattern)}."))
    return broken


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal as JSON Schema means it: 1 is 1.0, but true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return bool(left == right)


_IS_OF_TYPE: Mapping[ValueType, Callable[[object], bool]] = {
    "text": lambda value: isinstance(value, str),
    "number": is_number,
    "boolean": lambda value: isinstance(value, bool),
    "file": lambda value: file_problem(value) == "",
    "object": lambda value: isinstance(value, Mapping),
    "list": lambda value: isinstance(value, list),
    "any": lambda _value: True,
}
#: What ``GET /files/{id}`` tells besides: its whole answer may be passed on. The stored file knows better anyway.
DESCRIBED_FIELDS = ("metadata", "created_at", "execution")
