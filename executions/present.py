"""Executions as the API shows them: one shape for the API, the pages and whoever waits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

from executions.definitions import DefinitionBroken, definition_of
from executions.engine.outcomes import shown_error
from executions.engine.state import ExecutionStatus, TaskStatus
from executions.files import shown_outputs
from executions.hidden import mask_of, shown_inputs
from executions.models import Attempt, Delivery, DeliveryStatus, Event, Execution, TaskRun, Worker
from executions.prices import current as current_prices
from executions.reading import read_tasks
from executions.redaction import Redactor
from executions.usage import summed, total_cost
from executions.waiting import WORKER_SILENCE, actions, waiting_for, with_items

#: The columns that a list shows: not the large ones.
LISTED = (
    "workflow_id", "workflow_version", "status", "title", "error", "labels", "priority", "trigger", "trigger_ref",
    "parent_id", "parent_task", "rerun_of_id", "created_at", "started_at", "completed_at",
)  # fmt: skip


def describe_started(execution: Execution) -> dict[str, Any]:
    """The answer to a start, as documented."""
    return {
        "workflow_execution_id": execution.id,
        "workflow_id": execution.workflow_id,
        "workflow_version": execution.workflow_version,
        "status": execution.status,
        "url": url_of(execution),
    }


def describe_in_list(execution: Execution) -> dict[str, Any]:
    """One entry of a list of executions; ``LISTED`` is what it reads."""
    return describe_started(execution) | {"title": execution.title} | _facts(execution)


def describe_execution(execution: Execution, tasks: Iterable[TaskRun] | None = None) -> dict[str, Any]:
    """An execution with everything that is known of its tasks, in the order of its definition.

    ``tasks`` are its task runs without those of items, where they are at hand (``reading.read_shown``).
    """
    runs = {run.name: run for run in (read_tasks(execution.id) if tasks is None else tasks)}
    attempts = _attempts_of(runs.values())
    used, prices, current = _used(execution, runs, attempts), current_prices(), with_items(execution, runs)
    known, mask = _tasks_of(execution, runs), mask_of(execution)
    described = [
        _describe_task(place, name, kind, runs.get(name), execution, attempts, mask)
        for place, (name, kind) in enumerate(known)
    ]
    for task in described:
        task["cost"] = total_cost(used.get(task["name"], ()), prices)
    places = {name: place for place, (name, _) in enumerate(known)}
    place = places.get((execution.error or {}).get("task") or "")
    return (
        describe_started(execution)
        | {
            "title": execution.title,
            "tasks": described,
            "inputs": shown_inputs(execution, mask),
            "outputs": mask.value(shown_outputs(execution.outputs, execution.stored)),
        }
        | _facts(execution, place)
        | {
            "usage": mask.value(summed(chain.from_iterable(used.values()), prices)),
            "deliveries": describe_deliveries(execution),
            "waiting_for": _masked_wait(waiting_for(execution, current), mask),
            "actions": actions(execution, current),
        }
    )


def _facts(execution: Execution, place: int | None = None) -> dict[str, Any]:
    """What a list and the execution itself both show; ``place`` is that of the task that failed it."""
    return {
        "error": shown_error(execution.error, place),
        "labels": execution.labels,
        "priority": execution.priority,
        "trigger": execution.trigger,
        "trigger_ref": execution.trigger_ref or None,
        "parent": execution.parent_id,
        "parent_task": execution.parent_task or None,
        "rerun_of": execution.rerun_of_id,
        "created_at": execution.created_at,
        "started_at": execution.started_at,
        "completed_at": execution.completed_at,
        "duration": _seconds(execution.started_at, execution.completed_at),
    }


def describe_items(execution: Execution, runs: Sequence[TaskRun]) -> list[dict[str, Any]]:
    """Items of a ``for_each`` task as tasks are described, with their place; a query where one was tried again."""
    attempts, mask, prices = _attempts_of(runs), mask_of(execution), current_prices()
    return [
        {
            "index": run.item,
            **_describe_task(run.position, run.name, run.type, run, execution, attempts, mask),
            "cost": total_cost(_paid(run, attempts), prices),
        }
        for run in runs
    ]


def describe_event(event: Event) -> dict[str, Any]:
    """One line of an execution's log."""
    return {
        "sequence": event.sequence,
        "type": event.type,
        "task": event.task or None,
        "attempt": event.attempt,
        "at": event.at,
        "data": event.data,
    }


def describe_deliveries(execution: Execution) -> list[dict[str, Any]]:
    """The webhook deliveries of an execution with every try; an execution without a webhook costs no query."""
    if not execution.monitoring:
        return []
    found = Delivery.objects.filter(execution=execution).prefetch_related("attempts")
    return [
        {
            "id": delivery.pk,
            "sequence": delivery.sequence,
            "type": delivery.type,
            "url": delivery.url,
            "status": delivery.status,
            "next_attempt_at": delivery.next_attempt_at if delivery.status == DeliveryStatus.PENDING else None,
            "delivered_at": delivery.delivered_at,
            "body": delivery.body,
            "attempts": [
                {
                    "number": attempt.number,
                    "at": attempt.at,
                    "duration_ms": attempt.duration_ms,
                    "status_code": attempt.status_code,
                    "error": attempt.error,
                    "response": attempt.response,
                }
                for attempt in delivery.attempts.all()
            ],
        }
        for delivery in found
    ]


def url_of(execution: Execution) -> str:
    """The address of an execution: its page for a browser, its state for a program."""
    return f"/workflows/{execution.workflow_id}/executions/{execution.pk}"


def has_live_worker(now: datetime) -> bool:
    """Whether any worker gave a sign of life lately."""
    return Worker.objects.filter(heartbeat_at__gte=now - WORKER_SILENCE).exists()


