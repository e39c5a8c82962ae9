"""Any JSON value, anywhere, gives problems and never an exception; and it does so fast."""

from __future__ import annotations

import contextlib
import copy
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.definition import (
    Checked,
    ExpressionError,
    check,
    check_inputs,
    check_labels,
    check_monitoring,
    plan_of,
)
from workflows.definition.expressions import compile_template
from workflows.definition.problems import MAX_PROBLEMS, Report

CheckTasks = Callable[..., Checked]
FULL: dict[str, Any] = {
    "title": "All",
    "description": "d",
    "inputs": [
        {"name": "n", "type": "number", "description": "i", "example": 3, "required": False, "minimum": 1, "maximum": 9, "enum": [3, 4]},
        {"name": "s", "type": "text", "default": "ab", "min_length": 1, "max_length": 3, "pattern": "^a"},
    ],
    "tasks": [
        {"name": "p", "type": "web.download", "inputs": [{"name": "url", "value": "{{inputs.s}}"}, {"name": "headers", "value": {"a": ["{{inputs.n}}"]}}]},
        {
            "name": "a",
            "type": "text.echo",
            "inputs": {"text": "{{inputs.s}} {{size(tasks.p.outputs.html)}}"},
            "outputs": [{"name": "copy", "value": "{{outputs.text}}"}],
            "depends_on": ["p"],
            "condition": "inputs.n > 1",
            "retry": {"attempts": 3, "delay": 2, "multiplier": 2, "max_delay": 9, "max_duration": 60, "jitter": 0, "on": ["timeout"], "except": ["validation"]},
            "timeout": 5,
            "fallback": {"task": "echo", "inputs": {"text": "x"}},
            "continue_on_failure": True,
        },
    ],
    "outputs": [{"name": "o", "type": "text", "value": "{{tasks.a.outputs.copy}}", "description": "od"}],
    "monitoring": {"webhook": {"url": "https://example.com/", "events": ["task"], "secret": "x"}},
    "timeout": 60,
    "labels": {"team": "x"},
}  # fmt: skip
NAMES = st.sampled_from(
    ["a", "p", "s", "text", "inputs", "{{inputs.s}}", "{{", "tasks.a", "text.echo", "number", "", "\x00", "\ud800"]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | NAMES
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4) | NAMES, inner, max_size=4),
    max_leaves=12,
)


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    steps: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        steps = list(value.items())
    elif isinstance(value, list):
        steps = list(enumerate(value))
    return [prefix, *(path for key, inner in steps for path in paths(inner, (*prefix, key)))]


PATHS = paths(FULL)


def points_somewhere(pointer: str) -> bool:
    """RFC 6901: empty, or parts after slashes, with ~ only as ~0 and ~1."""
    return pointer == "" or (pointer.startswith("/") and "~" not in pointer.replace("~0", "").replace("~1", ""))


def assert_sound(result: Checked) -> None:
    assert (result.definition is None) == bool(result.problems)
    for one in (*result.problems, *result.warnings):
        assert one.code
        assert one.detail
        assert points_somewhere(one.pointer)
        json.dumps(one.as_json(), ensure_ascii=False).encode()  # can be sent
    if result.definition is not None:
        plan_of(result.definition)


def test_the_document_to_change_is_good(checked: Callable[[object], Checked]) -> None:
    assert checked(FULL).problems == ()


@given(document=VALUES)
def test_any_value_as_a_document(catalogue: Any, document: Any) -> None:
    assert_sound(check(document, catalogue))


@settings(max_examples=400, deadline=None)
@given(changes=st.lists(st.tuples(st.sampled_from(PATHS), VALUES), min_size=1, max_size=3), extra=st.text(max_size=4))
def test_any_value_in_any_place(catalogue: Any, changes: list[tuple[tuple[Any, ...], Any]], extra: str) -> None:
    document: Any = copy.deepcopy(FULL)
    for path, value in changes:
        parent = document
        try:
            for part in path[:-1]:
                parent = parent[part]
            if path:
                parent[path[-1]] = value
                parent[extra] = value
        except (TypeError, KeyError, IndexError):
            continue  # an earlier change took the place away
    assert_sound(check(document, catalogue))


