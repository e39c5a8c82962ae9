"""What the query string of a list of executions asks for."""

from __future__ import annotations

import re
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, Func, Q, Value
from django.db.models.sql.compiler import SQLCompiler
from django.http import QueryDict

from dataflow.api.pagination import bad_parameter
from dataflow.api.queries import choices_parameter, text_parameter, time_parameter
from dataflow.lib.fields import dump_json
from executions.engine.state import ExecutionStatus
from executions.models import ExecutionQuerySet
from workflows.models import Workflow

#: Labels that one request may ask for, all of which must fit.
MAX_LABELS = 10
_ID = re.compile(r"we-[a-z0-9]{1,37}")


def filtered(query: QueryDict, rows: ExecutionQuerySet) -> ExecutionQuerySet:
    """The executions that the parameters ask for, all of which must fit. Raises ``ApiProblem`` 400.

    They are ``status``, ``created_after``, ``created_before``, ``label``, ``search``, and those of ``_TEXTS``.
    """
    if statuses := choices_parameter(query, "status", [status.value for status in ExecutionStatus]):
        rows = rows.filter(status__in=statuses)
    if (after := time_parameter(query, "created_after")) is not None:
        rows = rows.filter(created_at__gt=after)
    if (before := time_parameter(query, "created_before")) is not None:
        rows = rows.filter(created_at__lt=before)
    for name, column in _TEXTS.items():
        if text := text_parameter(query, name):
            rows = rows.filter(**{column: text})
    for key, value in _labels(query):
        rows = rows.filter(HasLabel(key, value))
    if text := text_parameter(query, "search").strip():
        rows = rows.filter(_found(text))
    return rows


def _found(text: str) -> Q:
    """An execution by its id, or those of the workflows that a search for ``text`` finds: an index knows both."""
    if _ID.fullmatch(text.lower()):
        return Q(pk=text.lower())
    return Q(workflow__in=Workflow.objects.search(text))


#: Parameters that a column must equal.
_TEXTS = {"workflow": "workflow_id", "trigger": "trigger", "trigger_ref": "trigger_ref", "parent": "parent_id"}


def _labels(query: QueryDict) -> list[tuple[str, str]]:
    """The pairs of all ``label=key:value``; a value may hold colons, and be empty."""
    given = [text for text in query.getlist("label") if text]
    pairs = [text.partition(":") for text in given]
    if len(pairs) > MAX_LABELS or any(
        not colon or not key or "\0" in text for text, (key, colon, _) in zip(given, pairs, strict=True)
    ):
        raise bad_parameter("label", f"`label` is `key:value`; give it at most {MAX_LABELS} times.")
    return [(key, value) for key, _, value in pairs]


class HasLabel(Func):
    """Whether an execution has a label of this value. An index knows it on PostgreSQL (``execution_labels``)."""

    output_field = BooleanField()

    def __init__(self, key: str, value: str) -> None:
        super().__init__("labels", Value(key), Value(value))
        self._label = key, value

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_: Any) -> tuple[str, Any]:
        """Whether the object contains that of this one label; said as the index says it."""
        column, parameters = compiler.compile(self.source_expressions[0])
        key, value = self._label
        contains = f"({column} <> '{{}}' AND {column}::jsonb @> %s::jsonb)"
        return contains, (*parameters, *parameters, dump_json({key: value}))

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_: Any) -> tuple[str, Any]:
        """Whether one of the object's members is it."""
        column, parameters = compiler.compile(self.source_expressions[0])
        # Parameters for what is the caller's.
        found = f"EXISTS (SELECT 1 FROM json_each({column}) WHERE key = %s AND value = %s)"  # noqa: S608
        return found, (*parameters, *self._label)
