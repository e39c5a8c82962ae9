"""Templates: JSON whose strings may hold ``{{expressions}}``, compiled once and rendered with a scope.

Decisions the specification leaves open:

- The bound of 1 MiB holds for every value that rendering makes. A plain ``{{tasks.a.outputs.b}}`` and nothing else
  makes none: it passes on what is there, so that a page of 5 MiB reaches the next task. Text counts as UTF-8 bytes.
- A null inside a longer string is an error, never the text "null" or nothing: write ``{{x == null ? "" : string(x)}}``.
  When the null comes from a task without outputs (skipped, or failed with ``continue_on_failure``), a whole value that
  holds it inside a text is null.

A scope holds values by root: ``inputs``, ``tasks`` (each with ``status`` and ``outputs``), ``outputs``, ``execution``,
``workflow``, ``secrets``, and for an item of a ``for_each`` task ``item`` and ``index``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from dataflow.lib.expressions.evaluate import Expression, ExpressionError, Run, Scope, compile_source, quick
from dataflow.lib.expressions.tokens import INDEX, MAX_EXPRESSION, ExpressionProblem, Path, expression_end, plain_path
from dataflow.lib.sizes import json_size
from tasks_lib.base import JsonValue
from workflows.definition.problems import Report, at
from workflows.definition.values import is_file

MAX_RENDERED = 1024 * 1024
MAX_DEPTH = 60
#: Of one definition: compiling CEL costs a few microseconds a character.
MAX_EXPRESSIONS = 20_000
MAX_CEL_CHARACTERS = 200_000


class _MissingError(Exception):
    """A null in a text that comes from a task without outputs."""


def _as_text(value: JsonValue, expression: Expression, run: Run) -> str:
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

    def render(self, run: Run) -> str | None:
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


def _render(node: Any, run: Run) -> JsonValue:
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

    @property
    def chooses_by_item(self) -> bool:
        """Whether which tasks it needs may differ from item to item: an expression of it reads of both."""
        return any(
            "tasks" in {path[0] for path in one.references}
            and any(path[0] in ("item", "index") or INDEX in path for path in one.references)
            for one in self.expressions
        )

    def render(self, scope: Scope) -> JsonValue:
        """The value with every expression replaced, once. Raises ``ExpressionError``."""
        return self.render_with_missing(scope)[0]

    def render_with_missing(self, scope: Scope) -> tuple[JsonValue, tuple[str, ...]]:
        """As ``render``, with the names of the tasks without outputs that it read."""
        if not self.expressions:
            return self.literal, ()
        # A plain reference makes nothing new: a page of 5 MiB goes from task to task as it is, under other bounds.
        if self._path is not None and (value := quick(self._path, scope)) is not None:
            return value, ()
        run = Run(scope)
        value = _render(self._node, run)
        if self._path is None and json_size(value, MAX_RENDERED) > MAX_RENDERED:
            raise _too_large()
        return value, tuple(run.missing)


def compile_expression(source: str, report: Report) -> Expression:
    """Compile what stands between ``{{`` and ``}}``. Raises ``ExpressionProblem``."""
    stripped = source.strip()
    report.expressions += 1
    report.cel_characters += 0 if plain_path(stripped) is not None else min(len(stripped), MAX_EXPRESSION)
    if report.expressions > MAX_EXPRESSIONS or report.cel_characters > MAX_CEL_CHARACTERS:
        raise ExpressionProblem(
            "too_many", "The definition has too many expressions.", "Compute values once, in a task."
        )
    return compile_source(stripped)


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
