"""Compiled definitions of frozen versions, kept by each process: a version never changes."""

from __future__ import annotations

from functools import lru_cache

from tasks_lib import registry
from workflows.definition import Definition, check
from workflows.models import WorkflowVersion


class DefinitionBroken(Exception):
    """A frozen definition that this installation cannot run any more (a task type went away)."""


@lru_cache(maxsize=512)
def definition_of(version_id: int) -> Definition:
    """The compiled definition of a version. Raises ``DefinitionBroken``."""
    document = WorkflowVersion.objects.values_list("definition", flat=True).get(pk=version_id)
    checked = check(document, registry)
    if checked.definition is None:
        first = checked.problems[0]
        raise DefinitionBroken(f"This version cannot run in this installation: {first.pointer} {first.detail}")
    return checked.definition
