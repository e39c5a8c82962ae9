"""Templates: JSON whose strings may hold ``{{expressions}}``, compiled once and rendered with a scope.

Decisions the specification leaves open:

- The bound of 1 MiB holds for every value that rendering makes. A plain ``{{tasks.a.outputs.b}}`` and nothing else
  makes none: it passes on what is there, so that a page of 5 MiB reaches the next task. Text counts as UTF-8 bytes.
- A null inside a longer string is an error, never the text "null" or nothing: write ``{{x == null ? "" : string(x)}}``.
  When the null comes from a task without outputs (skipped, or failed with ``continue_on_failure``), a whole value that
  holds it inside a text is null.
- CEL reads at most 16 MiB of data in one expression (a path that stands there twice counts twice), and integers of
  64 bits. A plain path passes on any integer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tasks_lib.base import JsonValue
from workflows.definition.cel import CelError, Program, compile_cel
from workflows.definition.problems import Report, at, nearest, shown
from workflows.definition.sizes import json_size, plain
from workflows.definition.tokens import (
    INDEX,
    MAX_EXPRESSION,
    ExpressionProblem,
    Path,
    expression_end,
    plain_path,
    spell,
    too_long,
)
from workflows.definition.values import is_file

MAX_RENDERED = 1024 * 1024
MAX_READ = 16 * 1024 * 1024
MAX_DEPTH = 60
_OUTPUTS = 2  # where `outputs` stands in `tasks.NAME.outputs`
#: Of one definition: compiling CEL costs a few microseconds a character.
MAX_EXPRESSIONS = 20_000
MAX_CEL_CHARACTERS = 200_000

#: Values by root: ``inputs``, ``tasks`` (each with ``status`` and ``outputs``), ``outputs``, ``execution``,
#: ``workflow``, ``secrets``, and for an item of a ``for_each`` task ``item`` and ``index``. One that is not there
#: cannot be used.
Scope = Mapping[str, Any]
Code = Literal["expression", "too_large", "validation"]


_PLAIN_TYPES = frozenset({str, int, float, bool, list, dict})


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


class _MissingError(Exception):
    """A null in a text that comes from a task without outputs."""


@dataclass(slots=True)
class _Run:
    """One rendering: the scope, and the tasks found to have no outputs."""

    scope: Scope
    missing: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Expression:
    """One expression: a plain path, or a CEL program."""

    source: str
    path: Path | None
    program: Program | None

    @property
    def spelled(self) -> str:
        """How it is called in messages: with its braces, cut when it is long."""
        return shown(f"{{{{{self.source}}}}}")

    @property
    def references(self) -> frozenset[Path]:
        """The paths it mentions."""
        if self.path is not None:
            return frozenset({self.path})
        assert self.program is not None
        return frozenset(self.program.reads.values()) | frozenset(self.program.asks.values())

    def evaluate(self, run: _Run) -> JsonValue:
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

    def _values(self, program: Program, run: _Run) -> dict[str, Any]:
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
                values[name] = resolve(path, _Run(run.scope)) is not None
            except ExpressionError:
                values[name] = False
        return values


def resolve(path: Path, run: _Run) -> JsonValue:
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


def _quick(path: Path, scope: Scope) -> JsonValue:
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


def _as_text(value: JsonValue, expression: Expression, run: _Run) -> str:
    """``value`` inside a longer string."""
    if isinstance(value, str):
        return value
    if value is None:
        if run.missing:
            raise _MissingError
        raise ExpressionError(f"{expression.spelled} is null, which has no place in a longer text.")
    if is_file(value):
        raise ExpressionError(f"{expression.spelled} is a file, which has no place in a longer text.")
    if json_size(value, MAX_RENDERED) > MAX_RENDERED:
        raise _too_large()
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=dict)
    except (ValueError, TypeError):
        raise ExpressionError(f"{expression.spelled} has a value that JSON has not.") from None


def _too_large() -> ExpressionError:
    return ExpressionError(
        f"The value is larger than {MAX_RENDERED:,} bytes, the most an expression may give.", "too_large"
    )


@dataclass(frozen=True, slots=True)
class _Mixed:
    """A string with expressions in it."""

    parts: tuple[str | Expression, ...]

    def render(self, run: _Run) -> str | None:
        pieces, size = [], 0
        for part in self.parts:
            try:
                piece = part if isinstance(part, str) else _as_text(part.evaluate(run), part, run)
            except _MissingError:
                return None
            size += len(piece)
            if size > MAX_RENDERED:
                raise _too_large()
            pieces.append(piece)
        return "".join(pieces)


def _render(node: Any, run: _Run) -> JsonValue:
    if isinstance(node, Expression):
        return node.evaluate(run)
    if isinstance(node, _Mixed):
        return node.render(run)
    if isinstance(node, list):
        return [_render(item, run) for item in node]
    if isinstance(node, dict):
        return {key: _render(item, run) for key, item in node.items()}
    return node


def _expressions(node: Any) -> Iterator[tuple[Expression, bool]]:
    """Every expression, and whether it stands inside a longer string."""
    if isinstance(node, Expression):
        yield node, False
    elif isinstance(node, _Mixed):
        yield from ((part, True) for part in node.parts if isinstance(part, Expression))
    elif isinstance(node, list | dict):
        for item in node.values() if isinstance(node, dict) else node:
            yield from _expressions(item)


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """A JSON value whose strings may hold expressions. ``literal`` is the value as written."""

    literal: JsonValue
    expressions: tuple[Expression, ...]
    #: Those of ``expressions`` that stand inside a longer string.
    in_text: tuple[Expression, ...]
    references: frozenset[Path]
    _node: Any = field(repr=False)
    _path: Path | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Remember the path of a template that is one plain reference and nothing else."""
        object.__setattr__(self, "_path", self._node.path if isinstance(self._node, Expression) else None)

    @property
    def is_constant(self) -> bool:
        """Whether there is no expression in it."""
        return not self.expressions

    @property
    def expression(self) -> Expression | None:
        """The expression, when the template is one expression and nothing else."""
        return self._node if isinstance(self._node, Expression) else None

    @property
    def is_text(self) -> bool:
        """Whether it is a string with expressions inside: always rendered to text."""
        return isinstance(self._node, _Mixed)

    def render(self, scope: Scope) -> JsonValue:
        """The value with every expression replaced, once. Raises ``ExpressionError``."""
        return self.render_with_missing(scope)[0]

    def render_with_missing(self, scope: Scope) -> tuple[JsonValue, tuple[str, ...]]:
        """As ``render``, with the names of the tasks without outputs that it read."""
        if not self.expressions:
            return self.literal, ()
        # A plain reference makes nothing new: a page of 5 MiB goes from task to task as it is, under other bounds.
        if self._path is not None and (value := _quick(self._path, scope)) is not None:
            return value, ()
        run = _Run(scope)
        value = _render(self._node, run)
        if self._path is None and json_size(value, MAX_RENDERED) > MAX_RENDERED:
            raise _too_large()
        return value, tuple(run.missing)


