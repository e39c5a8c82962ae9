"""Regular expressions in linear time: RE2, for ``pattern`` of inputs and ``matches`` in expressions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import re2

#: Characters of a pattern.
MAX_PATTERN = 1_000
#: Steps of RE2's programs for all patterns within one ``counted``: a second of compiling. One that RE2 refuses as too
#: large takes as long as this many steps.
MAX_STEPS, _REFUSED_STEPS = 2_000_000, 100_000
#: Steps that are left, in a list of one; ``None`` where nobody counts.
_left: ContextVar[list[int] | None] = ContextVar("_left", default=None)


@contextmanager
def counted(most: int = MAX_STEPS) -> Iterator[None]:
    """Patterns compiled in the block are counted: twenty characters can take 0.2 s. What is too much is refused.

    A block within another is part of that one.
    """
    token = _left.set(_left.get() or [most])
    try:
        yield
    finally:
        _left.reset(token)


def compile_pattern(pattern: str) -> Any:
    """The compiled pattern. Raises ``ValueError`` that says what is wrong with it, or too much in ``counted``."""
    left = _left.get()
    if left is None:
        return _compiled(pattern)
    if left[0] <= 0:
        raise ValueError("all patterns together are too large; repeat less, or use smaller classes than \\pL")
    cost = _REFUSED_STEPS
    try:
        compiled = _compiled(pattern)
        cost = compiled.programsize
        return compiled
    finally:
        left[0] -= cost


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"a pattern has at most {MAX_PATTERN:,} characters")
    options = re2.Options()
    options.log_errors = False  # else the C++ side writes to standard error
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        raise ValueError(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)) from None
    except UnicodeEncodeError:
        raise ValueError("the pattern is not valid Unicode") from None


def search(pattern: str, text: str) -> bool:
    """Whether ``pattern`` is found anywhere in ``text``, as in JSON Schema. Raises ``ValueError`` for a bad pattern."""
    try:
        return _compiled(pattern).search(text) is not None
    except UnicodeEncodeError:  # a lone surrogate matches nothing
        return False
