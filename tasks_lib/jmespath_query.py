"""JMESPath within bounds. It loads the library (0.1 s): import it where a query is compiled or run.

What the library leaves open, and an expression of a hundred characters can use: values that share their parts
(``[@, @] | [@, @] | …`` doubles at every step), texts that double (``join``), a parser and an interpreter that recurse.
So every step of the interpreter costs one unit, and what is built, compared or handed to a function costs its size;
a query that costs more than ``MAX_WORK`` is stopped before it builds anything larger than that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from jmespath.exceptions import (
    EmptyExpressionError,
    JMESPathError,
    JMESPathTypeError,
    LexerError,
    ParseError,
)
from jmespath.functions import Functions, signature
from jmespath.parser import Parser
from jmespath.visitor import Options, TreeInterpreter

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from dataflow.lib.sizes import json_size
from dataflow.lib.wording import nearest, shown
from tasks_lib.base import JsonValue
from tasks_lib.texts import MAX_TEXT, require_length

#: Characters of a query.
MAX_QUERY = 2_000
#: Levels of its tree: the library recurses.
MAX_DEPTH = 60
#: Steps, and values handed over; ``_CHARACTERS`` of a text count as one.
MAX_WORK = 10_000_000
_CHARACTERS = 32
#: Units between two looks at the cancellation.
_LOOK_EVERY = 20_000

#: The functions that take an expression such as ``&price``.
_TAKE_EXPRESSIONS = frozenset({"map", "sort_by", "min_by", "max_by"})

Node = dict[str, Any]


class _Parser(Parser):  # type: ignore[misc]  # the library has no types
    """The library's, without its cache: it would keep what hostile queries leave."""

    _CACHE: dict[str, Any] = {}
    _MAX_SIZE = 0


def compile_query(source: str) -> Node:
    """The tree of a query. Raises ``ValueError`` that says what is wrong with it, and where."""
    if len(source) > MAX_QUERY:
        raise ValueError(f"A query has at most {MAX_QUERY:,} characters, not {len(source):,}.")
    try:
        tree: Node = _Parser().parse(source).parsed
    except EmptyExpressionError:
        raise ValueError("The query is empty; `@` stands for the whole value.") from None
    except LexerError as error:
        raise ValueError(f"The query cannot be read at offset {error.lexer_position}: {error.message}.") from None
    except ParseError as error:
        what = f"{shown(error.token_value)} does not fit there" if error.token_value else "it ends too early"
        raise ValueError(f"The query cannot be read at offset {error.lex_position}: {what}.") from None
    except RecursionError:
        raise ValueError(f"The query nests more than {MAX_DEPTH} levels deep.") from None
    _check_tree(tree)
    return tree


def _check_tree(tree: Node) -> None:
    pending = [(tree, 1)]
    while pending:
        node, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise ValueError(f"The query nests more than {MAX_DEPTH} levels deep; pipes and operators nest as well.")
        known = Functions.FUNCTION_TABLE
        if node["type"] == "function_expression" and node["value"] not in known:
            hint = nearest(node["value"], known)
            raise ValueError(f"There is no function {shown(node['value'])} in JMESPath. {hint}".rstrip())
        children = [child for child in node["children"] if isinstance(child, dict)]
        if node.get("value") not in _TAKE_EXPRESSIONS or node["type"] != "function_expression":
            _refuse_expressions([node, *children] if depth == 1 else children)
        pending.extend((child, depth + 1) for child in children)


def _refuse_expressions(nodes: Iterable[Node]) -> None:
    """``&x`` is no value: the library would give back an object of its own."""
    if any(node["type"] == "expref" for node in nodes):
        raise ValueError(f"`&` stands in an argument of {', '.join(sorted(_TAKE_EXPRESSIONS))} only.")


