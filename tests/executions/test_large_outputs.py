"""Outputs too large for a row are kept as files, and read where they are needed."""

from __future__ import annotations

import pytest
from django.core.files.storage import default_storage

from executions import files
from executions.engine.outcomes import Completed
from executions.engine.state import ExecutionStatus
from executions.models import Execution, StoredFile
from tests.executions_driver import carry, claim, echo, settle, started, task

pytestmark = pytest.mark.django_db
LARGE = "ä" * 200_000


def fresh(execution: Execution) -> Execution:
    return Execution.objects.get(pk=execution.pk)


def test_large_outputs_are_kept_as_files_and_read_by_later_tasks() -> None:
    output = {"name": "whole", "type": "text", "value": "{{tasks.first.outputs.text}}"}
    size = {"name": "size", "type": "text.size", "inputs": {"text": "{{tasks.first.outputs.text}}"}}
    first = {"name": "first", "type": "text.static", "inputs": {"text": "{{inputs.text}}"}}
    given = [{"name": "text", "type": "text"}]
    execution = started(first, size, values={"text": LARGE}, inputs=given, outputs=[output])
    carry(execution)
    row, stored = fresh(execution), task(execution, "first")
    assert (row.status, row.error) == (ExecutionStatus.COMPLETED, None)
    assert (stored.outputs, row.outputs) == ({"text": None}, {"whole": None})
    kept = StoredFile.objects.get(pk=stored.stored["text"]["file_id"])
    assert (kept.task, kept.execution_id, kept.size) == ("first", execution.pk, 2 * 200_000 + 2)
    assert task(execution, "size").outputs == {"size": 200_000}
    shown = files.shown_outputs(row.outputs, row.stored) or {}
    assert shown["whole"]["size"] == kept.size
    assert len(stored.inputs["text"]) < 70_000


def test_a_kept_output_that_is_gone_fails_what_needs_it_and_the_execution_ends() -> None:
    first = {"name": "first", "type": "text.static", "inputs": {"text": "{{inputs.text}}"}}
    condition = '{{tasks.first.outputs.text != ""}}'
    execution = started(
        first, echo("b", condition=condition), values={"text": LARGE}, inputs=[{"name": "text", "type": "text"}]
    )
    claimed = claim(execution)
    inline, stored = files.keep_large({"text": LARGE}, execution_id=execution.pk, task="first")
    kept = StoredFile.objects.get(pk=stored["text"]["file_id"])
    default_storage.delete(kept.blob.name)
    assert settle(claimed, Completed(outputs=inline, stored=stored)) is None
    row = fresh(execution)
    assert (row.status, row.error["code"], row.error["task"]) == (ExecutionStatus.FAILED, "runtime", "b")


def test_an_output_over_the_limit_fails_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_OUTPUT_BYTES", 300 * 1024)
    first = {"name": "first", "type": "text.static", "inputs": {"text": "{{inputs.text}}"}}
    execution = started(first, values={"text": LARGE}, inputs=[{"name": "text", "type": "text"}])
    carry(execution)
    assert fresh(execution).error["code"] == "too_large"
    assert not StoredFile.objects.exists()
