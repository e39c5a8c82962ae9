"""The shape of a definition: from a JSON document to a draft, with every problem of shape reported.

A draft holds what could be read. Names, types and values are checked against each other in ``typecheck``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dataflow.lib.errors import TASK_ERROR_CODES
from dataflow.lib.patterns import compile_pattern
from tasks_lib.base import MISSING, JsonValue, ValueType
from workflows.definition.bounds import DraftConcurrency, DraftForEach, parse_concurrency, parse_for_each
from workflows.definition.model import NO_RETRY, Input, Retry
from workflows.definition.monitoring import check_labels, check_monitoring
from workflows.definition.problems import Report, at, kind, shown
from workflows.definition.reader import Reader
from workflows.definition.values import check_literal, is_of_type, named

MAX_TITLE = 200
MAX_DESCRIPTION = 10_000
MAX_TASKS = 500
MAX_VALUES = 500
#: Seconds: 30 days.
MAX_SECONDS = 2_592_000
MAX_RETRIES = 100
MAX_TYPE_NAME = 200
MAX_CHECK_LENGTH = 100_000_000

_WORKFLOW = ("title", "description", "inputs", "tasks", "outputs", "monitoring", "timeout", "labels", "concurrency")
_CHECKS = ("enum", "minimum", "maximum", "min_length", "max_length", "pattern")
INPUT_FIELDS = ("name", "type", "description", "example", "required", "default", *_CHECKS)
_TASK = (
    "name",
    "type",
    "inputs",
    "outputs",
    "depends_on",
    "condition",
    "for_each",
    "concurrency",
    "on_item_failure",
    "retry",
    "timeout",
    "fallback",
    "continue_on_failure",
)
_RETRY = ("attempts", "delay", "multiplier", "max_delay", "max_duration", "jitter", "on", "except")


@dataclass(frozen=True, slots=True)
class Given:
    """A value given to an input of a task, and where."""

    name: str
    value: JsonValue
    pointer: str


@dataclass(frozen=True, slots=True)
class GivenInputs:
    """The values given to a task; ``complete`` is false when some could not be read."""

    values: list[Given] = field(default_factory=list)
    complete: bool = True


@dataclass(slots=True, kw_only=True)
class DraftTask:
    """A task as it was written."""

    index: int
    pointer: str
    name: str | None
    type: str | None
    inputs: GivenInputs = field(default_factory=GivenInputs)
    renames: list[Given] = field(default_factory=list)
    depends_on: list[Any] | None = None
    condition: JsonValue = MISSING
    for_each: DraftForEach | None = None
    retry: Retry = NO_RETRY
    timeout: float | None = None
    fallback_type: str | None = None
    fallback_inputs: GivenInputs = field(default_factory=GivenInputs)
    continue_on_failure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftOutput:
    """An output of the workflow as it was written."""

    pointer: str
    name: str | None
    type: ValueType | None
    value: JsonValue
    description: str


@dataclass(slots=True, kw_only=True)
class Draft:
    """A definition as far as it could be read. ``input_names`` are all names of inputs, good or not."""

    title: str = ""
    description: str = ""
    inputs: list[Input] = field(default_factory=list)
    input_pointers: dict[str, str] = field(default_factory=dict)
    tasks: list[DraftTask] = field(default_factory=list)
    outputs: list[DraftOutput] = field(default_factory=list)
    monitoring: dict[str, JsonValue] | None = None
    timeout: float | None = None
    labels: dict[str, str] = field(default_factory=dict)
    concurrency: DraftConcurrency | None = None


def parse(document: object, report: Report) -> Draft:
    """Read ``document``, reporting every problem of shape."""
    if not isinstance(document, dict):
        report.problem("", "wrong_type", f"A definition must be an object, not {kind(document)}.")
        return Draft()
    reader = Reader(report, document, "", _WORKFLOW, "A workflow")
    draft = Draft(
        title=reader.text("title", minimum=1, maximum=MAX_TITLE, required=True) or "",
        description=reader.text("description", maximum=MAX_DESCRIPTION) or "",
        timeout=reader.number("timeout", 0, MAX_SECONDS, positive=True),
    )
    for item, pointer in reader.objects("inputs", MAX_VALUES):
        parse_input(Reader(report, item, pointer, (*INPUT_FIELDS, "sensitive"), "An input"), draft)
    tasks: dict[str, str] = {}
    for item, pointer in reader.objects("tasks", MAX_TASKS, minimum=1, required=True):
        draft.tasks.append(_parse_task(Reader(report, item, pointer, _TASK, "A task"), tasks, len(draft.tasks)))
    outputs: dict[str, str] = {}
    for item, pointer in reader.objects("outputs", MAX_VALUES):
        known = ("name", "type", "value", "description")
        draft.outputs.append(_parse_output(Reader(report, item, pointer, known, "An output"), outputs))
    _parse_shared(reader, draft)
    return draft


def _parse_shared(reader: Reader, draft: Draft) -> None:
    if reader.has("monitoring"):
        reader.report.extend(check_monitoring(reader.value["monitoring"], reader.at("monitoring")))
        draft.monitoring = reader.value["monitoring"]
    if reader.has("labels"):
        reader.report.extend(check_labels(reader.value["labels"], reader.at("labels")))
        draft.labels = reader.value["labels"]
    draft.concurrency = parse_concurrency(reader)


def parse_input(reader: Reader, draft: Draft) -> None:
    """Read one input into ``draft``."""
    name = reader.name(draft.input_pointers)
    value_type = reader.value_type()
    found = len(reader.report.problems)
    made = Input(
        name=name or "",
        type=value_type or "any",
        description=reader.text("description", maximum=MAX_DESCRIPTION) or "",
        example=reader.value.get("example", MISSING),
        required=reader.boolean("required", default=True),
        default=reader.value.get("default", MISSING),
        enum=_enum(reader, value_type or "any"),
        minimum=_bound(reader, "minimum"),
        maximum=_bound(reader, "maximum"),
        min_length=reader.integer("min_length", 0, MAX_CHECK_LENGTH),
        max_length=reader.integer("max_length", 0, MAX_CHECK_LENGTH),
        pattern=_pattern(reader),
        sensitive=reader.boolean("sensitive", default=False),
    )
    if value_type is not None:
        _check_applicable(reader, value_type)
        if len(reader.report.problems) == found:
            _check_own_values(reader, made)
    if name is not None:
        draft.inputs.append(made)


def _enum(reader: Reader, value_type: ValueType) -> tuple[JsonValue, ...]:
    items = reader.items("enum", MAX_VALUES, minimum=1)
    for index, value in enumerate(items):
        if not is_of_type(value, value_type):
            detail = f"Every value of `enum` must be {named(value_type)}, not {kind(value)}."
            reader.report.problem(reader.at("enum", index), "wrong_type", detail)
    return tuple(items)


def _bound(reader: Reader, key: str) -> float | None:
    return reader.number(key, -1e308, 1e308)


def _pattern(reader: Reader) -> str | None:
    pattern = reader.text("pattern", maximum=1_000_000)
    if pattern is None:
        return None
    try:
        compile_pattern(pattern)
    except ValueError as error:
        hint = "Patterns are RE2: no look-around, no back references."
        reader.report.problem(reader.at("pattern"), "invalid_pattern", f"The pattern cannot be used: {error}.", hint)
        return None
    return pattern


def _check_applicable(reader: Reader, value_type: ValueType) -> None:
    """A check that can never apply is a mistake, and a range that nothing fits too."""
    for keys, wanted in ((("minimum", "maximum"), "number"), (("min_length", "max_length", "pattern"), "text")):
        for key in keys:
            if key in reader.value and value_type not in (wanted, "any"):
                detail = f"{shown(key)} is a check for {wanted}; this input is {named(value_type)}."
                reader.report.problem(reader.at(key), "not_applicable", detail)
    for low, high in (("minimum", "maximum"), ("min_length", "max_length")):
        least, most = reader.value.get(low), reader.value.get(high)
        if isinstance(least, int | float) and isinstance(most, int | float) and least > most:
            reader.report.problem(reader.at(low), "invalid_range", f"{shown(low)} is more than {shown(high)}.")


def _check_own_values(reader: Reader, made: Input) -> None:
    if made.sensitive and made.default not in (MISSING, None):
        detail = "Whoever may read the definition sees the default of this sensitive input."
        reader.report.warn(reader.at("default"), "sensitive_default", detail, "Use a secret: `{{secrets.NAME}}`.")
    if made.default is not MISSING:
        problems = check_literal(made.default, made, reader.at("default"), "default", made.pattern)
        reader.report.extend(problems)
    if made.example is not MISSING:
        for one in check_literal(made.example, made, reader.at("example"), "example", made.pattern):
            reader.report.warn(one.pointer, one.code, one.detail)


def _parse_task(reader: Reader, names: dict[str, str], index: int) -> DraftTask:
    fallback_type, fallback_inputs = _parse_fallback(reader)
    return DraftTask(
        index=index,
        pointer=reader.pointer,
        name=reader.name(names),
        type=reader.text("type", minimum=1, maximum=MAX_TYPE_NAME, required=True),
        inputs=_parse_given(reader),
        renames=_parse_renames(reader),
        depends_on=_parse_depends_on(reader),
        condition=reader.value.get("condition", MISSING),
        for_each=parse_for_each(reader),
        retry=_parse_retry(reader),
        timeout=reader.number("timeout", 0, MAX_SECONDS, positive=True),
        fallback_type=fallback_type,
        fallback_inputs=fallback_inputs,
        continue_on_failure=reader.boolean("continue_on_failure", default=False),
    )


def _parse_depends_on(reader: Reader) -> list[Any] | None:
    """The items; ``None`` when the field is missing, or no list (which is reported)."""
    items = reader.items("depends_on", MAX_TASKS)
    return items if isinstance(reader.value.get("depends_on"), list) else None


def _parse_given(reader: Reader) -> GivenInputs:
    """``inputs`` of a task or fallback: the object, or the list of names and values."""
    value = reader.value.get("inputs", {})
    if isinstance(value, dict):
        return GivenInputs([Given(str(name), item, reader.at("inputs", name)) for name, item in value.items()])
    if not isinstance(value, list):
        reader.wrong("inputs", "an object or a list")
        return GivenInputs(complete=False)
    given = []
    for item, pointer in reader.objects("inputs", MAX_VALUES):
        entry = Reader(reader.report, item, pointer, ("name", "value"), "An input of a task")
        name = entry.text("name", minimum=1, maximum=MAX_TYPE_NAME, required=True)
        if entry.has("value", required=True) and name is not None:
            given.append(Given(name, item["value"], at(pointer, "value")))
    return GivenInputs(given, complete=len(given) == len(value))


def _parse_renames(reader: Reader) -> list[Given]:
    renames, seen = [], dict[str, str]()
    for item, pointer in reader.objects("outputs", MAX_VALUES):
        entry = Reader(reader.report, item, pointer, ("name", "value"), "An output of a task")
        name = entry.name(seen)
        if entry.has("value", required=True) and name is not None:
            renames.append(Given(name, item["value"], pointer))
    return renames


def _parse_retry(reader: Reader) -> Retry:
    value = reader.value.get("retry", {})
    if not isinstance(value, dict):
        reader.wrong("retry", "an object")
        return NO_RETRY
    entry = Reader(reader.report, value, reader.at("retry"), _RETRY, "`retry`")
    read: dict[str, float | int | None] = {
        "attempts": entry.integer("attempts", 0, MAX_RETRIES),
        "delay": entry.number("delay", 0, MAX_SECONDS),
        "multiplier": entry.number("multiplier", 0, 1_000),
        "max_delay": entry.number("max_delay", 0, MAX_SECONDS),
        "max_duration": entry.number("max_duration", 0, MAX_SECONDS, positive=True),
        "jitter": entry.number("jitter", 0, 1),
    }
    known: dict[str, Any] = {key: number for key, number in read.items() if number is not None}
    return Retry(on=_error_codes(entry, "on"), except_=_error_codes(entry, "except"), **known)


def _error_codes(reader: Reader, key: str) -> tuple[str, ...]:
    codes = []
    for index, code in enumerate(reader.items(key, 100, minimum=1)):
        if isinstance(code, str) and code in TASK_ERROR_CODES:
            codes.append(code)
        else:
            known = sorted(TASK_ERROR_CODES)
            hint = reader.report.nearest(code, known) or f"Known codes: {', '.join(known)}."
            reader.report.problem(
                reader.at(key, index), "unknown_error_code", f"There is no error code {shown(code)}.", hint
            )
    return tuple(codes)


def _parse_fallback(reader: Reader) -> tuple[str | None, GivenInputs]:
    if not reader.has("fallback"):
        return None, GivenInputs()
    value = reader.value["fallback"]
    if not isinstance(value, dict):
        reader.wrong("fallback", "an object")
        return None, GivenInputs()
    entry = Reader(reader.report, value, reader.at("fallback"), ("task", "inputs"), "`fallback`")
    return entry.text("task", minimum=1, maximum=MAX_TYPE_NAME, required=True), _parse_given(entry)


def _parse_output(reader: Reader, names: dict[str, str]) -> DraftOutput:
    reader.has("value", required=True)
    return DraftOutput(
        pointer=reader.pointer,
        name=reader.name(names),
        type=reader.value_type(),
        value=reader.value.get("value", MISSING),
        description=reader.text("description", maximum=MAX_DESCRIPTION) or "",
    )
