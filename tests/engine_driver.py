"""Drives the pure engine in memory, as the store does with a database: plan, claim, settle, and a clock set by hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from dataflow.lib.errors import TaskError
from executions.engine.outcomes import complete, fail, lose, release
from executions.engine.planner import Claim, plan, prepare
from executions.engine.run import Run
from executions.engine.state import ExecutionStatus, TaskState
from tasks_lib import registry
from workflows.definition import Definition, check

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


def echo(name: str, text: str = "hello", **more: Any) -> dict[str, Any]:
    """A task that is harmless to repeat."""
    return {"name": name, "type": "text.echo", "inputs": {"text": text}} | more


def post(name: str, **more: Any) -> dict[str, Any]:
    """A task that is not harmless to repeat."""
    return {"name": name, "type": "http.request", "inputs": {"url": "http://example.com", "method": "POST"}} | more


def after(name: str) -> str:
    """A reference to another task's output."""
    return f"{{{{tasks.{name}.outputs.text}}}}"


def definition_of(*tasks: Mapping[str, Any], **fields: Any) -> Definition:
    checked = check({"title": "T", "tasks": list(tasks), **fields}, registry)
    assert checked.definition is not None, checked.problems
    return checked.definition


class Driver:
    """One execution of a definition made of ``tasks``."""

    def __init__(self, *tasks: Mapping[str, Any], values: Mapping[str, Any] | None = None, **fields: Any) -> None:
        self.run = Run(
            id="we-1",
            workflow_id="wf-1",
            definition=definition_of(*tasks, **fields),
            status=ExecutionStatus.PENDING,
            inputs=values or {},
            created_at=START,
            now=START,
        )

    def ready(self) -> list[str]:
        return plan(self.run)

    def state(self, name: str) -> TaskState:
        return self.run.task(name)

    def claim(self, name: str) -> Claim | None:
        return prepare(self.run, name, registry)

    def start(self, name: str) -> Claim:
        assert name in self.ready()
        claim = self.claim(name)
        assert claim is not None, self.state(name)
        return claim

    def completes(self, name: str, **outputs: Any) -> None:
        complete(self.run, self.state(name), outputs or {"text": f"{name} done"})

    def fails(
        self,
        name: str,
        code: str = "communication",
        *,
        retryable: bool = True,
        retry_after: float | None = None,
        jitter: float = 0,
    ) -> None:
        error = TaskError(code, "as told", retryable=retryable, retry_after=retry_after)
        fail(self.run, self.state(name), error, jitter=jitter)

    def loses(self, name: str) -> None:
        lose(self.run, self.state(name))

    def releases(self, name: str) -> None:
        release(self.run, self.state(name))

    def later(self, seconds: float) -> None:
        """So much later it is read again."""
        self.run.now += timedelta(seconds=seconds)
        self.run.read_at = self.run.now

    def runs(self, name: str, **outputs: Any) -> None:
        """Start a task and complete it."""
        self.start(name)
        self.completes(name, **outputs)

    def statuses(self) -> dict[str, str]:
        return {task.name: state.status.value for task, state in self.run.states()}

    def waits(self, name: str) -> float:
        """Seconds until the task's retry."""
        due = self.state(name).due_at
        assert due is not None
        return (due - self.run.now).total_seconds()

    def log(self) -> list[str]:
        """``"type task"`` of each event."""
        return [f"{event.type} {event.task}".strip() for event in self.run.events]
