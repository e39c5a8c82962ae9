"""What people do to a run by hand: resume it, decide an approval; and what a rerun need not run again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from dataflow.lib.errors import TaskError
from dataflow.lib.times import rfc3339
from executions.engine.outcomes import complete_wait, fail
from executions.engine.run import Run
from executions.engine.state import Event, ExecutionStatus, Items, TaskStatus
from workflows.definition import Definition, Task, canonical_json
from workflows.definition.graph import in_order

#: What a task that goes on starts with; its attempt number goes on too, for the tries of before stay listed.
AFRESH: Mapping[str, Any] = {
    "failures": 0, "lost": 0, "on_fallback": False, "timeout": None, "worker": "", "lease_until": None, "due_at": None,
    "started_at": None, "attempt_started_at": None, "completed_at": None, "outputs": None, "error": None, "reason": "",
    "waiting": None, "child": "",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a person said to an approval. ``values`` are those of its form, checked."""

    approved: bool
    by: str
    comment: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


def resume(run: Run, *, by: str, items: Mapping[str, Items]) -> list[str]:
    """FAILED or CANCELLED → PENDING: what did not complete starts afresh, what completed is kept.

    ``items`` has, for each ``for_each`` task that was begun, what is left of its counters once the items that go on
    are taken back. Returns the names of the tasks that go on. Raises ``ValueError`` for an execution in another state.
    """
    if run.status not in (ExecutionStatus.FAILED, ExecutionStatus.CANCELLED):
        raise ValueError(f"execution {run.id}: {run.status} cannot be resumed")
    again = to_resume(run)
    run.status = ExecutionStatus.PENDING
    run.resumed_at = run.now
    run.completed_at = run.outputs = run.error = None
    run.events.append(Event(type="execution.resumed", data={"by": by, "tasks": again}))
    for name in again:
        state = run.task(name)
        run.move(state, TaskStatus.PENDING, **{**AFRESH, "items": items.get(name, state.items)})
    run.reindex()
    return again


def to_resume(run: Run) -> list[str]:
    """The tasks that a resume takes back, in the order of the definition.

    Failures that ``continue_on_failure`` accepted are results, as is what was skipped; but a skipped task that
    depends on one which goes on is decided again.
    """
    graph = {task.name: task.dependencies for task in run.definition.tasks}
    again: set[str] = set()
    for name in in_order(graph):
        task, state = run.definition_of(name), run.task(name)
        failed = state.status is TaskStatus.FAILED and not task.continue_on_failure
        skipped = state.status is TaskStatus.SKIPPED and not again.isdisjoint(task.dependencies)
        if failed or skipped or state.status is TaskStatus.CANCELLED:
            again.add(name)
    return [task.name for task in run.definition.tasks if task.name in again]


def accepts_failed_items(task: Task) -> bool:
    """Whether an item that failed is a result of its task, which a resume keeps."""
    return task.for_each is not None and task.for_each.on_item_failure != "fail"


def waits_for_approval(run: Run, name: str) -> bool:
    """Whether a person is asked to decide this task (or item, ``task[3]``) at the moment."""
    state = run.task(name)
    return not run.status.ended and state.status is TaskStatus.WAITING and state.waits_for == "approval"


def decide(run: Run, name: str, decision: Decision) -> None:
    """End the wait of an approval: its outputs say who decided what, or it fails with ``authorization``.

    A rejection fails the task where its ``on_reject`` is ``fail``, and then its fallback stands in as after any
    failure; else the workflow decides by the output ``approved``.
    """
    waiting = run.task(name).waiting or {}
    if not decision.approved and waiting.get("on_reject") == "fail":
        said = f": {decision.comment}" if decision.comment else "."
        error = TaskError("authorization", f"Rejected by {decision.by}{said}", details=outputs_of(run, decision))
        fail(run, run.task(name), error, jitter=0.0)
    else:
        complete_wait(run, run.task(name), outputs_of(run, decision))


def outputs_of(run: Run, decision: Decision) -> dict[str, Any]:
    """What a decided approval gives; the time is the database's."""
    return {
        "approved": decision.approved,
        "by": decision.by,
        "at": rfc3339(run.now),
        "comment": decision.comment,
        "values": dict(decision.values),
    }


def reusable(
    *,
    definition: Definition,
    documents: tuple[Mapping[str, Any], Mapping[str, Any]],
    ended_as: Mapping[str, str],
    from_task: str,
    changed: Collection[str],
) -> list[str]:
    """The tasks of ``definition`` whose results a rerun from ``from_task`` takes over, in order.

    ``documents`` are the definitions as written, the source's and the target's; ``ended_as`` the statuses in the
    source. A task is taken over when it completed or was skipped there, is written the same, refers to no input that
    ``changed``, and depends on nothing but such tasks.
    """
    before, after = (_written(document) for document in documents)
    graph = {task.name: task.dependencies for task in definition.tasks}
    kept: set[str] = set()
    for name in in_order(graph):
        task = definition.tasks[definition.places[name]]
        if (
            name != from_task
            and ended_as.get(name) in (TaskStatus.COMPLETED, TaskStatus.SKIPPED)
            and before.get(name) == after[name]
            and kept.issuperset(task.dependencies)
            and not _refers_to(task, changed)
        ):
            kept.add(name)
    return [task.name for task in definition.tasks if task.name in kept]


def _written(document: Mapping[str, Any]) -> dict[str, str]:
    return {task["name"]: canonical_json(task) for task in document["tasks"]}


def _refers_to(task: Task, inputs: Collection[str]) -> bool:
    if not inputs:
        return False
    paths = {path for template in task.templates() for path in template.references if path[0] == "inputs"}
    return any(len(path) == 1 or path[1] in inputs for path in paths)
