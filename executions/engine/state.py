"""What an execution and its tasks are, as values, and which state can follow which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class ExecutionStatus(StrEnum):
    """Where an execution stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        """Whether nothing can follow by itself."""
        return self in _ENDED_EXECUTIONS


class TaskStatus(StrEnum):
    """Where a task run stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        """Whether nothing can follow by itself."""
        return self in _ENDED_TASKS


_ENDED_EXECUTIONS = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED})
_ENDED_TASKS = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.SKIPPED, TaskStatus.CANCELLED})
_ENDS = frozenset({TaskStatus.SKIPPED, TaskStatus.FAILED, TaskStatus.CANCELLED})

#: Ended states are final, except that ``resume`` takes FAILED or CANCELLED back to PENDING (4-execution.md).
EXECUTION_TRANSITIONS: Mapping[ExecutionStatus, frozenset[ExecutionStatus]] = {
    ExecutionStatus.PENDING: frozenset({ExecutionStatus.RUNNING, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED}),
    ExecutionStatus.RUNNING: frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED}),
    ExecutionStatus.COMPLETED: frozenset(),
    ExecutionStatus.FAILED: frozenset({ExecutionStatus.PENDING}),
    ExecutionStatus.CANCELLED: frozenset({ExecutionStatus.PENDING}),
}

#: What has ended goes back to PENDING by ``resume`` alone; what is COMPLETED never does. What cannot be tried and has a
#: fallback goes from PENDING to PENDING.
TASK_TRANSITIONS: Mapping[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.PENDING: _ENDS | {TaskStatus.RUNNING, TaskStatus.PENDING},
    TaskStatus.RUNNING: _ENDS - {TaskStatus.SKIPPED} | {TaskStatus.COMPLETED, TaskStatus.WAITING, TaskStatus.PENDING},
    TaskStatus.WAITING: frozenset(TaskStatus),
    TaskStatus.COMPLETED: frozenset(),
    TaskStatus.FAILED: frozenset({TaskStatus.PENDING}),
    TaskStatus.SKIPPED: frozenset({TaskStatus.PENDING}),
    TaskStatus.CANCELLED: frozenset({TaskStatus.PENDING}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """How far a ``for_each`` task is. ``next`` is the first item that was never claimed."""

    total: int
    next: int = 0
    completed: int = 0
    failed: int = 0

    @property
    def done(self) -> bool:
        """Whether every item has ended."""
        return self.completed + self.failed == self.total


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """One task of one execution, or one item of a ``for_each`` task, named ``task[item]``.

    ``attempt`` counts claims, ``failures`` the tries that failed, ``lost`` those whose worker died. ``timeout`` is the
    claimed try's, in seconds. ``waiting`` says for what a WAITING task waits (``for``), since when, and what belongs to
    that; ``due_at`` is when the wait is over, or the wait's timeout.
    """

    name: str
    status: TaskStatus = TaskStatus.PENDING
    attempt: int = 0
    failures: int = 0
    lost: int = 0
    on_fallback: bool = False
    repeatable: bool = True
    timeout: float | None = None
    worker: str = ""
    lease_until: datetime | None = None
    due_at: datetime | None = None
    started_at: datetime | None = None
    attempt_started_at: datetime | None = None
    completed_at: datetime | None = None
    outputs: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    reason: str = ""
    waiting: Mapping[str, Any] | None = None
    child: str = ""
    item: int | None = None
    items: Items | None = None

    @property
    def waits_for(self) -> str:
        """``retry``, ``timer``, ``approval`` or ``child``; empty where it does not wait."""
        return "" if self.waiting is None else str(self.waiting["for"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened; ``task`` is empty for what concerns the whole execution."""

    type: str
    task: str = ""
    attempt: int = 0
    data: Mapping[str, Any] | None = None


@dataclass(slots=True)
class Logged:
    """An event with its number in the execution's log."""

    sequence: int
    type: str
    task: str
    attempt: int
    at: datetime
    data: Mapping[str, Any]


def item_name(task: str, item: int) -> str:
    """The name of an item's run."""
    return f"{task}[{item}]"


def task_of(name: str) -> str:
    """The task that a run belongs to: ``pages`` of ``pages`` and of ``pages[3]``."""
    return name.partition("[")[0]
