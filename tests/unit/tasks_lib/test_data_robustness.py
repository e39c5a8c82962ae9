"""Whatever the inputs, a data type gives outputs of its description that can be stored, or a ``TaskError``."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflow.lib.errors import TaskError
from dataflow.lib.jsonvalues import clean_json
from tasks_lib import registry
from tasks_lib.base import Field, TaskType
from tests.stubs.context import StubContext, run
from workflows.definition.values import broken_checks, is_of_type

#: The JMESPath library takes `x` for a text, as it once did, and says so to its own authors.
pytestmark = pytest.mark.filterwarnings("ignore:deprecated string literal syntax:PendingDeprecationWarning")

NAMES = (
    "json.parse json.query csv.parse csv.write data.map data.filter data.sort data.group "
    "text.template text.split text.join text.replace text.regex text.hash"
).split()
#: Pieces of what these types read: most random text is refused at the first character.
PIECES = (
    '", " \\ \\1 \\g<n> $a ${a.0} $$ {{ }} [ ] { } ( ) (?P<n>a) * + ? | . ^ $ , ; : @ & ! = == < item index .a [0] ["a"] '
    "has( size( `1` ``` a b 1 -1 1e9 1e999 true null NaN é 😀 e\u0301 \u2028 \ufeff =1 '"
).split(" ")
TEXTS = st.text(max_size=20) | st.lists(st.sampled_from([*PIECES, " ", "\n", "\r", "\t"]), max_size=12).map("".join)
STORABLE = TEXTS.filter(lambda text: clean_json(text) == text)
NUMBERS = st.integers(-3, 10) | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | STORABLE
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(STORABLE, inner, max_size=4), max_leaves=12
)
KINDS: Mapping[str, Any] = {
    "text": STORABLE,
    "number": NUMBERS,
    "boolean": st.booleans(),
    "object": st.dictionaries(STORABLE, VALUES, max_size=4),
    "list": st.lists(VALUES, max_size=6),
    "any": VALUES.filter(lambda value: value is not None),
}


def wanted(field: Field) -> Any:
    """Values that the platform would let through to the task."""
    values = st.sampled_from(field.enum) if field.enum else KINDS[field.type]
    return values.filter(lambda value: not broken_checks(value, field))


def inputs_of(task_type: TaskType) -> Any:
    fields = [field for field in task_type.inputs if field.type != "file"]
    required = {field.name: wanted(field) for field in fields if field.required or field.name == "text"}
    optional = {field.name: wanted(field) for field in fields if field.name not in required}
    return st.fixed_dictionaries(required, optional=optional)


def run_or_fail(
    task_type: TaskType, folder: str, inputs: Mapping[str, Any]
) -> tuple[Mapping[str, Any], TaskError | None]:
    try:
        return run(task_type, StubContext(Path(folder)), **inputs), None
    except TaskError as error:
        return {}, error


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(data=st.data())
def test_any_inputs(name: str, data: st.DataObject) -> None:
    task_type = registry.load().types[name]
    inputs = data.draw(inputs_of(task_type))
    before = repr(inputs)
    with tempfile.TemporaryDirectory() as folder:
        outputs, error = run_or_fail(task_type, folder, inputs)
    if error is not None:
        assert error.code in ("validation", "expression", "too_large")
        assert error.message
        assert not error.retryable
    assert repr(inputs) == before, "a task changes nothing of what it was given"
    for field in task_type.outputs:
        value = clean_json(outputs.get(field.name))
        assert value is None or is_of_type(value, field.type)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(data=st.data())
def test_the_check_of_any_literals(name: str, data: st.DataObject) -> None:
    task_type = registry.load().types[name]
    names = {field.name for field in task_type.inputs}
    literals = data.draw(inputs_of(task_type))
    for place, said in task_type.check(literals):
        assert place in names
        assert said
