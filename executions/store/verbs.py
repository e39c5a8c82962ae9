"""The transactions of what people do by hand: resume an execution, decide an approval, insert a rerun."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Count

from dataflow.lib.failpoints import failpoint
from executions import references
from executions.database import writing
from executions.engine import verbs
from executions.engine.state import ExecutionStatus, Items, TaskStatus
from executions.engine.verbs import AFRESH, Decision, accepts_failed_items
from executions.models import Event, Execution, TaskRun
from executions.store import neighbours
from executions.store.accepting import create
from executions.store.reading import load
from executions.store.rows import Loaded
from executions.store.saving import save
from workflows.definition import Definition

#: What the row of an item has besides its state in the engine, as it is before the first try.
_NOTHING_YET: Mapping[str, Any] = {
    "stored": {}, "usage": {}, "log": [], "progress": None, "progress_message": "", "inputs": None,
}  # fmt: skip


class NotResumable(Exception):
    """The execution is in another state, or its ``parent`` (else empty) waits for it no more. ``status`` is its own."""

    def __init__(self, status: ExecutionStatus, parent: str = "") -> None:
        super().__init__(f"{status}, parent: {parent or 'none'}")
        self.status, self.parent = status, parent


class NotWaiting(Exception):
    """The task does not wait for a person's decision."""


def resume(execution_id: str, *, by: str, secrets: str) -> None:
    """Take a FAILED or CANCELLED execution back to PENDING with its ``secrets`` (sealed). Raises ``NotResumable``."""
    with writing():
        loaded = _loaded(execution_id)
        run, parent = loaded.run, loaded.row.parent_id
        if run.status not in (ExecutionStatus.FAILED, ExecutionStatus.CANCELLED):
            raise NotResumable(run.status)
        if parent is not None and not _waits_for(parent, execution_id):
            raise NotResumable(run.status, parent)
        verbs.resume(run, by=by, items=_take_items_back(loaded))
        # As if it had come just now: what waits longer goes first. The rest of the row is what a step writes.
        Execution.objects.filter(pk=execution_id).update(
            secrets=secrets, resumed_at=run.now, pick_at=run.now, start_at=None
        )
        # Also where no task is left to run: then the outputs are evaluated again.
        save(loaded, wake_at=run.now)
        failpoint("resume.before_commit")
    failpoint("resume.after_commit")


def decide(execution_id: str, name: str, decision: Decision) -> None:
    """Decide an approval; a worker goes on. Raises ``NotWaiting``."""
    with writing():
        loaded = _loaded(execution_id)
        if not verbs.waits_for_approval(loaded.run, name):
            raise NotWaiting(name)
        verbs.decide(loaded.run, name, decision)
        references.note(execution_id, references.named_in(decision.values))
        save(loaded, wake_at=loaded.run.now)
        failpoint("decide.before_commit")
    failpoint("decide.after_commit")


def create_rerun(row: Execution, *, definition: Definition, tasks: Sequence[str]) -> None:
    """Insert an accepted rerun together with the results of ``tasks`` that it takes over from its source."""
    with writing():
        create(row)
        if tasks:
            _take_over(row, definition, tasks)
        failpoint("rerun.before_commit")
    failpoint("rerun.after_commit")


def _take_over(row: Execution, definition: Definition, tasks: Sequence[str]) -> None:
    source = TaskRun.objects.filter(execution_id=row.rerun_of_id, name__in=tasks)
    TaskRun.objects.bulk_create([_taken_over(run, row, definition) for run in source])
    references.take_over(row.pk, str(row.rerun_of_id))
    told = {"source": row.rerun_of_id, "tasks": list(tasks)}
    Event.objects.create(execution=row, sequence=2, type="execution.reused", at=row.created_at, data=told)
    row.sequence = 2
    Execution.objects.filter(pk=row.pk).update(sequence=2)


def _taken_over(run: TaskRun, row: Execution, definition: Definition) -> TaskRun:
    """The same result in another execution: it took no try there, and cost nothing."""
    return TaskRun(
        execution=row, name=run.name, position=definition.places[run.name], type=run.type, status=run.status,
        inputs=run.inputs, outputs=run.outputs, stored=run.stored, items=run.items, completed_at=row.created_at,
        reason=f"Reused from {run.execution_id}.",
    )  # fmt: skip


def _loaded(execution_id: str) -> Loaded:
    loaded = load(execution_id)
    if loaded is None:
        raise Execution.DoesNotExist(execution_id)
    return loaded


def _waits_for(parent_id: str, child_id: str) -> bool:
    """Whether a task of the parent still waits for this child. One that ended, or went on, never comes back to it."""
    return neighbours.children_waited_for().filter(execution_id=parent_id, child=child_id).exists()


def _take_items_back(loaded: Loaded) -> dict[str, Items]:
    """Have the items of the ``for_each`` tasks that go on claimed again, but those that have a result.

    One statement a task, and no event an item: there may be 100,000. Returns what is left of each task's counters.
    """
    run, left = loaded.run, {}
    for name in verbs.to_resume(run):
        if (items := run.task(name).items) is None:
            continue
        # Not by the beginning of the name: SQLite's LIKE does not tell "a" from "A".
        rows = TaskRun.objects.filter(execution_id=run.id, position=run.place_of(name), item__isnull=False)
        back = [TaskStatus.CANCELLED]
        if not accepts_failed_items(run.definition_of(name)):
            back += [TaskStatus.FAILED, TaskStatus.SKIPPED]
        rows.filter(status__in=back).update(status=TaskStatus.PENDING, **AFRESH, **_NOTHING_YET)
        counts = dict(rows.order_by().values_list("status").annotate(Count("pk")))
        failed = counts.get(TaskStatus.FAILED, 0) + counts.get(TaskStatus.SKIPPED, 0)
        completed = counts.get(TaskStatus.COMPLETED, 0)
        left[name] = Items(total=items.total, next=items.next, completed=completed, failed=failed)
    return left
