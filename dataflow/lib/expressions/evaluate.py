"""One expression, evaluated against a scope: a plain path by our own hand, all else by CEL.

CEL reads at most 16 MiB of data in one expression (a path that stands there twice counts twice), and integers of 64
bits. A plain path passes on any integer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dataflow.lib.expressions.cel import CelError, Program, compile_cel
from dataflow.lib.expressions.tokens import INDEX, MAX_EXPRESSION, Path, plain_path, spell, too_long
from dataflow.lib.jsonvalues import JsonValue
from dataflow.lib.sizes import plain
from dataflow.lib.wording import nearest, shown

MAX_READ = 16 * 1024 * 1024
_OUTPUTS = 2  # where `outputs` stands in `tasks.NAME.outputs`
_PLAIN_TYPES = frozenset({str, int, float, bool, list, dict})

#: Values by root, such as ``inputs`` or ``item``. One that is not there cannot be used.
Scope = Mapping[str, Any]


class ExpressionError(Exception):
    """A template that cannot be rendered. ``code`` is a code of a task error.

    ``missing`` names the tasks without outputs (skipped, or failed but continued) that it read.
    """

    def __init__(
        self,
        message: str,
        code: Literal["expression", "too_large", "validation"] = "expression",
        missing: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message, self.code, self.missing = message, code, missing


@dataclass(slots=True)
class Run:
    """One rendering: the scope, and the tasks found to have no outputs."""

    scope: Scope
    missing: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Expression:
    """One expression: a plain path, or a CEL program."""

    source: str
    path: Path | None
    program: Program | None
    #: Whether it is written without braces.
    is_bare: bool = False

    @property
    def spelled(self) -> str:
        """How it is called in messages: as it is written, cut when it is long."""
        return shown(self.source if self.is_bare else f"{{{{{self.source}}}}}")

    @property
    def references(self) -> frozenset[Path]:
        """The paths it mentions."""
        if self.path is not None:
            return frozenset({self.path})
        assert self.program is not None
        return frozenset(self.program.reads.values()) | frozenset(self.program.asks.values())

    def evaluate(self, run: Run) -> JsonValue:
        """Its value. Raises ``ExpressionError``."""
        if self.path is not None:
            return resolve(self.path, run)
        assert self.program is not None
        values = self._values(self.program, run)
        try:
            return self.program.run(values)
        except CelError as error:
            text = f"{self.spelled} failed: {error}"
            raise ExpressionError(text, missing=tuple(run.missing)) from None

    def _values(self, program: Program, run: Run) -> dict[str, Any]:
        values: dict[str, Any] = {}
        budget = MAX_READ
        for name, path in program.reads.items():
            try:
                values[name], used = plain(resolve(path, run), budget // program.uses[name])
            except ExpressionError as error:
                if error.code == "too_large":
                    raise
                continue  # undefined: an error only if the program reads it
            except OverflowError:
                text = (
                    f"{shown(spell(path))} holds an integer of more than 64 bits, which only a plain path can pass on."
                )
                raise ExpressionError(text) from None
            except ValueError as error:
                text = f"{shown(spell(path))} cannot be read by an expression: {error}."
                raise ExpressionError(text, "too_large") from None
            budget -= used * program.uses[name]
        for name, path in program.asks.items():
            try:
                values[name] = resolve(path, Run(run.scope)) is not None
            except ExpressionError:
                values[name] = False
        return values


def compile_source(source: str, *, is_bare: bool = False) -> Expression:
    """Compile what stands between ``{{`` and ``}}``. Raises ``ExpressionProblem``."""
    stripped = source.strip()
    if len(stripped) > MAX_EXPRESSION:
        raise too_long()
    path = plain_path(stripped)
    return Expression(stripped, path, None if path is not None else compile_cel(stripped), is_bare)


def resolve(path: Path, run: Run) -> JsonValue:
    """The value at ``path``, by ``[]`` and ``in`` alone. Raises ``ExpressionError`` that names the path."""
    value: Any = run.scope
    for depth, one in enumerate(path):
        part = run.scope.get("index") if one is INDEX else one
        if isinstance(part, str) and isinstance(value, Mapping) and part in value:
            value = value[part]
            if value is None and depth == _OUTPUTS and path[0] == "tasks" and part == "outputs":
                run.missing[str(path[1])] = None
                return None
        elif isinstance(part, int) and isinstance(value, list) and part < len(value):
            value = value[part]
        else:
            raise ExpressionError(_no_such(path, depth, value))
    return value if not isinstance(value, Mapping) or isinstance(value, dict) else dict(value)


def quick(path: Path, scope: Scope) -> JsonValue:
    """The value at ``path`` where it is there and is plain JSON; ``None`` where ``resolve`` must look (or it is null).

    A few times faster, for the case that nearly every step of every execution is.
    """
    value: Any = scope
    try:
        for part in path:
            if type(value) is str:  # of which `[0]` would be a character
                return None
            value = value[scope["index"] if part is INDEX else part]
    except (LookupError, TypeError):
        return None
    return value if type(value) in _PLAIN_TYPES else None


def _no_such(path: Path, depth: int, value: object) -> str:
    whole = shown(spell(path))
    if depth == 0:
        return f"{whole}: there is no {shown(path[0])} here."
    parent = shown(spell(path[:depth]))
    if isinstance(value, list):
        return f"{whole} does not exist: {parent} is a list of {len(value)}."
    if isinstance(value, Mapping):
        hint = nearest(path[depth], [key for key in list(value)[:200] if isinstance(key, str)])
        return f"{whole} does not exist. {hint}".rstrip()
    return f"{whole} does not exist: {parent} is {'null' if value is None else 'a plain value'}."