@given(value=VALUES)
def test_any_value_for_what_executions_give(catalogue: Any, value: Any) -> None:
    definition = check(FULL, catalogue).definition
    assert definition is not None
    problems = check_inputs(definition, value)[1] + check_inputs(definition, {"n": value, "s": value})[1]
    for one in (
        *problems,
        *check_monitoring(value, "/m"),
        *check_monitoring({"webhook": value}, "/m"),
        *check_labels(value, "/l"),
    ):
        assert points_somewhere(one.pointer)


PIECES = st.sampled_from(
    ["{{", "}}", "inputs", ".s", ".n", "[0]", '["k"]', "'", '"', "\\", "(", ")", "{", "}", " ", "+", "?", ":", "size(", "has(", ".map(", "//", "1", "-", "x", "é", "\n", "'''", "r'", "\x00"]
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(pieces=st.lists(PIECES, max_size=14), wrap=st.booleans())
def test_any_text_as_a_template(pieces: list[str], *, wrap: bool) -> None:
    text = "{{" + "".join(pieces) + "}}" if wrap else "".join(pieces)
    template = compile_template(text, "", Report())
    if template is None:
        return
    with contextlib.suppress(ExpressionError):
        json.dumps(template.render({"inputs": {"s": "text", "n": [1, {"k": None}]}}), allow_nan=False)


def echo(number: int, text: str = "x", **more: Any) -> dict[str, Any]:
    return {"name": f"t{number}", "type": "text.echo", "inputs": {"text": text}, **more}


SLOW = {
    "a chain": [echo(n, f"{{{{tasks.t{n - 1}.outputs.text}}}}" if n else "x") for n in range(500)],
    "a chain by depends_on, from the end": [echo(n, depends_on=[f"t{n + 1}"] if n < 499 else []) for n in range(500)],
    "everything waits for all before": [echo(n, depends_on=[f"t{other}" for other in range(n)]) for n in range(500)],
    "forward references": [
        echo(n, f"{{{{tasks.t{n + 1}.outputs.text}}}}", depends_on=[f"t{n + 1}"] if n < 498 else []) for n in range(499)
    ],
    "one large cycle": [echo(n, depends_on=[f"t{(n + 1) % 500}"]) for n in range(500)],
    "misspelt everywhere": [echo(n, f"{{{{tasks.tt{n}.outputs.textt}}}}") | {"type": "text.ehco"} for n in range(500)],
    "an expression each": [echo(n, f"{{{{size(execution.id) > {n} ? 'a' : 'b'}}}}") for n in range(500)],
    "many braces": [echo(0, "{{1}}" * 100_000)],
    "long strings": [echo(0, "{" * 1_000_000), echo(1, "{{'" * 100_000)],
    "many unknown fields": [echo(0) | {f"f{n}": n for n in range(20_000)}],
}


@pytest.mark.parametrize("name", SLOW)
def test_large_definitions_are_checked_fast(check_tasks: CheckTasks, name: str) -> None:
    check_tasks(echo(0, "{{1 + 1}}"))  # loads the CEL library
    times = []
    for _ in range(3):  # the machine is shared: one quick run of three is proof enough
        started = time.perf_counter()
        result = check_tasks(*SLOW[name])
        times.append(time.perf_counter() - started)
        assert_sound(result)
        assert len(result.problems) <= MAX_PROBLEMS + 1
    assert min(times) < 1.0


@pytest.mark.parametrize("depth", [50, 500])
def test_deep_nesting(check_tasks: CheckTasks, depth: int) -> None:
    value: Any = "{{execution.id}}"
    for _ in range(depth):
        value = [value]
    task = {"name": "a", "type": "web.download", "inputs": {"url": "x", "tags": value}}
    assert [one.code for one in check_tasks(task).problems] == ([] if depth == 50 else ["too_deep"])
