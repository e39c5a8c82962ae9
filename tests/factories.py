"""Rows for tests of what only reads them: made directly, without the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from executions import files
from executions.engine.state import ExecutionStatus, TaskStatus
from executions.models import Delivery, DeliveryStatus, Execution, StoredFile, TaskRun, Worker
from workflows.models import Workflow
from workflows.services import create_workflow

START = datetime(2025, 11, 23, 8, 0, tzinfo=UTC)

#: Three tasks that need no network.
DOCUMENT: dict[str, Any] = {
    "title": "Reverse and echo",
    "description": "Three steps",
    "inputs": [{"name": "text", "type": "text", "description": "What to reverse"}],
    "tasks": [
        {"name": "first", "type": "text.static", "inputs": {"text": "{{inputs.text}}"}},
        {"name": "second", "type": "text.reverse", "inputs": {"text": "{{tasks.first.outputs.text}}"}},
        {"name": "third", "type": "text.echo", "inputs": {"text": "{{tasks.second.outputs.text}}"}},
    ],
    "outputs": [{"name": "text", "type": "text", "value": "{{tasks.third.outputs.text}}"}],
}


def make_workflow(**changes: Any) -> Workflow:
    """A workflow with version 1: ``DOCUMENT`` with ``changes``."""
    return create_workflow(document=DOCUMENT | changes).workflow


def make_execution(
    workflow: Workflow | None = None, status: ExecutionStatus = ExecutionStatus.COMPLETED, **fields: Any
) -> Execution:
    """An execution in any state, without task runs; ended ones took two seconds."""
    version = (workflow or make_workflow()).current()
    times: dict[str, Any] = {"created_at": START}
    if status is not ExecutionStatus.PENDING:
        times["started_at"] = START
    if status.ended:
        times["completed_at"] = START + timedelta(seconds=2)
    given = {"inputs": {"text": "abc"}} | times | fields
    return Execution.objects.create(
        workflow=version.workflow,
        version=version,
        workflow_version=version.number,
        status=status,
        **({"title": version.definition["title"]} | given),
    )


def make_task_run(execution: Execution, name: str, status: TaskStatus = TaskStatus.COMPLETED, **fields: Any) -> TaskRun:
    """What is known of one task; it took a second, at its first try."""
    names = [task["name"] for task in execution.version.definition["tasks"]]
    position = names.index(name)
    times: dict[str, Any] = {"started_at": START, "attempt_started_at": START}
    if status.ended:
        times["completed_at"] = START + timedelta(seconds=1)
    task_type = execution.version.definition["tasks"][position]["type"]
    given = {"type": task_type, "attempt": 1, "worker": "test-worker"} | times | fields
    return TaskRun.objects.create(execution=execution, name=name, position=position, status=status, **given)


def make_delivery(execution: Execution, **fields: Any) -> Delivery:
    """A webhook delivery that has ended, as DELIVERED unless told otherwise, of an execution that has a webhook."""
    execution.monitoring = {"url": "https://example.com/hook", "events": ["started", "completed"]}
    execution.save(update_fields=["monitoring"])
    given = {"type": "execution.started", "url": "https://example.com/hook", "body": "{}", **fields}
    given = {"status": DeliveryStatus.DELIVERED, "sequence": 1} | given
    return Delivery.objects.create(execution=execution, next_attempt_at=START, wake_at=START, **given)


def make_file(
    name: str = "speech.mp3",
    content_type: str = "audio/mpeg",
    data: bytes = b"data",
    *,
    metadata: Mapping[str, Any] | None = None,
) -> StoredFile:
    """A stored file, uploaded by nobody in particular, said to be ``content_type`` whatever it holds."""
    with files.creating(name, content_type, metadata=metadata) as writer:
        writer.write(data)
    StoredFile.objects.filter(pk=writer.value["file_id"]).update(content_type=content_type)
    return StoredFile.objects.get(pk=writer.value["file_id"])


def make_worker(*, silent_for: timedelta = timedelta(0), busy: int = 0, doing: Sequence[Any] = ()) -> Worker:
    """A worker whose last sign of life was ``silent_for`` ago, with ``busy`` tries in hand; ``doing`` names some."""
    now = datetime.now(UTC)
    return Worker.objects.create(
        id=f"w{silent_for.total_seconds():.0f}",
        host="here",
        pid=1,
        threads=10,
        started_at=now - timedelta(hours=1),
        heartbeat_at=now - silent_for,
        busy=busy or len(doing),
        doing=list(doing),
    )
