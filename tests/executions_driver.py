"""Executions in the database, taken on step by step as a worker would, without worker processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar

from django.db import connection
from django.db.models import F

from dataflow.lib.errors import TaskError
from executions import store
from executions.database import database_now, writing
from executions.engine.outcomes import Completed, Failed, Outcome
from executions.engine.planner import Claim, startable
from executions.engine.state import TaskStatus
from executions.models import Event, Execution, TaskRun
from executions.services import start_execution
from executions.worker.carrier import Carrier
from executions.worker.node import Node
from tests.engine_driver import echo
from tests.factories import make_workflow
from workflows.services import create_workflow

__all__ = ["echo"]

Result = TypeVar("Result")
WORKER = "wk-test"


def started(*tasks: Mapping[str, Any], monitoring: Any = None, values: Any = None, **fields: Any) -> Execution:
    """An accepted execution; without ``tasks`` it is the factories' three-task workflow."""
    if not tasks:
        values = values or {"text": "abc"}
        return start_execution(workflow=make_workflow(**fields), inputs=values, monitoring=monitoring)
    document = {"title": "T", "tasks": list(tasks), **fields}
    workflow = create_workflow(document=document).workflow
    return start_execution(workflow=workflow, inputs=values, monitoring=monitoring)


def claim(execution: Execution, worker: str = WORKER) -> Claim:
    """A step that must claim something."""
    claimed = store.step(execution.pk, worker=worker)
    assert claimed is not None
    return claimed


def settle(claimed: Claim, outcome: Outcome | None = None, worker: str = WORKER) -> Claim | None:
    """A step that ends a try; by default it completes."""
    outcome = outcome or Completed(outputs={"text": f"{claimed.task} done"})
    return store.step(claimed.execution_id, worker=worker, ended=store.EndOfTry(claim=claimed, outcome=outcome))


def failed(code: str = "communication", *, retryable: bool = True, **more: Any) -> Failed:
    return Failed(error=TaskError(code, "as told", retryable=retryable, **more))


def task(execution: Execution, name: str) -> TaskRun:
    return TaskRun.objects.get(execution=execution, name=name)


def carry(execution: Execution, taken: store.Loaded | None = None) -> None:
    """Take an execution as far as it can go, as a worker process of one thread does."""
    node = Node(threads=1)
    Carrier(node.id, run=node.run, holding=node.holding).carry(execution.pk, taken)


def is_due(execution: Execution) -> bool:
    """Whether a worker that looks now takes it: the row is the message."""
    return Execution.objects.alive().filter(pk=execution.pk, wake_at__lte=database_now()).exists()


def taken(limit: int = 100) -> list[str]:
    """The ids of what a worker takes now, in the order it does."""
    return [loaded.row.id for loaded in store.take(limit)]


def age_wake(execution: Execution, *, seconds: float = 60) -> None:
    """As if so much time had passed since it was settled when to look again."""
    Execution.objects.filter(pk=execution.pk).update(wake_at=F("wake_at") - timedelta(seconds=seconds))


def claimable(execution: Execution) -> list[str]:
    """What any worker could start now."""
    with writing():
        loaded = store.load(execution.pk)
        assert loaded is not None
        return startable(loaded.run)


def everything(execution: Execution) -> list[Any]:
    """All that is stored of an execution, to compare."""
    tables: Sequence[Any] = (Execution.objects.filter(pk=execution.pk), execution.task_runs, execution.events)
    return [list(table.order_by("pk").values()) for table in tables]


def age_leases(execution: Execution, *, seconds: float = 60) -> None:
    """As if so much time had passed since the leases of what runs were renewed."""
    for run in TaskRun.objects.filter(execution=execution, status=TaskStatus.RUNNING, items__isnull=True):
        assert run.lease_until is not None
        TaskRun.objects.filter(pk=run.pk).update(lease_until=run.lease_until - timedelta(seconds=seconds))


def age_due_times(execution: Execution, *, seconds: float = 3600) -> None:
    """As if so much time had passed since a retry was planned."""
    for run in TaskRun.objects.filter(execution=execution, status=TaskStatus.WAITING):
        assert run.due_at is not None
        TaskRun.objects.filter(pk=run.pk).update(due_at=run.due_at - timedelta(seconds=seconds))


def event_types(execution: Execution) -> list[str]:
    """``"type task"`` of each event; also checks that the log has no gap."""
    events = list(Event.objects.filter(execution=execution))
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert Execution.objects.get(pk=execution.pk).sequence == len(events)
    return [f"{event.type} {event.task}".strip() for event in events]


def at_once(*works: Callable[[], Result]) -> list[Result]:
    """Call all in threads that set off together; gives their results in order."""
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[], Result]) -> Result:
        try:
            barrier.wait(10)
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))