def _tasks_of(execution: Execution, runs: Mapping[str, TaskRun]) -> Sequence[tuple[str, str]]:
    try:
        return [(task.name, task.type) for task in definition_of(execution.version_id).tasks]
    except DefinitionBroken:
        return [(run.name, run.type) for run in runs.values()]


def _attempts_of(runs: Iterable[TaskRun]) -> Mapping[int, Sequence[Attempt]]:
    """The tries that did not complete their task, by task run; where every first try did, that costs no query."""
    several = [run.pk for run in runs if run.attempt > 1 or (run.attempt and run.status not in _TRIED_ONCE)]
    found: dict[int, list[Attempt]] = {}
    if several:
        for attempt in Attempt.objects.filter(task_run__in=several):
            found.setdefault(attempt.task_run_id, []).append(attempt)
    return found


#: The try that runs, or that completed its task, is in the task run itself.
_TRIED_ONCE = frozenset({TaskStatus.RUNNING, TaskStatus.COMPLETED})


def _describe_task(
    place: int,
    name: str,
    kind: str,
    run: TaskRun | None,
    execution: Execution,
    attempts: Mapping[int, Sequence[Attempt]],
    mask: Redactor,
) -> dict[str, Any]:
    if run is None:
        # No row is made before there is something to say: an ended execution left it out.
        ended = ExecutionStatus(execution.status).ended
        return {"name": name, "type": kind, "status": TaskStatus.CANCELLED if ended else TaskStatus.PENDING} | _NOTHING
    tries = [_describe_attempt(attempt, place) for attempt in attempts.get(run.pk, ())]
    described = {
        "name": name,
        "type": run.type or kind,
        "status": run.status,
        "reason": run.reason or None,
        "attempt": run.attempt,
        "attempts": [*tries, *_current_attempt(run)],
        "started_at": run.started_at,
        "completed_at": run.completed_at,
        "duration": _seconds(run.started_at, run.completed_at),
        "due_at": run.due_at,
        "inputs": run.inputs,
        "outputs": mask.value(shown_outputs(run.outputs, run.stored)),
        "error": shown_error(run.error, place),
        "usage": run.usage,
        "log": run.log,
        "progress": run.progress,
        "progress_message": run.progress_message,
    }
    if run.items is not None:
        described["items"] = {name: run.items.get(name, 0) for name in ("total", "completed", "failed")}
    if run.child:
        described["child"] = run.child
    return described


_NOTHING: dict[str, Any] = {
    "reason": None, "attempt": 0, "attempts": [], "started_at": None, "completed_at": None, "duration": None,
    "due_at": None, "inputs": None, "outputs": None, "error": None, "usage": {}, "log": [], "progress": None,
    "progress_message": "",
}  # fmt: skip


def _masked_wait(wait: dict[str, Any] | None, mask: Redactor) -> dict[str, Any] | None:
    """Why nothing happens; the question of an approval may hold a sensitive value."""
    if not mask or wait is None:
        return wait
    told = {name: mask.told(wait[name]) for name in ("detail",) if name in wait}
    return wait | told | ({"all": [_masked_wait(one, mask) for one in wait["all"]]} if "all" in wait else {})


def _describe_attempt(attempt: Attempt, place: int) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "type": attempt.type,
        "worker": attempt.worker,
        "status": _status_of(attempt),
        "started_at": attempt.started_at,
        "completed_at": attempt.ended_at,
        "inputs": attempt.inputs,
        "error": shown_error(attempt.error, place),
        "usage": attempt.usage,
        "log": attempt.log,
    }


def _status_of(attempt: Attempt) -> TaskStatus:
    if attempt.went_on:
        return TaskStatus.COMPLETED
    return TaskStatus.FAILED if attempt.error else TaskStatus.CANCELLED


def _current_attempt(run: TaskRun) -> list[dict[str, Any]]:
    """The try that runs now, or that completed the task: it is in the task run itself. A reused task had none."""
    if run.status not in (TaskStatus.RUNNING, TaskStatus.COMPLETED) or not run.attempt:
        return []
    return [
        {
            "number": run.attempt,
            "type": run.type,
            "worker": run.worker,
            "status": run.status,
            "started_at": run.attempt_started_at,
            "completed_at": run.completed_at,
            "inputs": run.inputs,
            "error": None,
            "usage": run.usage,
            "log": run.log,
        }
    ]


def _used(
    execution: Execution, runs: Mapping[str, TaskRun], attempts: Mapping[int, Sequence[Attempt]]
) -> dict[str, list[Mapping[str, Any]]]:
    """What every try of each task used, those that failed and those of items too: all are paid."""
    used = {name: _paid(run, attempts) for name, run in runs.items()}
    # What is not in the answer is not read for it: two queries, and only where a task has items.
    if any(run.items is not None for run in runs.values()):
        items = TaskRun.objects.filter(execution=execution, item__isnull=False).exclude(usage={})
        ended = items.filter(status=TaskStatus.COMPLETED).values_list("name", "usage")
        tries = Attempt.objects.filter(task_run__execution=execution, task_run__item__isnull=False).exclude(usage={})
        for name, usage in [*ended, *tries.values_list("task_run__name", "usage")]:
            used.setdefault(name.partition("[")[0], []).append(usage)
    return used


def _paid(run: TaskRun, attempts: Mapping[int, Sequence[Attempt]]) -> list[Mapping[str, Any]]:
    """What every try of one task run used."""
    ended = [run.usage] if run.status == TaskStatus.COMPLETED else []
    return [attempt.usage for attempt in attempts.get(run.pk, ())] + ended


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else round((end - start).total_seconds(), 3)
