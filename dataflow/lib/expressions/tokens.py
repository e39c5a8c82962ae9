"""Reading expressions: where one ends inside a text, and which paths it mentions.

The tokens are CEL's. They are ours to read because the library tells neither where ``}}`` closes an expression (it may
stand inside a string or a map) nor which fields of ``inputs`` or ``tasks`` an expression reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

MAX_EXPRESSION = 2_000
MAX_NESTING = 50


class _ItemIndex(int):
    """The part of a path that is `[index]`: the number of the item, known when it is rendered."""

    def __str__(self) -> str:
        return "index"


#: A list of one result for each item is read at the item's own place all the time: only that place is looked at.
INDEX = _ItemIndex(-1)

PathPart = str | int
Path = tuple[PathPart, ...]

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n\f]+|//[^\n]*)
  | (?P<string>[bB]?[rR](?:\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|"[^"\n\r]*"|'[^'\n\r]*')
      |[bB]?(?:\"{3}(?:[^\\]|\\[\s\S])*?\"{3}|'{3}(?:[^\\]|\\[\s\S])*?'{3}
      |"(?:[^"\\\n\r]|\\[^\n\r])*"|'(?:[^'\\\n\r]|\\[^\n\r])*'))
  | (?P<number>0x[0-9a-fA-F]+[uU]?|\d*\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\d+[uU]?)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<mark>&&|\|\||[<>=!]=|[-+*/%<>!?:.,()\[\]{}])
    """,
    re.VERBOSE,
)
_OPEN, _CLOSE = frozenset("([{"), frozenset(")]}")
_INDEX_DIGITS = 9
_RESERVED = frozenset({"true", "false", "null", "in"})


