"""What resume, a decision and a rerun make of a run. Pure: states in, states out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from executions.engine.planner import plan
from executions.engine.run import Run
from executions.engine.state import ExecutionStatus, Items, TaskState, TaskStatus
from executions.engine.verbs import Decision, decide, resume, reusable, to_resume, waits_for_approval
from tests.engine_driver import after, definition_of, echo

pytestmark = pytest.mark.any_database

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
EARLIER = NOW - timedelta(hours=1)
ERROR = {"code": "communication", "message": "as told", "retryable": True}
COMPLETED, FAILED, SKIPPED, CANCELLED, PENDING, WAITING = (
    TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.SKIPPED, TaskStatus.CANCELLED, TaskStatus.PENDING,
    TaskStatus.WAITING,
)  # fmt: skip


def run_of(
    *tasks: dict[str, Any], status: ExecutionStatus = ExecutionStatus.FAILED, **states: TaskStatus | TaskState
) -> Run:
    """A run of ``tasks`` with these states by name; the rest was never begun."""
    known = {
        name: state if isinstance(state, TaskState) else TaskState(name=name, status=state, attempt=1)
        for name, state in states.items()
    }
    return Run(
        id="we-1", workflow_id="wf-1", definition=definition_of(*tasks), status=status, inputs={}, created_at=EARLIER,
        now=NOW, started_at=EARLIER, completed_at=EARLIER, error=ERROR, tasks=known,
    )  # fmt: skip


def statuses(run: Run) -> dict[str, str]:
    return {task.name: state.status.value for task, state in run.states()}


# --- resume ---
def test_it_works() -> None:
    broken = TaskState(
        name="b", status=FAILED, attempt=3, failures=3, lost=1, on_fallback=True, error=ERROR, reason="x",
        started_at=EARLIER, completed_at=EARLIER,
    )  # fmt: skip
    run = run_of(echo("a"), echo("b"), echo("c"), a=COMPLETED, b=broken, c=CANCELLED)
    assert resume(run, by="ann", items={}) == ["b", "c"]
    assert run.status is ExecutionStatus.PENDING
    assert (run.resumed_at, run.completed_at, run.error, run.outputs) == (NOW, None, None, None)
    assert run.started_at == EARLIER
    assert statuses(run) == {"a": "COMPLETED", "b": "PENDING", "c": "PENDING"}
    assert run.task("b") == TaskState(name="b", attempt=3)
    assert run.events[0].type == "execution.resumed"
    assert run.events[0].data == {"by": "ann", "tasks": ["b", "c"]}
    assert [event.type for event in run.events[1:]] == ["task.requeued", "task.requeued"]
    assert plan(run) == ["b"]


def test_what_was_never_begun_is_left_as_it_is() -> None:
    run = run_of(echo("a"), echo("b"), a=CANCELLED, status=ExecutionStatus.CANCELLED)
    assert resume(run, by="api", items={}) == ["a"]
    assert run.changed == {"a"}
    assert plan(run) == ["a"]


def test_accepted_failures_and_skipped_tasks_are_results() -> None:
    run = run_of(
        echo("a", continue_on_failure=True), echo("b", condition="{{false}}"), echo("c"), a=FAILED, b=SKIPPED, c=FAILED
    )
    assert resume(run, by="api", items={}) == ["c"]
    assert statuses(run) == {"a": "FAILED", "b": "SKIPPED", "c": "PENDING"}
    assert plan(run) == ["c"]


def test_what_was_skipped_behind_what_goes_on_is_decided_again() -> None:
    run = run_of(echo("a"), echo("b", after("a")), echo("c", after("b")), a=FAILED, b=SKIPPED, c=SKIPPED)
    assert to_resume(run) == ["a", "b", "c"]


def test_an_execution_whose_tasks_all_ended_well_evaluates_its_outputs_again() -> None:
    run = run_of(echo("a"), a=COMPLETED)
    assert resume(run, by="api", items={}) == []
    assert plan(run) == []
    assert run.status is ExecutionStatus.COMPLETED


@pytest.mark.parametrize("status", [ExecutionStatus.PENDING, ExecutionStatus.RUNNING, ExecutionStatus.COMPLETED])
def test_only_what_failed_or_was_cancelled_can_be_resumed(status: ExecutionStatus) -> None:
    run = run_of(echo("a"), status=status)
    with pytest.raises(ValueError, match="cannot be resumed"):
        resume(run, by="api", items={})
    assert run.status is status
    assert run.events == []


def test_the_counters_of_a_list_are_put_right() -> None:
    each = echo("a", "{{string(item)}}", for_each="{{[1, 2, 3]}}")
    state = TaskState(name="a", status=FAILED, attempt=1, items=Items(total=3, next=2, completed=1, failed=1))
    run = run_of(each, a=state)
    left = Items(total=3, next=2, completed=1)
    resume(run, by="api", items={"a": left})
    assert run.task("a").items == left
    plan(run)
    assert run.task("a").status is TaskStatus.RUNNING
    assert run.task("a").items == left


def test_the_timeout_counts_from_when_it_runs_again() -> None:
    """Not from the resume, nor from its first start: it may wait for a slot or a worker as long as it must."""
    run = run_of(echo("a"), a=FAILED)
    object.__setattr__(run.definition, "timeout", 60.0)
    resume(run, by="api", items={})
    assert run.deadline is None
    run.now += timedelta(seconds=1000)
    assert plan(run) == ["a"]
    run.begin()
    assert (run.started_at, run.resumed_at) == (EARLIER, NOW)
    run.now += timedelta(seconds=59)
    assert plan(run) == ["a"]
    run.now += timedelta(seconds=1)
    assert plan(run) == []
    assert run.error is not None
    assert run.error["code"] == "timeout"


# --- approvals ---
def asked(name: str = "a", item: int | None = None, **data: Any) -> TaskState:
    waiting = {"for": "approval", "since": "2026-11-23T07:00:00Z", **data}
    return TaskState(name=name, item=item, status=WAITING, attempt=1, waiting=waiting, due_at=NOW + timedelta(days=1))


def test_an_approval_gives_who_when_and_what() -> None:
    task = echo("a", outputs=[{"name": "yes", "value": "{{outputs.text}}"}])
    run = run_of(task, echo("b"), a=asked(), status=ExecutionStatus.RUNNING)
    assert waits_for_approval(run, "a")
    decide(run, "a", Decision(approved=True, by="ann", comment="fine", values={"amount": 5}))
    state = run.task("a")
    assert state.status is COMPLETED
    assert state.outputs == {
        "approved": True, "by": "ann", "at": "2026-11-23T08:00:00Z", "comment": "fine", "values": {"amount": 5},
        "yes": None,
    }  # fmt: skip
    assert state.due_at is None
    assert not waits_for_approval(run, "a")
    assert plan(run) == ["b"]


def test_a_rejection_is_an_output_unless_it_is_to_fail() -> None:
    run = run_of(echo("a"), a=asked(on_reject="continue"), status=ExecutionStatus.RUNNING)
    decide(run, "a", Decision(approved=False, by="ann"))
    state = run.task("a")
    assert state.status is COMPLETED
    assert state.outputs is not None
    assert state.outputs["approved"] is False


def test_a_rejection_that_fails_says_who_and_why() -> None:
    run = run_of(echo("a"), echo("b"), a=asked(on_reject="fail"), status=ExecutionStatus.RUNNING)
    decide(run, "a", Decision(approved=False, by="ann", comment="too dear"))
    error = run.task("a").error
    assert error is not None
    assert error["code"] == "authorization"
    assert error["message"] == "Rejected by ann: too dear"
    assert error["details"]["by"] == "ann"
    plan(run)
    assert run.status is ExecutionStatus.FAILED


def test_a_rejection_that_fails_is_not_tried_again_but_its_fallback_stands_in() -> None:
    task = echo("a", retry={"attempts": 5}, fallback={"task": "text.echo", "inputs": {"text": "x"}})
    run = run_of(task, a=asked(on_reject="fail"), status=ExecutionStatus.RUNNING)
    decide(run, "a", Decision(approved=False, by="ann"))
    assert run.task("a").status is PENDING
    assert run.task("a").on_fallback
    assert run.task("a").waiting is None
    assert not run.task("a").reason, "it does not wait for an approval any more"


def test_an_item_is_decided_by_its_own_name() -> None:
    each = echo("a", "{{string(item)}}", for_each="{{[1, 2]}}")
    task = TaskState(name="a", status=TaskStatus.RUNNING, attempt=1, items=Items(total=2, next=2, completed=1))
    run = run_of(each, status=ExecutionStatus.RUNNING, a=task, **{"a[1]": asked("a[1]", item=1)})
    assert waits_for_approval(run, "a[1]")
    assert not waits_for_approval(run, "a")
    decide(run, "a[1]", Decision(approved=True, by="ann"))
    assert run.task("a").items == Items(total=2, next=2, completed=2)


@pytest.mark.parametrize("state", [PENDING, COMPLETED, TaskState(name="a", status=WAITING, waiting={"for": "retry"})])
def test_nobody_is_asked_otherwise(state: TaskStatus | TaskState) -> None:
    assert not waits_for_approval(run_of(echo("a"), a=state, status=ExecutionStatus.RUNNING), "a")


def test_nobody_is_asked_for_an_execution_that_has_ended() -> None:
    assert not waits_for_approval(run_of(echo("a"), a=asked()), "a")


# --- rerun ---
CHAIN = [echo("a"), echo("b", after("a")), echo("c", after("b")), echo("d", depends_on=[])]
DONE = dict.fromkeys("abcd", "COMPLETED")


def reused(
    tasks: list[dict[str, Any]],
    ended_as: dict[str, str],
    from_task: str,
    before: list[dict[str, Any]] | None = None,
    changed: set[str] | None = None,
    **fields: Any,
) -> list[str]:
    documents = ({"tasks": before or tasks}, {"tasks": tasks})
    definition = definition_of(*tasks, **fields)
    return reusable(
        definition=definition, documents=documents, ended_as=ended_as, from_task=from_task, changed=changed or set()
    )


def test_what_does_not_depend_on_the_task_is_reused() -> None:
    assert reused(CHAIN, DONE, "b") == ["a", "d"]
    assert reused(CHAIN, DONE, "a") == ["d"]
    assert reused(CHAIN, DONE, "d") == ["a", "b", "c"]


def test_only_what_completed_or_was_skipped_is_reused() -> None:
    assert reused(CHAIN, {"a": "COMPLETED", "b": "SKIPPED", "c": "FAILED", "d": "CANCELLED"}, "c") == ["a", "b"]
    assert reused(CHAIN, {}, "c") == []


def test_what_is_written_otherwise_runs_again_and_what_depends_on_it() -> None:
    changed = [CHAIN[0], echo("b", after("a"), timeout=5), *CHAIN[2:]]
    assert reused(changed, DONE, "d", before=CHAIN) == ["a"]
    other_order = [dict(reversed(task.items())) for task in CHAIN]
    assert reused(other_order, DONE, "c", before=CHAIN) == ["a", "b", "d"]


def test_a_task_of_another_version_runs() -> None:
    assert reused(CHAIN, DONE, "c", before=CHAIN[1:]) == ["d"]


def test_what_refers_to_a_changed_input_runs_again() -> None:
    inputs = [{"name": "x", "type": "text"}, {"name": "y", "type": "text"}]
    tasks = [
        echo("a", "{{inputs.x}}", depends_on=[]), echo("b", "{{inputs.y}}", depends_on=[]),
        echo("c", condition='{{inputs.y == "1"}}', depends_on=[]), echo("d", depends_on=["a", "b"]),
    ]  # fmt: skip
    assert reused(tasks, DONE, "d", inputs=inputs, changed={"x"}) == ["b", "c"]
    assert reused(tasks, DONE, "d", inputs=inputs, changed={"y"}) == ["a"]
    assert reused(tasks, DONE, "d", inputs=inputs) == ["a", "b", "c"]
