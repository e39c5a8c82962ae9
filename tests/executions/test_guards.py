"""What the database itself refuses, whoever asks."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DatabaseError, transaction

from executions.models import Event, Execution
from tests.executions_driver import started
from workflows.models import WorkflowVersion

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        ("COMPLETED", "RUNNING", False),
        ("COMPLETED", "PENDING", False),
        ("COMPLETED", "FAILED", False),
        ("FAILED", "RUNNING", False),
        ("FAILED", "COMPLETED", False),
        ("FAILED", "PENDING", True),
        ("CANCELLED", "COMPLETED", False),
        ("CANCELLED", "PENDING", True),
        ("RUNNING", "COMPLETED", True),
    ],
)
def test_the_database_keeps_ended_states(before: str, after: str, allowed: bool) -> None:
    execution = started()
    Execution.objects.filter(pk=execution.pk).update(status=before)
    change = Execution.objects.filter(pk=execution.pk)
    if allowed:
        assert change.update(status=after) == 1
        return
    with pytest.raises(DatabaseError, match="an ended execution keeps its status"), transaction.atomic():
        change.update(status=after)
    assert Execution.objects.get(pk=execution.pk).status == before


@pytest.mark.parametrize("change", [{"definition": {"title": "Other"}}, {"number": 7}, {"hash": "0" * 64}])
def test_the_database_keeps_versions(change: dict[str, Any]) -> None:
    version = started().version
    with pytest.raises(DatabaseError, match="a workflow version never changes"), transaction.atomic():
        WorkflowVersion.objects.filter(pk=version.pk).update(**change)


def test_the_database_keeps_sequence_numbers_apart() -> None:
    execution = started()
    with pytest.raises(DatabaseError), transaction.atomic():
        Event.objects.create(execution=execution, sequence=1, type="execution.failed", at=execution.created_at)
