"""Regular expressions in linear time: RE2, for ``pattern`` of inputs and ``matches`` in expressions."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

#: Characters of a pattern.
MAX_PATTERN = 1_000


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> Any:
    """The compiled pattern. Raises ``ValueError`` that says what is wrong with it."""
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
        return compile_pattern(pattern).search(text) is not None
    except UnicodeEncodeError:  # a lone surrogate matches nothing
        return False
