"""How large a value is, in one pass that stops early, and values as plain dicts and lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MAX_DEPTH = 200
_INT64 = range(-(2**63), 2**63)


def json_size(value: Any, limit: int) -> int:
    """Bytes of ``value``: text as UTF-8, the rest as compact JSON. Stops counting once it is over ``limit``."""
    size = 0
    if isinstance(value, str):
        return _text_size(value, limit)
    pending: list[Any] = [value]
    while pending and size <= limit:
        item = pending.pop()
        if isinstance(item, str):
            size += 2 + _text_size(item, limit - size)
        elif isinstance(item, Mapping):
            size += 2 + 2 * len(item)
            pending.extend(item.values())
            size += sum(2 + _text_size(str(key), limit) for key in item)
        elif isinstance(item, list):
            size += 2 + len(item)
            pending.extend(item)
        else:
            size += _scalar_size(item)
    return size


def _text_size(text: str, limit: int) -> int:
    if len(text) > limit or text.isascii():
        return len(text)
    return len(text.encode("utf-8", "surrogatepass"))


def _scalar_size(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value.bit_length() * 3 // 10 + 1
    return len(repr(value)) if isinstance(value, float) else 5


def plain(value: Any, limit: int) -> tuple[Any, int]:
    """``value`` with every mapping a dict, and its size.

    Raises ``ValueError`` when it is larger than ``limit`` bytes or nested too deep, ``OverflowError`` for an integer of
    more than 64 bits.
    """
    size = json_size(value, limit)
    if size > limit:
        raise ValueError(f"it is larger than {limit:,} bytes")
    return _plain(value, 0), size


def _plain(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ValueError("it is nested too deep")
    if isinstance(value, Mapping):
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and value not in _INT64:
        raise OverflowError
    return value
