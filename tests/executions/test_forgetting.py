"""What is past its time goes, in any order and however often; what somebody needs stays."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.test import Client
from pytest_django import Settings

from executions import database, files, forgetting, references, store, sweeper
from executions.engine.state import ExecutionStatus
from executions.models import Attempt, Blob, Delivery, Event, Execution, FileUse, StoredFile, TaskRun
from executions.samples import keep_samples
from executions.triggers.schedules import create_schedule
from executions.verbs import Rerun, rerun_execution
from tests.executions_driver import carry, echo, started
from tests.factories import make_delivery, make_execution, make_file, make_task_run, make_workflow

pytestmark = pytest.mark.django_db(transaction=True)
INPUTS = [{"name": "f", "type": "file"}]


@pytest.fixture(autouse=True)
def _days(settings: Settings) -> None:
    settings.DATAFLOW_RETENTION_DAYS, settings.DATAFLOW_FILE_RETENTION_DAYS = 90, 30


def old(*rows: Any, days: float = 100) -> None:
    """As if these rows were made, and ended, so long ago."""
    for row in rows:
        at = database.database_now() - timedelta(days=days)
        changed = {"created_at": at} | ({"completed_at": at} if isinstance(row, Execution) else {})
        type(row).objects.filter(pk=row.pk).update(**changed)


def uses(file: StoredFile, **fields: Any) -> Execution:
    """An ended execution that was started with a file."""
    execution = started(echo("a"), inputs=INPUTS, values={"f": file.pk}, **fields)
    store.cancel(execution.pk, reason="", by="test")
    return execution


def makes(execution: Execution, data: bytes = b"made", task: str = "first") -> StoredFile:
    with files.creating("made.txt", "text/plain", execution_id=execution.pk, task=task) as writer:
        writer.write(data)
    return StoredFile.objects.get(pk=writer.value["file_id"])


def is_there(row: Any) -> bool:
    return bool(type(row).objects.filter(pk=row.pk).exists())


# --- executions ---
def test_an_old_execution_goes_with_all_that_belongs_to_it() -> None:
    gone, stays = make_execution(), make_execution()
    for execution in (gone, stays):
        run = make_task_run(execution, "first")
        Attempt.objects.create(task_run=run, number=1, type="x", ended_at=execution.created_at)
        Event.objects.create(execution=execution, sequence=1, type="execution.created", at=execution.created_at)
        make_delivery(execution, status="DELIVERED", sequence=1)
    made = makes(gone)
    place = made.blob.name
    old(gone)
    old(stays, days=89)
    assert forgetting.forget() == forgetting.Forgotten(executions=1, files=0, leftovers=0)
    for model in (Execution, TaskRun, Attempt, Event, Delivery):
        assert model.objects.count() == 1
    assert is_there(stays)
    assert not is_there(made)
    assert not Blob.objects.exists()
    assert not default_storage.exists(place)
    assert forgetting.forget() == forgetting.Forgotten(executions=0, files=0, leftovers=0)


@pytest.mark.parametrize("status", [ExecutionStatus.PENDING, ExecutionStatus.RUNNING])
def test_one_that_has_not_ended_stays(status: ExecutionStatus) -> None:
    execution = make_execution(status=status)
    old(execution)
    assert forgetting.forget_executions() == 0


def test_one_whose_webhook_is_not_sent_stays() -> None:
    execution = make_execution()
    delivery = make_delivery(execution, status="PENDING", sequence=1)
    old(execution)
    assert forgetting.forget_executions() == 0
    Delivery.objects.filter(pk=delivery.pk).update(status="EXHAUSTED")
    assert forgetting.forget_executions() == 1


def test_one_that_was_resumed_long_after_its_beginning_goes_by_its_end() -> None:
    execution = make_execution()
    old(execution)
    Execution.objects.filter(pk=execution.pk).update(completed_at=database.database_now())
    assert forgetting.forget_executions() == 0


def test_children_go_after_their_parent_and_not_before() -> None:
    parent = make_execution()
    child = make_execution(parent.workflow, parent=parent, parent_task="first", depth=1)
    made = makes(child)
    old(child)
    old(parent, days=1)
    assert forgetting.forget_executions() == 0
    assert is_there(made)
    old(parent)
    assert forgetting.forget_executions() == 2
    assert not StoredFile.objects.exists()


@pytest.mark.parametrize("kind", ["application/json", "text/html"])
def test_a_child_and_a_rerun_are_read_without_their_parent(client: Client, kind: str) -> None:
    parent = make_execution()
    child = make_execution(parent.workflow, parent=parent, parent_task="first", depth=1, rerun_of=parent)
    Execution.objects.filter(pk=child.pk).update(inputs={"text": makes(parent).as_value()})
    old(parent)
    old(child, days=1)
    assert forgetting.forget_executions() == 1
    child.refresh_from_db()
    assert (child.parent_id, child.rerun_of_id) == (None, None)
    answer = client.get(f"/workflows/{child.workflow_id}/executions/{child.pk}", headers={"Accept": kind})
    assert answer.status_code == 200


def test_at_most_so_many() -> None:
    workflow = make_workflow()
    for _ in range(forgetting.BATCH + 5):
        old(make_execution(workflow))
    assert forgetting.forget_executions(1) == forgetting.BATCH
    assert forgetting.forget_executions() == 5


def test_for_ever(settings: Settings) -> None:
    settings.DATAFLOW_RETENTION_DAYS = settings.DATAFLOW_FILE_RETENTION_DAYS = None
    execution, file = make_execution(), make_file()
    old(execution, file, days=10_000)
    assert forgetting.forget() == forgetting.Forgotten(executions=0, files=0, leftovers=0)


def test_the_sweeper_forgets() -> None:
    execution, file = make_execution(), make_file()
    old(execution, file)
    sweeper.sweep()
    assert not is_there(execution)
    sweeper.forget()
    assert not is_there(file)


# --- uploads ---
def test_an_upload_that_nobody_needs_goes() -> None:
    gone, stays = make_file(data=b"1"), make_file(data=b"2")
    old(gone, days=31)
    old(stays, days=29)
    assert forgetting.forget_uploads() == 1
    assert [is_there(gone), is_there(stays)] == [False, True]


def test_an_upload_lives_as_long_as_an_execution_needs_it() -> None:
    file = make_file()
    first, second = uses(file), uses(file)
    old(file, first)
    assert [forgetting.forget_uploads(), forgetting.forget_executions(), forgetting.forget_uploads()] == [0, 1, 0]
    assert FileUse.objects.get().execution_id == second.pk
    old(second)
    assert [forgetting.forget_executions(), forgetting.forget_uploads()] == [1, 1]


def test_samples_stay() -> None:
    keep_samples()
    for file in (stored := list(StoredFile.objects.all())):
        old(file, days=10_000)
    assert forgetting.forget_uploads() == 0
    assert StoredFile.objects.count() == len(stored) > 0


def test_what_a_schedule_or_a_definition_names_stays() -> None:
    one, other, made = make_file(data=b"1"), make_file(data=b"2"), makes(execution := make_execution(), b"3")
    workflow = make_workflow(
        inputs=INPUTS, tasks=[{"name": "a", "type": "text.echo", "inputs": {"text": f"see {other.pk}"}}], outputs=[]
    )
    create_schedule(workflow=workflow, document={"every_minutes": 60, "inputs": {"f": one.pk}}, user=None)
    create_schedule(workflow=workflow, document={"every_minutes": 60, "inputs": {"f": made.pk}}, user=None)
    old(one, other, made, execution)
    assert [forgetting.forget_uploads(), forgetting.forget_executions()] == [0, 1]
    assert [is_there(file) for file in (one, other, made)] == [True, True, True]


# --- who needs what ---
def needs(execution: Execution) -> set[str]:
    return set(FileUse.objects.filter(execution=execution).values_list("file_id", flat=True))


def test_files_anywhere_in_the_inputs_are_needed() -> None:
    given, deep, text = (make_file(data=data) for data in (b"1", b"2", b"3"))
    inputs = [*INPUTS, {"name": "o", "type": "object"}, {"name": "t", "type": "text"}]
    values = {"f": given.pk, "o": {"deep": [{"file_id": deep.pk}, "fl-unknown0000"]}, "t": f"/files/{text.pk}/content"}
    assert needs(started(echo("a"), inputs=inputs, values=values)) == {given.pk, deep.pk, text.pk}
    assert needs(started(echo("a"))) == set()


def test_what_another_execution_made_stays_for_who_needs_it() -> None:
    maker = make_execution()
    made = makes(maker)
    user = uses(made)
    old(maker, made)
    assert forgetting.forget() == forgetting.Forgotten(executions=1, files=0, leftovers=0)
    made.refresh_from_db()
    assert made.execution_id is None
    old(user)
    assert forgetting.forget_executions() == 1
    assert not is_there(made)


def test_a_rerun_that_takes_over_results_needs_all_of_its_source_and_that_ones_children() -> None:
    given = make_file(data=b"given")
    source = started(echo("a"), echo("b"), inputs=INPUTS, values={"f": given.pk})
    carry(source)
    child = make_execution(parent=source, parent_task="a", depth=1)
    made, of_child = makes(source, b"1"), makes(child, b"2")
    again = rerun_execution(execution=Execution.objects.get(pk=source.pk), changes=Rerun(from_task="b")).execution
    plain = rerun_execution(execution=Execution.objects.get(pk=source.pk)).execution
    assert needs(again) == {given.pk, made.pk, of_child.pk}
    assert needs(plain) == {given.pk}
    old(source, child)
    assert forgetting.forget_executions() == 2
    assert [is_there(file) for file in (given, made, of_child)] == [True, True, True]


def test_a_file_that_is_taken_at_this_moment_stays() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer")
    file, execution, found = make_file(), make_execution(), []
    old(file)

    def forgetting_it() -> None:
        found.append(forgetting.forget_uploads())
        connections.close_all()

    other = threading.Thread(target=forgetting_it)
    with transaction.atomic():
        references.note(execution.pk, [file.pk])
        other.start()
        other.join(0.5)
        assert not found  # it waits for us
    other.join(30)
    assert found == [0]
    assert needs(execution) == {file.pk}


# --- the command ---
def said(**options: Any) -> str:
    out = StringIO()
    call_command("forget", stdout=out, **options)
    return out.getvalue().strip()


def test_the_command() -> None:
    execution, file = make_execution(), make_file()
    old(execution, file)
    counts: Mapping[str, str] = {"would be": said(dry_run=True), "were": said(), "again": said()}
    assert is_there(execution) is False
    assert counts == {
        "would be": "1 executions, 1 files that nobody needs and 0 leftovers in the storage would be deleted.",
        "were": "1 executions, 1 files that nobody needs and 0 leftovers in the storage deleted.",
        "again": "0 executions, 0 files that nobody needs and 0 leftovers in the storage deleted.",
    }
