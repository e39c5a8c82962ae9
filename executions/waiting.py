"""Why nothing happens at the moment, and what can be done now: nobody asks why an execution hangs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Subquery

from dataflow.lib.fields import DatabaseNow
from executions.engine.state import ExecutionStatus, TaskStatus
from executions.models import Execution, TaskRun, Worker
from executions.reading import read
from workflows.models import Workflow

#: A worker that gave no sign of life for so long is taken for dead.
WORKER_SILENCE = timedelta(seconds=45)
NO_WORKER = "No worker is running. Start one with: manage.py worker"
LOST_WORKER = "The worker that ran it gave no sign of life; another one takes it up."
#: Of several reasons the first of these is the one to tell: what a person can end comes first.
_ORDER = ("approval", "child", "timer", "retry")
#: Reasons that one answer tells, and items that one look reads: lists may be long.
MAX_REASONS = 100
MAX_UNDER_WAY = 2_000


def waiting_for(execution: Execution, runs: Mapping[str, TaskRun]) -> dict[str, Any] | None:
    """Why nothing happens in an execution that is not over, ``None`` while a task or an item runs.

    ``runs`` are its task runs by name, items under way too (``with_items``). The answer has ``for`` (``worker``,
    ``retry``, ``timer``, ``approval``, ``child``, ``concurrency``), ``since``, ``until`` (or ``None``), and where there
    is such: ``task``, ``detail``, ``execution_id`` (a child's), ``all`` (the first ``MAX_REASONS``, where there are
    several). A try whose worker let its lease run out does not run. It costs no query when something runs, else one.
    """
    if ExecutionStatus(execution.status).ended:
        return None
    tries = [run for run in runs.values() if run.status == TaskStatus.RUNNING and run.items is None]
    # By this machine's clock it only seems so: the database's is asked before anything is said.
    if not all(_is_lost(run, datetime.now(UTC)) for run in tries):
        return None
    if is_parked(execution):
        return _for_a_slot(execution)
    now, has_worker = _clock(execution)
    if not all(_is_lost(run, now) for run in tries):
        return None
    waits = sorted((_reason(run) for run in runs.values() if run.status == TaskStatus.WAITING), key=_rank)
    if not waits and is_delayed(execution):
        waits = [_entry("timer", execution.created_at, execution.wake_at, detail="It was asked to start then.")]
    overdue = execution.wake_at is not None and execution.wake_at <= now
    if tries or overdue or not waits:
        return _for_a_worker(execution, runs.values(), has_worker=has_worker)
    return waits[0] | ({"all": waits[:MAX_REASONS]} if len(waits) > 1 else {})


def with_items(execution: Execution, runs: Mapping[str, TaskRun]) -> Mapping[str, TaskRun]:
    """``runs`` and the items that run or wait, by name; a query where there is a list under way."""
    spread = any(run.items is not None and run.status == TaskStatus.RUNNING for run in runs.values())
    if not spread or ExecutionStatus(execution.status).ended:
        return runs
    return {**runs, **{run.name: run for run in items_under_way(execution)}}


def items_under_way(execution: Execution) -> list[TaskRun]:
    """The items that run or wait, in order, with what says for what; at most ``MAX_UNDER_WAY``."""
    items = TaskRun.objects.filter(
        execution=execution, item__isnull=False, status__in=(TaskStatus.RUNNING, TaskStatus.WAITING)
    )
    found = items.order_by("position", "item").only(
        "name", "item", "items", "status", "waiting", "child", "due_at", "lease_until", "completed_at"
    )
    return list(found[:MAX_UNDER_WAY])


def actions(execution: Execution, runs: Mapping[str, TaskRun] | None = None) -> list[str]:
    """What may be asked of an execution now: ``cancel``, ``resume``, ``rerun``, ``approve``, ``reject``.

    Without ``runs`` (items under way too) the last two are left out. A child is not resumed by itself: its parent makes
    a new one. Of an archived workflow nothing is run again.
    """
    status = ExecutionStatus(execution.status)
    again = [] if is_archived(execution) else ["rerun"]
    if status is ExecutionStatus.COMPLETED or (status.ended and execution.parent_id):
        return again
    if status.ended:
        return ["resume", *again]
    asked = any(waits_for_approval(run) for run in (runs or {}).values())
    return ["cancel", *again, *(("approve", "reject") if asked else ())]


def is_archived(execution: Execution) -> bool:
    """Whether its workflow was archived; a query where the workflow has not been read."""
    if Execution.workflow.is_cached(execution):
        return execution.workflow.archived_at is not None
    return read(Workflow, "id = {0}", [execution.workflow_id])[0].archived_at is not None


def waits_for_approval(run: TaskRun) -> bool:
    """Whether a person is asked to decide this task at the moment."""
    return run.status == TaskStatus.WAITING and (run.waiting or {}).get("for") == "approval"


def is_parked(execution: Execution) -> bool:
    """Whether it waits for a slot of its workflow's ``concurrency``: nobody looks at it until one is free."""
    return execution.status == ExecutionStatus.PENDING and execution.wake_at is None and bool(execution.concurrency_key)


