"""Executions as the API shows them: one shape for the API, the pages and whoever waits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from executions.database import database_now
from executions.definitions import DefinitionBroken, definition_of
from executions.engine.outcomes import shown_error
from executions.engine.state import ExecutionStatus, TaskStatus
from executions.files import shown_outputs
from executions.models import Attempt, Delivery, DeliveryStatus, Execution, TaskRun, Worker

#: A worker that gave no sign of life for so long is taken for dead.
WORKER_SILENCE = timedelta(seconds=45)


def describe_started(execution: Execution) -> dict[str, Any]:
    """The answer to a start, as documented."""
    return {
        "workflow_execution_id": execution.pk,
        "workflow_id": execution.workflow_id,
        "workflow_version": execution.workflow_version,
        "status": execution.status,
        "url": url_of(execution),
    }


def describe_in_list(execution: Execution) -> dict[str, Any]:
    """One entry of a list of executions."""
    return describe_started(execution) | {
        "title": execution.title,
        "labels": execution.labels,
        "trigger": execution.trigger,
        "created_at": execution.created_at,
        "started_at": execution.started_at,
        "completed_at": execution.completed_at,
        "duration": _seconds(execution.started_at, execution.completed_at),
        "error": shown_error(execution.error, None),
    }


def describe_execution(execution: Execution) -> dict[str, Any]:
    """An execution with everything that is known of its tasks, in the order of its definition."""
    runs = {run.name: run for run in execution.task_runs.prefetch_related("attempts")}
    known = _tasks_of(execution, runs)
    tasks = [_describe_task(place, name, kind, runs.get(name), execution) for place, (name, kind) in enumerate(known)]
    places = {name: place for place, (name, _) in enumerate(known)}
    return describe_started(execution) | {
        "title": execution.title,
        "tasks": tasks,
        "inputs": execution.inputs,
        "outputs": shown_outputs(execution.outputs, execution.stored),
        "error": shown_error(execution.error, places.get((execution.error or {}).get("task") or "")),
        "labels": execution.labels,
        "trigger": execution.trigger,
        "created_at": execution.created_at,
        "started_at": execution.started_at,
        "completed_at": execution.completed_at,
        "duration": _seconds(execution.started_at, execution.completed_at),
        "usage": _summed(run.usage for run in runs.values()),
        "deliveries": describe_deliveries(execution),
        "waiting_for": _waiting_for(execution, runs),
        "actions": [] if ExecutionStatus(execution.status).ended else ["cancel"],
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


def _describe_task(place: int, name: str, kind: str, run: TaskRun | None, execution: Execution) -> dict[str, Any]:
    if run is None:
        # No row is made before there is something to say: an ended execution left it out.
        ended = ExecutionStatus(execution.status).ended
        return {"name": name, "type": kind, "status": TaskStatus.CANCELLED if ended else TaskStatus.PENDING} | _NOTHING
    return {
        "name": name,
        "type": run.type or kind,
        "status": run.status,
        "reason": run.reason or None,
        "attempt": run.attempt,
        "attempts": [*(_describe_attempt(attempt, place) for attempt in run.attempts.all()), *_current_attempt(run)],
        "started_at": run.started_at,
        "completed_at": run.completed_at,
        "duration": _seconds(run.started_at, run.completed_at),
        "due_at": run.due_at,
        "inputs": run.inputs,
        "outputs": shown_outputs(run.outputs, run.stored),
        "error": shown_error(run.error, place),
        "usage": run.usage,
        "log": run.log,
        "progress": run.progress,
        "progress_message": run.progress_message,
    }


_NOTHING: dict[str, Any] = {
    "reason": None, "attempt": 0, "attempts": [], "started_at": None, "completed_at": None, "duration": None,
    "due_at": None, "inputs": None, "outputs": None, "error": None, "usage": {}, "log": [], "progress": None,
    "progress_message": "",
}  # fmt: skip


def _describe_attempt(attempt: Attempt, place: int) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "type": attempt.type,
        "worker": attempt.worker,
        "status": TaskStatus.FAILED if attempt.error else TaskStatus.CANCELLED,
        "started_at": attempt.started_at,
        "completed_at": attempt.ended_at,
        "inputs": attempt.inputs,
        "error": shown_error(attempt.error, place),
        "usage": attempt.usage,
        "log": attempt.log,
    }


def _current_attempt(run: TaskRun) -> list[dict[str, Any]]:
    """The try that runs now, or that completed the task: it is in the task run itself."""
    if run.status not in (TaskStatus.RUNNING, TaskStatus.COMPLETED):
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


def _waiting_for(execution: Execution, runs: Mapping[str, TaskRun]) -> dict[str, Any] | None:
    """Why nothing happens at the moment, if nothing does."""
    if ExecutionStatus(execution.status).ended or any(run.status == TaskStatus.RUNNING for run in runs.values()):
        return None
    waiting = [(run.due_at, run.pk, run) for run in runs.values() if run.status == TaskStatus.WAITING and run.due_at]
    if waiting:
        until, _, first = min(waiting)
        since = max((attempt.ended_at for attempt in first.attempts.all()), default=None)
        return {"for": "retry", "since": since, "until": until}
    alive = has_live_worker(database_now())
    detail = None if alive else "No worker is running. Start one with: manage.py worker"
    since = max((run.completed_at for run in runs.values() if run.completed_at), default=execution.created_at)
    return {"for": "worker", "since": since, "until": None, "detail": detail}


def _summed(usages: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The amounts of all tasks together; what is not a number is left to the tasks."""
    total: dict[str, Any] = {}
    for usage in usages:
        for name, amount in usage.items():
            if isinstance(amount, int | float) and not isinstance(amount, bool):
                total[name] = total.get(name, 0) + amount
    return total


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else round((end - start).total_seconds(), 3)
