"""Words for messages: what a value is, a name or an expression as it can be shown, and "did you mean"."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_LONGEST_NAME = 100
_SHOWN = 80


def shown(text: object) -> str:
    """``text`` in backticks, cut to a readable length and always encodable."""
    whole = str(text).encode("utf-8", "replace").decode()
    return f"`{whole if len(whole) <= _SHOWN else whole[: _SHOWN - 1] + '…'}`"


def kind(value: object) -> str:
    """Say what ``value`` is, in words such as ``text`` or ``an object``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list | tuple) else "an object"


def nearest(name: object, known: Iterable[str]) -> str:
    """A hint with the known name most like ``name``, the empty text when none is."""
    if not isinstance(name, str) or not name or len(name) > _LONGEST_NAME:
        return ""
    folded = {candidate.lower(): candidate for candidate in known}
    found = get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return f"Did you mean {shown(folded[found[0]])}?" if found else ""