def compile_expression(source: str, report: Report) -> Expression:
    """Compile what stands between ``{{`` and ``}}``. Raises ``ExpressionProblem``."""
    stripped = source.strip()
    if len(stripped) > MAX_EXPRESSION:
        raise too_long()
    path = plain_path(stripped)
    report.expressions += 1
    report.cel_characters += 0 if path is not None else len(stripped)
    if report.expressions > MAX_EXPRESSIONS or report.cel_characters > MAX_CEL_CHARACTERS:
        raise ExpressionProblem(
            "too_many", "The definition has too many expressions.", "Compute values once, in a task."
        )
    return Expression(stripped, path, None if path is not None else compile_cel(stripped))


def _compile_text(text: str, report: Report) -> str | Expression | _Mixed:
    parts: list[str | Expression] = []
    position = 0
    while (start := text.find("{{", position)) >= 0:
        end = expression_end(text, start + 2)
        if start > position:
            parts.append(text[position:start])
        parts.append(compile_expression(text[start + 2 : end], report))
        position = end + 2
    if position < len(text):
        parts.append(text[position:])
    if not parts:
        return text
    if len(parts) == 1:
        return parts[0]
    return _Mixed(tuple(parts))


def compile_template(value: JsonValue, pointer: str, report: Report) -> Template | None:
    """Compile a JSON literal found at ``pointer``; problems go to ``report``, ``None`` when there are any."""
    before = len(report.problems)
    node = _compile(value, pointer, report, 0)
    if len(report.problems) > before:
        return None
    return _template(value, node)


def compile_bare(source: str, pointer: str, report: Report) -> Template | None:
    """As ``compile_template``, from an expression without braces."""
    try:
        return _template(source, compile_expression(source, report))
    except ExpressionProblem as error:
        report.problem(pointer, error.code, error.message, error.hint)
        return None


def _template(value: JsonValue, node: Any) -> Template:
    found = list(_expressions(node))
    references = frozenset(path for expression, _ in found for path in expression.references)
    in_text = tuple(expression for expression, inside in found if inside)
    return Template(value, tuple(expression for expression, _ in found), in_text, references, node)


def _compile(value: Any, pointer: str, report: Report, depth: int) -> Any:
    if depth > MAX_DEPTH:
        report.problem(pointer, "too_deep", f"A value nests at most {MAX_DEPTH} deep.")
        return None
    if isinstance(value, list):
        return [_compile(item, at(pointer, index), report, depth + 1) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {key: _compile(item, at(pointer, key), report, depth + 1) for key, item in value.items()}
    if not isinstance(value, str) or "{{" not in value:
        return value
    try:
        return _compile_text(value, report)
    except ExpressionProblem as error:
        report.problem(pointer, error.code, error.message, error.hint)
        return None
