"""Running CEL with the library ``common-expression-language`` (module ``cel``, Rust).

Why this one and not ``cel-python``: an expression runs in 5–20 µs instead of 120–400 µs, parsing 100 nested brackets is
an error and not a ``RecursionError``, ``int + double`` is an error as CEL says (cel-python adds them silently), and a
compiled program says which variables it reads, so our reading of the tokens is checked against the library's.

What we add, all by rewriting the tokens before the library sees them:

- every path becomes one variable, resolved by us. A path that is not there stays undefined, so it is an error only
  where it is really read (``a && b`` may never read b), the error names it, and only what is mentioned is loaded;
- ``has(path)`` is answered by us: true when the path is there and is not null, at any depth;
- ``size(text)`` counts characters (the library counts bytes), ``matches`` is RE2 with a bound on the pattern;
- macros and unknown functions are refused.

Numbers: an integer and a double do not mix in arithmetic (``inputs.n + 1`` fails when n is 2.5), as everywhere in CEL:
write ``double(inputs.n) + 1.0``, which takes both. Comparing them is fine.
"""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dataflow.lib.expressions.tokens import ExpressionProblem, Mention, Path, Token, calls, mentions, spell, tokenise
from dataflow.lib.patterns import search
from dataflow.lib.times import rfc3339
from dataflow.lib.wording import nearest, shown

if TYPE_CHECKING:
    import cel

MACROS = frozenset({"map", "filter", "all", "exists", "exists_one"})
METHODS = frozenset(
    {
        "size", "matches", "contains", "startsWith", "endsWith", "getFullYear", "getMonth", "getDate", "getDayOfMonth",
        "getDayOfWeek", "getDayOfYear", "getHours", "getMinutes", "getSeconds", "getMilliseconds",
    }
)  # fmt: skip
FUNCTIONS = frozenset(
    {
        "has",
        "size",
        "matches",
        "string",
        "bool",
        "int",
        "uint",
        "double",
        "bytes",
        "type",
        "dyn",
        "timestamp",
        "duration",
    }
)
_OURS = {"size": "_size", "matches": "_matches"}
_INT64 = range(-(2**63), 2**63)