def is_delayed(execution: Execution) -> bool:
    """Whether it was accepted to start at a time of its own, and nobody looked at it yet."""
    asked = execution.wake_at is not None and execution.wake_at == execution.pick_at
    return asked and execution.status == ExecutionStatus.PENDING


def _for_a_slot(execution: Execution) -> dict[str, Any]:
    same = Execution.objects.filter(workflow=execution.workflow_id, concurrency_key=execution.concurrency_key)
    running = same.filter(status=ExecutionStatus.RUNNING).count()
    detail = f"{running} of {execution.concurrency_limit} of this workflow run."
    return _entry("concurrency", execution.resumed_at or execution.pick_at or execution.created_at, None, detail=detail)


def _for_a_worker(execution: Execution, runs: Iterable[TaskRun], *, has_worker: bool) -> dict[str, Any]:
    """It could go on; a RUNNING try among ``runs`` was left behind by its worker."""
    moments = [execution.resumed_at]
    lost = ""
    for run in runs:
        moments.append(run.completed_at)
        if run.status == TaskStatus.RUNNING and run.items is None:
            moments.append(run.lease_until)
            lost = lost or run.name
    since = max((moment for moment in moments if moment is not None), default=execution.created_at)
    detail = LOST_WORKER if lost else None
    return _entry("worker", since, None, detail=detail if has_worker else NO_WORKER) | ({"task": lost} if lost else {})


def _is_lost(run: TaskRun, now: datetime) -> bool:
    """Whether the worker of a RUNNING try let its lease run out."""
    return run.lease_until is not None and run.lease_until < now


def _reason(run: TaskRun) -> dict[str, Any]:
    """For what one WAITING task waits."""
    waiting = run.waiting or {}
    kind = str(waiting.get("for") or "retry")
    found = _entry(kind, _moment(waiting.get("since")), run.due_at, task=run.name)
    if kind == "approval":
        found |= {"detail": waiting.get("title") or waiting.get("message")}
    child = run.child or waiting.get("execution_id")
    return found | ({"execution_id": child} if kind == "child" and child else {})


def _entry(kind: str, since: datetime | None, until: datetime | None, **more: Any) -> dict[str, Any]:
    return {"for": kind, "since": since, "until": until, **more}


def _rank(reason: Mapping[str, Any]) -> tuple[int, bool, str]:
    place = _ORDER.index(reason["for"]) if reason["for"] in _ORDER else len(_ORDER)
    return place, reason["until"] is None, str(reason["until"])


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None


def _clock(execution: Execution) -> tuple[datetime, bool]:
    """The database's clock, and whether any worker gave a sign of life lately, in one query."""
    last = Worker.objects.order_by("-heartbeat_at").values("heartbeat_at")[:1]
    found = Execution.objects.filter(pk=execution.pk).values_list(DatabaseNow(), Subquery(last))
    now, heartbeat = found.get()
    return now, heartbeat is not None and heartbeat >= now - WORKER_SILENCE
