"""Collecting what is wrong: JSON pointers, "did you mean", and a list that cannot grow without bound."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from dataflow.lib.errors import Problem

#: Problems kept of one document: an answer to a hostile body must stay small.
MAX_PROBLEMS = 500
#: Names compared by similarity in one check: each comparison costs up to a millisecond.
MAX_SUGGESTIONS = 50
_LONGEST_NAME = 100
_SHOWN = 80


def escape(part: object) -> str:
    """One reference token of an RFC 6901 pointer."""
    return str(part).replace("~", "~0").replace("/", "~1").encode("utf-8", "replace").decode()


def at(pointer: str, *parts: object) -> str:
    """``pointer`` extended by ``parts`` (keys or indexes)."""
    return "".join([pointer, *(f"/{escape(part)}" for part in parts)])


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


class Report:
    """The problems and warnings of one check, in the order they were found."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._suggestions = 0
        #: Expressions compiled, and characters of those that need CEL: ``expressions`` bounds both.
        self.expressions = 0
        self.cel_characters = 0

    def problem(self, pointer: str, code: str, detail: str, hint: str = "") -> None:
        """Add a problem; after ``MAX_PROBLEMS`` one last entry says that the rest is left out."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(pointer=pointer, code=code, detail=detail, hint=hint))
        elif len(self.problems) == MAX_PROBLEMS:
            detail = f"There are more than {MAX_PROBLEMS} problems; the rest is left out."
            self.problems.append(Problem(pointer="", code="too_many", detail=detail))

    def extend(self, problems: Iterable[Problem]) -> None:
        """Add problems found elsewhere."""
        for one in problems:
            self.problem(one.pointer, one.code, one.detail, one.hint)

    def warn(self, pointer: str, code: str, detail: str, hint: str = "") -> None:
        """Add something that is allowed but probably not meant."""
        if len(self.warnings) < MAX_PROBLEMS:
            self.warnings.append(Problem(pointer=pointer, code=code, detail=detail, hint=hint))

    def nearest(self, name: object, known: Iterable[str]) -> str:
        """As ``nearest``, with a bound on how often one check may search."""
        self._suggestions += 1
        return nearest(name, known) if self._suggestions <= MAX_SUGGESTIONS else ""