class CelError(Exception):
    """An expression that failed while it ran."""


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled expression.

    ``reads`` and ``asks`` are variables of the library's program and the paths they stand for: what is read, and what
    ``has`` asks for.
    """

    source: str
    reads: Mapping[str, Path]
    asks: Mapping[str, Path]
    #: How often each variable stands in the expression: what it costs, and what its result can be made of.
    uses: Mapping[str, int]
    compiled: cel.Program

    def run(self, values: Mapping[str, Any]) -> Any:
        """The result with ``values`` for the variables, as JSON. Raises ``CelError``.

        A variable of ``reads`` that is not in ``values`` is a path that does not exist.
        """
        try:
            result = self.compiled.execute(_library().Context(dict(values), _FUNCTIONS))
        # These are what the library raises for the fault of an expression or of its data.
        except (RuntimeError, TypeError, ValueError, LookupError, ArithmeticError) as error:
            raise CelError(self._explain(error)) from None
        return as_json(result)

    def _explain(self, error: Exception) -> str:
        message = str(error.args[0]) if error.args else str(error)
        if unknown := re.search(r"Undefined variable or function: '(_[ph]\d+)'", message):
            return f"{shown(spell(self.reads[unknown.group(1)]))} does not exist."
        if isinstance(error, KeyError):
            return f"The key {shown(message)} does not exist."
        if ours := re.search(r"Python function call failed: \w+: (.*?)\. Check function arguments", message, re.DOTALL):
            return ours.group(1)
        return message.replace("_size", "size").replace("_matches", "matches")


@lru_cache(maxsize=512)
def compile_cel(source: str) -> Program:
    """Compile an expression; the same source is compiled once. Raises ``ExpressionProblem``."""
    tokens = tokenise(source)
    _refuse_unsupported(tokens)
    reads, asks, uses, rewritten = _rewrite(tokens)
    try:
        compiled = _library().compile(rewritten)
    except ValueError as error:
        raise ExpressionProblem("expression_syntax", _syntax_error(source, error)) from None
    strangers = set(compiled.variables()) - set(reads) - set(asks)
    if strangers:
        raise ExpressionProblem(
            "expression_syntax", f"The expression uses {shown(min(strangers))} in a way that is not supported."
        )
    return Program(source, reads, asks, uses, compiled)


@lru_cache(maxsize=1)
def _library() -> Any:
    """The library, imported at first use: it takes 0.2 s, for a command line of its own that we do not need."""
    import cel  # noqa: PLC0415 - lazily, see above

    # It logs a warning for every error of a function of ours, with the user's data in it. The error itself is raised.
    logging.getLogger("cel").setLevel(logging.ERROR)
    return cel


def _refuse_unsupported(tokens: list[Token]) -> None:
    for position, is_method in calls(tokens):
        name = tokens[position].text
        if is_method and name in MACROS:
            hint = "Take the items one by one, or shape the list in a task."
            raise ExpressionProblem(
                "expression_macro", f"The macro {shown(name)} is not available in expressions.", hint
            )
        if name not in (METHODS if is_method else FUNCTIONS):
            what = "method" if is_method else "function"
            hint = nearest(name, METHODS if is_method else FUNCTIONS)
            raise ExpressionProblem("unknown_function", f"There is no {what} {shown(name)} in expressions.", hint)
    for position, token in enumerate(tokens):
        before = tokens[position - 1] if position else None
        if token.text == "." and token.kind == "mark" and not _ends_value(before):
            raise ExpressionProblem("expression_syntax", f"The `.` at offset {token.start} selects from nothing.")
        if token.text == "{" and token.kind == "mark" and before is not None and before.kind == "name":
            raise ExpressionProblem("expression_syntax", f"There is no message type {shown(before.text)}.")


def _ends_value(token: Token | None) -> bool:
    return token is not None and (token.kind in ("name", "string") or token.text in (")", "]", "}"))


def _rewrite(tokens: list[Token]) -> tuple[dict[str, Path], dict[str, Path], Counter[str], str]:
    """The variables read, those asked for, how often, and the expression with them in place of paths."""
    reads: dict[str, Path] = {}
    asks: dict[str, Path] = {}
    names: dict[tuple[str, Path], str] = {}
    uses: Counter[str] = Counter()
    pieces = [token.text for token in tokens]
    for position, _ in calls(tokens):
        pieces[position] = _OURS.get(pieces[position], pieces[position])
    for mention in mentions(tokens):
        asked = _is_asked(tokens, mention)
        variables, prefix = (asks, "_h") if asked else (reads, "_p")
        name = names.setdefault((prefix, mention.path), f"{prefix}{len(variables)}")
        variables[name] = mention.path
        uses[name] += 1
        first, last = (mention.first - 2, mention.last + 1) if asked else (mention.first, mention.last)
        pieces[first:last] = [name, *[""] * (last - first - 1)]
    return reads, asks, uses, " ".join(filter(None, pieces))


def _is_asked(tokens: list[Token], mention: Mention) -> bool:
    """Whether the mention is the whole argument of ``has``."""
    first, last = mention.first, mention.last
    return (
        first > 1
        and tokens[first - 1].text == "("
        and tokens[first - 2].text == "has"
        and last < len(tokens)
        and tokens[last].text == ")"
        and len(mention.path) > 1
    )


def _syntax_error(source: str, error: Exception) -> str:
    """What the library says of the source as it was written: its offsets are those the user sees."""
    try:
        _library().compile(source)
    except ValueError as original:
        error = original
    match = re.search(r"ERROR: <input>:(\d+):(\d+): (?:Syntax error: )?(.*)", str(error))
    if match is None:
        return "The expression cannot be read."
    line, column, message = match.groups()
    return f"The expression cannot be read at line {line}, column {column}: {message.split(' expecting ')[0][:300]}."


def as_json(value: Any) -> Any:
    """A result as JSON: times as RFC 3339 text, durations as ``"90s"``. Raises ``CelError`` for what JSON has not."""
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise CelError("The result is an object with a key that is not text.")
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return rfc3339(value.astimezone(UTC))
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, int) and not isinstance(value, bool) and value not in _INT64:
        raise CelError("The result is an integer of more than 64 bits.")
    if isinstance(value, float) and not math.isfinite(value):
        raise CelError("The result is not a finite number.")
    if value is None or isinstance(value, str | int | float):
        return value
    raise CelError("The result is of a kind that JSON has not (bytes).")


def _size(value: Any) -> int:
    if isinstance(value, str | list | dict | bytes):
        return len(value)
    raise TypeError("`size` takes a text, a list or an object")


def _matches(text: Any, pattern: Any) -> bool:
    if not isinstance(text, str) or not isinstance(pattern, str):
        raise TypeError("`matches` takes a text and a pattern")
    return search(pattern, text)


def _string(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    raise TypeError("`string` takes a text, a number, a boolean, a time or bytes")


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise TypeError('`bool` takes a boolean, "true" or "false"')


_FUNCTIONS: dict[str, Callable[..., Any]] = {"_size": _size, "_matches": _matches, "string": _string, "bool": _bool}
