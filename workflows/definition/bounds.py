"""The shape of what bounds a workflow: ``for_each`` of a task, and ``concurrency`` of the whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast, get_args

from tasks_lib.base import MISSING, JsonValue
from workflows.definition.model import OnItemFailure, OnLimit
from workflows.definition.problems import kind, shown
from workflows.definition.reader import Reader

MAX_ITEMS_AT_ONCE = 1_000
MAX_LIMIT = 10_000
DEFAULT_ITEMS_AT_ONCE = 10


@dataclass(frozen=True, slots=True)
class DraftForEach:
    """``for_each`` and its settings as written; ``value`` is ``MISSING`` when it can be no list."""

    value: JsonValue
    concurrency: int
    on_item_failure: OnItemFailure


@dataclass(frozen=True, slots=True)
class DraftConcurrency:
    """``concurrency`` of a workflow as written; ``key`` is ``MISSING`` when there is none that can be used."""

    limit: int
    key: JsonValue
    on_limit: OnLimit


def parse_for_each(reader: Reader) -> DraftForEach | None:
    """The ``for_each`` of a task; ``concurrency`` and ``on_item_failure`` say nothing without it."""
    if not reader.has("for_each"):
        for key in ("concurrency", "on_item_failure"):
            if key in reader.value:
                detail = f"{shown(key)} is for a task with `for_each`; this one has none."
                hint = "To limit executions, give the workflow a `concurrency`." if key == "concurrency" else ""
                reader.report.problem(reader.at(key), "not_applicable", detail, hint)
        return None
    value = reader.value["for_each"]
    if not isinstance(value, list) and not (isinstance(value, str) and "{{" in value):
        detail = "`for_each` must be a list, or one expression that gives one"
        detail += "." if isinstance(value, str) else f", not {kind(value)}."
        reader.report.problem(reader.at("for_each"), "wrong_type", detail, "Write for example `{{inputs.urls}}`.")
        value = MISSING
    return DraftForEach(
        value=value.strip() if isinstance(value, str) else value,
        concurrency=reader.integer("concurrency", 1, MAX_ITEMS_AT_ONCE) or DEFAULT_ITEMS_AT_ONCE,
        on_item_failure=cast(OnItemFailure, reader.choice("on_item_failure", get_args(OnItemFailure))),
    )


def parse_concurrency(reader: Reader) -> DraftConcurrency | None:
    """The ``concurrency`` of a workflow."""
    if not reader.has("concurrency"):
        return None
    value: Any = reader.value["concurrency"]
    if not isinstance(value, dict):
        reader.wrong("concurrency", "an object")
        return None
    entry = Reader(reader.report, value, reader.at("concurrency"), ("limit", "key", "on_limit"), "`concurrency`")
    entry.has("limit", required=True)
    if entry.has("key") and not isinstance(value["key"], str):
        entry.wrong("key", "an expression")
    return DraftConcurrency(
        limit=entry.integer("limit", 1, MAX_LIMIT) or 1,
        key=key if isinstance(key := value.get("key"), str) else MISSING,
        on_limit=cast(OnLimit, entry.choice("on_limit", get_args(OnLimit))),
    )
