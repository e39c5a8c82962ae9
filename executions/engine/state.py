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
        return not EXECUTION_TRANSITIONS[self] - {ExecutionStatus.PENDING}


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
        """Whether nothing can follow."""
        return not TASK_TRANSITIONS[self]


#: Ended states are final, except that ``resume`` takes FAILED or CANCELLED back to PENDING (4-execution.md).
EXECUTION_TRANSITIONS: Mapping[ExecutionStatus, frozenset[ExecutionStatus]] = {
    ExecutionStatus.PENDING: frozenset({ExecutionStatus.RUNNING, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED}),
    ExecutionStatus.RUNNING: frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED}),
    ExecutionStatus.COMPLETED: frozenset(),
    ExecutionStatus.FAILED: frozenset({ExecutionStatus.PENDING}),
    ExecutionStatus.CANCELLED: frozenset({ExecutionStatus.PENDING}),
}

TASK_TRANSITIONS: Mapping[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.PENDING: frozenset({TaskStatus.RUNNING, TaskStatus.SKIPPED, TaskStatus.FAILED, TaskStatus.CANCELLED}),
    TaskStatus.RUNNING: frozenset(
        {TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.WAITING, TaskStatus.PENDING, TaskStatus.CANCELLED}
    ),
    TaskStatus.WAITING: frozenset(
        {TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.SKIPPED, TaskStatus.FAILED, TaskStatus.CANCELLED}
    ),
    TaskStatus.COMPLETED: frozenset(),
    TaskStatus.FAILED: frozenset(),
    TaskStatus.SKIPPED: frozenset(),
    TaskStatus.CANCELLED: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """One task of one execution.

    ``attempt`` counts claims, ``failures`` the tries that failed, ``lost`` those whose worker died. ``timeout`` is the
    claimed try's, in seconds.
    """

    name: str
    status: TaskStatus = TaskStatus.PENDING
    attempt: int = 0
    failures: int = 0
    lost: int = 0
    on_fallback: bool = False
    repeatable: bool = True
    timeout: float | None = None
    lease_until: datetime | None = None
    due_at: datetime | None = None
    started_at: datetime | None = None
    attempt_started_at: datetime | None = None
    completed_at: datetime | None = None
    outputs: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened; ``task`` is empty for what concerns the whole execution."""

    type: str
    task: str = ""
    attempt: int = 0
    data: Mapping[str, Any] | None = None
