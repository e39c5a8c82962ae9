"""Reading one JSON object of a definition field by field, reporting everything that is not as it should be."""

from __future__ import annotations

import re
from typing import Any

from tasks_lib.base import ValueType
from workflows.definition.problems import Report, at, kind, shown
from workflows.definition.values import VALUE_TYPES, is_number

MAX_NAME = 64
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SYNONYMS = {
    "string": "text", "str": "text", "integer": "number", "int": "number", "float": "number", "bool": "boolean",
    "array": "list", "dict": "object", "json": "any",
}  # fmt: skip


class Reader:
    """An object at ``pointer``, called ``what`` in messages. Fields that are not in ``known`` are problems."""

    def __init__(self, report: Report, value: dict[str, Any], pointer: str, known: tuple[str, ...], what: str) -> None:
        self.report, self.value, self.pointer, self.what = report, value, pointer, what
        for key in value:
            if key not in known:
                hint = report.nearest(key, known)
                report.problem(at(pointer, key), "unknown_field", f"{what} has no field {shown(key)}.", hint)

    def at(self, *parts: object) -> str:
        """The pointer of a field."""
        return at(self.pointer, *parts)

    def wrong(self, key: str, wanted: str) -> None:
        """Report that the field is not what is ``wanted``."""
        self.report.problem(self.at(key), "wrong_type", f"{shown(key)} must be {wanted}, not {kind(self.value[key])}.")

    def has(self, key: str, *, required: bool = False) -> bool:
        """Whether the field is there; a missing required one is reported."""
        if key in self.value:
            return True
        if required:
            self.report.problem(self.at(key), "required", f"{self.what} needs {shown(key)}.")
        return False

    def text(self, key: str, *, minimum: int = 0, maximum: int, required: bool = False) -> str | None:
        """A text of ``minimum`` to ``maximum`` characters, ``None`` when it is missing or wrong."""
        if not self.has(key, required=required):
            return None
        value = self.value[key]
        if not isinstance(value, str):
            self.wrong(key, "text")
            return None
        if minimum and len(value.strip()) < minimum:
            self.report.problem(self.at(key), "too_short", f"{shown(key)} must not be empty.")
            return None
        if len(value) > maximum:
            detail = f"{shown(key)} has at most {maximum:,} characters, not {len(value):,}."
            self.report.problem(self.at(key), "too_long", detail)
            return None
        return value

    def number(self, key: str, minimum: float, maximum: float, *, positive: bool = False) -> float | None:
        """A finite number in the range (``positive``: and not 0), ``None`` when it is missing or wrong."""
        if not self.has(key):
            return None
        value = self.value[key]
        if not is_number(value):
            self.wrong(key, "a number" if kind(value) != "a number" else "a finite number")
            return None
        if value > maximum:
            self.report.problem(self.at(key), "above_maximum", f"{shown(key)} must be at most {maximum:,}.")
            return None
        if value < minimum or (positive and value <= 0):
            detail = f"{shown(key)} must be {'more than 0' if positive else f'at least {minimum:,}'}."
            self.report.problem(self.at(key), "below_minimum", detail)
            return None
        return float(value) if isinstance(value, float) else int(value)

    def integer(self, key: str, minimum: int, maximum: int) -> int | None:
        """A whole number in the range (``3.0`` is one), ``None`` when it is missing or wrong."""
        value = self.number(key, minimum, maximum)
        if value is not None and value != int(value):
            self.report.problem(self.at(key), "wrong_type", f"{shown(key)} must be a whole number.")
            return None
        return None if value is None else int(value)

    def boolean(self, key: str, *, default: bool) -> bool:
        """A boolean, ``default`` when it is missing or wrong."""
        value = self.value.get(key, default)
        if isinstance(value, bool):
            return value
        self.wrong(key, "a boolean")
        return default

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """One of ``choices``; the first one when it is missing or wrong."""
        value = self.value.get(key, choices[0])
        if value in choices:
            return str(value)
        if isinstance(value, str):
            known = ", ".join(map(shown, choices))
            hint = self.report.nearest(value, choices)
            self.report.problem(self.at(key), "not_in_enum", f"{shown(key)} must be one of {known}.", hint)
        else:
            self.wrong(key, "text")
        return choices[0]

    def items(self, key: str, maximum: int, *, minimum: int = 0, required: bool = False) -> list[Any]:
        """The items of a list; no more than ``maximum`` of them are looked at."""
        if not self.has(key, required=required):
            return []
        value = self.value[key]
        if not isinstance(value, list):
            self.wrong(key, "a list")
            return []
        if len(value) > maximum:
            detail = f"{shown(key)} has at most {maximum:,} items, not {len(value):,}."
            self.report.problem(self.at(key), "too_many", detail)
        if len(value) < minimum:
            self.report.problem(self.at(key), "too_short", f"{shown(key)} needs at least {minimum}.")
        return value[:maximum]

    def objects(
        self, key: str, maximum: int, *, minimum: int = 0, required: bool = False
    ) -> list[tuple[dict[str, Any], str]]:
        """As ``items``, those that are objects, each with its pointer; the others are reported."""
        found = []
        for index, item in enumerate(self.items(key, maximum, minimum=minimum, required=required)):
            pointer = self.at(key, index)
            if isinstance(item, dict):
                found.append((item, pointer))
            else:
                self.report.problem(
                    pointer, "wrong_type", f"An item of {shown(key)} must be an object, not {kind(item)}."
                )
        return found

    def name(self, seen: dict[str, str]) -> str | None:
        """The field ``name``: well formed, and not in ``seen`` (pointers by name), where it is then added."""
        if not self.has("name", required=True):
            return None
        value = self.value["name"]
        if not isinstance(value, str):
            self.wrong("name", "text")
            return None
        if len(value) > MAX_NAME or not _NAME.fullmatch(value):
            detail = f"{shown(value)} cannot be a name."
            hint = (
                f"A name has letters, digits and `_`, does not start with a digit, and has 1 to {MAX_NAME} characters."
            )
            self.report.problem(self.at("name"), "invalid_name", detail, hint)
            return None
        if value in seen:
            detail = f"The name {shown(value)} is already used at {seen[value]}."
            self.report.problem(self.at("name"), "duplicate_name", detail)
            return None
        seen[value] = self.pointer
        return value

    def value_type(self) -> ValueType | None:
        """The field ``type`` of an input or output."""
        if not self.has("type", required=True):
            return None
        value = self.value["type"]
        if not isinstance(value, str):
            self.wrong("type", "text")
            return None
        for known in VALUE_TYPES:
            if value == known:
                return known
        meant = _SYNONYMS.get(value.lower())
        hint = f"Did you mean `{meant}`?" if meant else self.report.nearest(value, VALUE_TYPES)
        known_types = ", ".join(VALUE_TYPES)
        self.report.problem(
            self.at("type"), "unknown_type", f"There is no type {shown(value)}; there are {known_types}.", hint
        )
        return None
