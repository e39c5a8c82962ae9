"""Migration 0006: files that were there before keep their content where it is, and who needs them is noted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from executions import files
from executions.models import Blob, FileUse, StoredFile

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
BEFORE = [("executions", "0005_secrets")]


@pytest.fixture
def before() -> Iterator[Any]:
    """The models as they were."""
    executor = MigrationExecutor(connection)
    executor.migrate(BEFORE)
    yield executor.loader.project_state(BEFORE).apps
    forward()


def forward() -> None:
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


def test_it_works(before: Any) -> None:
    workflow = before.get_model("workflows", "Workflow").objects.create(id="wf-a", title="T")
    version = before.get_model("workflows", "WorkflowVersion").objects.create(
        workflow=workflow, number=1, definition={}
    )
    maker, user, _ = [
        before.get_model("executions", "Execution").objects.create(
            id=name, workflow=workflow, version=version, workflow_version=1, inputs=inputs
        )
        for name, inputs in (
            ("we-maker", {}),
            ("we-user", {"f": {"file_id": "fl-first", "name": "x"}, "other": "fl-unknown"}),
            ("we-plain", {"text": "fluffy"}),
        )
    ]
    old = before.get_model("executions", "StoredFile")
    for name, digest, execution in (("first", "1" * 64, None), ("again", "1" * 64, None), ("made", "2" * 64, maker)):
        place = default_storage.save(f"aa/{name}0000000000", ContentFile(json.dumps(name)))
        old.objects.create(
            id=f"fl-{name}",
            name=name,
            content_type="text/plain",
            size=7,
            sha256=digest,
            content=place,
            execution=execution,
        )
    before.get_model("executions", "TaskRun").objects.create(
        execution=user, name="a", position=0, type="x", outputs={"f": "fl-made"}, stored={"t": {"file_id": "fl-again"}}
    )
    before.get_model("executions", "TaskRun").objects.create(
        execution=maker, name="a", position=0, type="x", outputs={"f": "fl-made"}, completed_at=timezone.now()
    )
    forward()
    assert {(blob.sha256, blob.size, blob.name) for blob in Blob.objects.all()} == {
        ("1" * 64, 7, "aa/again0000000000"),
        ("2" * 64, 7, "aa/made0000000000"),
    }
    assert {file.pk: file.sha256[:1] for file in StoredFile.objects.all()} == {
        "fl-first": "1",
        "fl-again": "1",
        "fl-made": "2",
    }
    with files.open_stored("fl-made") as content:
        assert json.load(content) == "made"
    uses = set(FileUse.objects.values_list("execution_id", "file_id"))
    assert uses == {("we-user", "fl-first"), ("we-user", "fl-made"), ("we-user", "fl-again")}