def run_query(tree: Node, value: JsonValue, cancellation: Cancellation) -> JsonValue:
    """What the query finds in ``value``, ``None`` for nothing. Raises ``TaskError``."""
    try:
        return _Interpreter(_Work(cancellation)).visit(tree, value)
    except JMESPathTypeError as error:
        wanted = ", ".join(kind.removeprefix("array-") for kind in error.expected_types)
        message = f"`{error.function_name}()` takes {wanted}, not {error.actual_type}."
    except JMESPathError as error:
        message = f"{error}."
    # These are what the library raises for the fault of a query or of its data: "a" < 1, [::0], ceil of infinity.
    except (TypeError, ValueError, ArithmeticError) as error:
        message = f"The query failed: {error}."
    raise TaskError("expression", message)


class _Work:
    """Counts what one run costs."""

    def __init__(self, cancellation: Cancellation) -> None:
        self._cancellation = cancellation
        self._left = MAX_WORK
        self._look_at = MAX_WORK

    def charge(self, units: int) -> None:
        """Raise ``TaskError('too_large')`` when it is too much."""
        self._left -= units
        if self._left < 0:
            message = "The query does too much work, or builds too much, for one task. Filter first, or use data.map."
            raise TaskError("too_large", message)
        if self._left <= self._look_at:
            self._look_at = self._left - _LOOK_EVERY
            self._cancellation.check()

    def weigh(self, value: Any) -> None:
        """Charge for every value in ``value``, as often as it stands there."""
        pending, units = [value], 0
        while pending:
            item = pending.pop()
            units += 1
            if isinstance(item, str):
                units += len(item) // _CHARACTERS
            elif isinstance(item, list):
                pending.extend(item)
            elif isinstance(item, dict):
                pending.extend(item.values())
            if units > _LOOK_EVERY:
                self.charge(units)
                units = 0
        self.charge(units)


class _Interpreter(TreeInterpreter):  # type: ignore[misc]  # the library has no types
    """The library's, counting."""

    def __init__(self, work: _Work) -> None:
        super().__init__(Options(custom_functions=_Functions(work)))
        self._work = work
        self.COMPARATOR_FUNC = {
            name: self._weighed(compare) for name, compare in TreeInterpreter.COMPARATOR_FUNC.items()
        }

    def _weighed(self, compare: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def weighed(left: Any, right: Any) -> Any:
            if isinstance(left, list | dict) and isinstance(right, list | dict):
                self._work.weigh(left)
            return compare(left, right)

        return weighed

    def visit(self, node: Node, *args: Any, **kwargs: Any) -> Any:
        self._work.charge(1)
        return super().visit(node, *args, **kwargs)

    def visit_multi_select_list(self, node: Node, value: Any) -> Any:
        made = super().visit_multi_select_list(node, value)
        self._work.weigh(made)
        return made

    def visit_multi_select_dict(self, node: Node, value: Any) -> Any:
        made = super().visit_multi_select_dict(node, value)
        self._work.weigh(made)
        return made

    def visit_flatten(self, node: Node, value: Any) -> Any:
        base = self.visit(node["children"][0], value)
        if not isinstance(base, list):
            return None
        self._work.charge(sum(len(item) if isinstance(item, list) else 1 for item in base))
        return [one for item in base for one in (item if isinstance(item, list) else [item])]

    def visit_slice(self, node: Node, value: Any) -> Any:
        self._work.charge(len(value) if isinstance(value, list) else 1)
        return super().visit_slice(node, value)


class _Functions(Functions):  # type: ignore[misc]  # the library has no types
    """The library's functions: what they are given is weighed first."""

    def __init__(self, work: _Work) -> None:
        self._work = work

    def call_function(self, function_name: str, resolved_args: list[Any]) -> Any:
        for one in resolved_args:
            self._work.weigh(one)
        return super().call_function(function_name, resolved_args)

    @signature({"types": ["string"]}, {"types": ["array-string"]})  # type: ignore[untyped-decorator]  # the library has no types
    def _func_join(self, separator: str, array: list[str]) -> str:
        require_length(sum(map(len, array)) + len(separator) * len(array))
        return separator.join(array)

    @signature({"types": []})  # type: ignore[untyped-decorator]  # the library has no types
    def _func_to_string(self, arg: Any) -> Any:
        require_length(json_size(arg, MAX_TEXT))
        return super()._func_to_string(arg)
