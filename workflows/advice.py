"""Warnings about what a definition names and this layer does not know: others, who do, register what looks it up."""

from __future__ import annotations

from collections.abc import Callable

from dataflow.lib.errors import Problem
from workflows.definition import Checked, Definition

Lookup = Callable[[Definition], list[Problem]]
_lookups: list[Lookup] = []


def register(lookup: Lookup) -> None:
    """Have ``lookup`` asked for warnings about every definition that is checked or saved."""
    if lookup not in _lookups:
        _lookups.append(lookup)


def warnings_of(checked: Checked) -> list[Problem]:
    """The warnings of a check, and those of what is registered."""
    definition = checked.definition
    found = [] if definition is None else [one for lookup in _lookups for one in lookup(definition)]
    return [*checked.warnings, *found]