class ExpressionProblem(Exception):
    """An expression that cannot be used; ``code`` and ``hint`` as in ``Problem``."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint


class Token(NamedTuple):
    """A token of CEL: ``kind`` is string, number, name or mark; ``start`` and ``end`` are offsets."""

    kind: str
    text: str
    start: int
    end: int


def _next(text: str, position: int) -> Token | None:
    match = _TOKEN.match(text, position)
    if match is None:
        return None
    return Token(match.lastgroup or "", match.group(), position, match.end())


def expression_end(text: str, start: int) -> int:
    """Offset of the ``}}`` that closes the expression starting at ``start``.

    Raises ``ExpressionProblem`` when it is not closed or has a character that CEL does not know.
    """
    depth, position = 0, start
    limit = start + MAX_EXPRESSION
    while position < len(text):
        if depth == 0 and text.startswith("}}", position):
            return position
        token = _next(text, position)
        if token is None:
            raise _unreadable(text, position)
        if token.kind == "mark":
            depth += (token.text == "{") - (token.text == "}")  # brackets that do not match are for CEL to report
        if depth < 0 or position > limit:
            break
        position = token.end
    if position > limit:
        raise too_long()
    raise ExpressionProblem(
        "expression_syntax",
        "An expression that starts with `{{` is not closed.",
        'Close it with `}}`; `{{"{{"}}` gives literal braces.',
    )


def too_long() -> ExpressionProblem:
    """The problem of an expression over the limit."""
    return ExpressionProblem("too_long", f"An expression has at most {MAX_EXPRESSION:,} characters.")


def _unreadable(text: str, position: int) -> ExpressionProblem:
    character = text[position]
    what = "a string that is not closed" if character in "\"'" else f"the character {character!r}"
    return ExpressionProblem("expression_syntax", f"The expression has {what} at offset {position}.")


def tokenise(source: str) -> list[Token]:
    """The tokens of an expression without white space and comments. Raises ``ExpressionProblem``."""
    if len(source) > MAX_EXPRESSION:
        raise too_long()
    tokens, position, depth = [], 0, 0
    while position < len(source):
        token = _next(source, position)
        if token is None:
            raise _unreadable(source, position)
        if token.kind != "space":
            tokens.append(token)
            depth += (token.text in _OPEN) - (token.text in _CLOSE) if token.kind == "mark" else 0
        if depth > MAX_NESTING:
            raise ExpressionProblem("too_deep", f"An expression nests at most {MAX_NESTING} deep.")
        position = token.end
    if not tokens:
        raise ExpressionProblem("expression_syntax", "The expression is empty.", "Write for example `{{inputs.NAME}}`.")
    return tokens


@dataclass(frozen=True, slots=True)
class Mention:
    """A path that an expression reads: tokens ``first`` to before ``last``."""

    path: Path
    first: int
    last: int


def mentions(tokens: Sequence[Token]) -> list[Mention]:
    """Every path in the expression: a name that is no field and no function, with its constant fields and indexes."""
    found, position = [], 0
    while position < len(tokens):
        token = tokens[position]
        is_field = position > 0 and tokens[position - 1].text == "." and tokens[position - 1].kind == "mark"
        if token.kind != "name" or token.text in _RESERVED or is_field or _is_mark(tokens, position + 1, "("):
            position += 1
            continue
        path, last = _follow(tokens, position)
        found.append(Mention(path, position, last))
        position = last
    return found


def calls(tokens: Sequence[Token]) -> list[tuple[int, bool]]:
    """Positions of the names of functions that are called, each with whether it is called as a method."""
    return [
        (position, position > 0 and _is_mark(tokens, position - 1, "."))
        for position, token in enumerate(tokens)
        if token.kind == "name" and token.text != "in" and _is_mark(tokens, position + 1, "(")
    ]


def _is_mark(tokens: Sequence[Token], position: int, text: str) -> bool:
    return position < len(tokens) and tokens[position].kind == "mark" and tokens[position].text == text


def _follow(tokens: Sequence[Token], position: int) -> tuple[Path, int]:
    path: list[PathPart] = [tokens[position].text]
    position += 1
    while True:
        if _is_mark(tokens, position, ".") and position + 1 < len(tokens) and tokens[position + 1].kind == "name":
            if _is_mark(tokens, position + 2, "("):  # a method: what stands before it is the path
                return tuple(path), position
            path.append(tokens[position + 1].text)
            position += 2
        elif _is_mark(tokens, position, "[") and _is_mark(tokens, position + 2, "]"):
            part = _constant(tokens[position + 1])
            if part is None:
                return tuple(path), position
            path.append(part)
            position += 3
        else:
            return tuple(path), position


def _constant(token: Token) -> PathPart | None:
    if token.kind == "name" and token.text == "index":
        return INDEX
    if token.kind == "number" and token.text.isdecimal() and len(token.text) <= _INDEX_DIGITS:
        return int(token.text)
    if (
        token.kind == "string"
        and token.text[0] in "\"'"
        and "\\" not in token.text
        and token.text[:3] not in ('"""', "'''")
    ):
        return token.text[1:-1]
    return None


_PLAIN = re.compile(
    r"""\s*([A-Za-z_]\w*)((?:\.[A-Za-z_]\w*|\[\d{1,9}\]|\[index\]|\["[^"\\\n\r]*"\]|\['[^'\\\n\r]*'\])+)\s*""", re.ASCII
)
#: Roots that have a value of their own, for which CEL (and a copy of the value) is not needed.
_WHOLE = frozenset({"item", "index"})
_PART = re.compile(r"""\.([A-Za-z_]\w*)|\[(\d+|index)\]|\["([^"]*)"\]|\['([^']*)'\]""", re.ASCII)


def plain_path(source: str) -> Path | None:
    """The path of a plain expression (``inputs.a``, ``tasks.x.outputs.y[0]["k"]``, ``item``), ``None`` for another."""
    if source in _WHOLE:
        return (source,)
    match = _PLAIN.fullmatch(source)
    if match is None:
        return None
    parts: list[PathPart] = [match.group(1)]
    for field, index, double, single in _PART.findall(match.group(2)):
        number = INDEX if index == "index" else int(index or 0)
        parts.append(number if index else field or double or single)
    return tuple(parts)


def spell(path: Path) -> str:
    """The path as one would write it: ``tasks.a.outputs.list[0]["odd key"]``."""
    spelled = str(path[0])
    for part in path[1:]:
        if isinstance(part, int):
            spelled += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z_]\w*", part, re.ASCII):
            spelled += f".{part}"
        else:
            spelled += f"[{json.dumps(part, ensure_ascii=False)}]"
    return spelled
