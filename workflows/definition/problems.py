"""Collecting what is wrong: JSON pointers, "did you mean", and a list that cannot grow without bound."""

from __future__ import annotations

from collections.abc import Iterable

from dataflow.lib.errors import Problem
from dataflow.lib.wording import kind, nearest, shown

#: The words of messages belong to the layer below; whoever reports problems finds them here.
__all__ = ["MAX_PROBLEMS", "MAX_SUGGESTIONS", "Report", "at", "escape", "kind", "nearest", "shown"]

#: Problems kept of one document: an answer to a hostile body must stay small.
MAX_PROBLEMS = 500
#: Names compared by similarity in one check: each comparison costs up to a millisecond.
MAX_SUGGESTIONS = 50


def escape(part: object) -> str:
    """One reference token of an RFC 6901 pointer."""
    return str(part).replace("~", "~0").replace("/", "~1").encode("utf-8", "replace").decode()


def at(pointer: str, *parts: object) -> str:
    """``pointer`` extended by ``parts`` (keys or indexes)."""
    return "".join([pointer, *(f"/{escape(part)}" for part in parts)])


class Report:
    """The problems and warnings of one check, in the order they were found."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._suggestions = 0
        #: Expressions compiled, and characters of those that need CEL: ``expressions`` bounds both.
        self.expressions = 0
        self.cel_characters = 0
        #: Characters of literals that task types themselves looked at: ``special`` bounds them.
        self.checked_characters = 0

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
