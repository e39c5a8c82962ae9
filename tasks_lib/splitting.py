"""Splits long texts where a listener hears no seam."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

#: The end of a sentence: a mark, closing quotes or brackets, and space; or a line's end. 3.14 has none in it.
_SENTENCE_END = re.compile(r"[.!?…][\"'”’»)\]]{0,5}\s+|[。！？][”’」』)]{0,5}|\n+")


def split_text(text: str, limit: int) -> list[str]:
    """``text`` in parts of at most ``limit`` characters: at sentences, else at spaces, else anywhere.

    Parts that are nothing but space are left out; none is longer than it has to be. Linear time.
    """
    parts: list[str] = []
    current = ""
    for piece in _pieces(text, limit):
        if len(current) + len(piece) > limit:
            parts.append(current)
            current = ""
        current += piece
    return [part.strip() for part in [*parts, current] if part.strip()]


def _pieces(text: str, limit: int) -> Iterator[str]:
    """Sentences, with those over ``limit`` cut."""
    start = 0
    for end in chain((match.end() for match in _SENTENCE_END.finditer(text)), [len(text)]):
        while end - start > limit:
            cut = text.rfind(" ", start + 1, start + limit) + 1 or start + limit
            yield text[start:cut]
            start = cut
        yield text[start:end]
        start = end
