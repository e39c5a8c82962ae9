"""The store: one transaction for each step, fenced, with its events and its doorbells."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext

from executions import files, queue, store
from executions.engine.outcomes import Completed, Released
from executions.engine.state import ExecutionStatus, TaskStatus
from executions.models import Attempt, Event, Execution, StoredFile
from executions.worker.node import Node
from tests.executions_driver import (
    WORKER,
    age_due_times,
    age_leases,
    at_once,
    claim,
    echo,
    event_types,
    everything,
    failed,
    forget_jobs,
    jobs,
    settle,
    started,
    task,
)
from workflows.models import WorkflowVersion

pytestmark = pytest.mark.django_db
FAN_OUT = [echo("a"), *(echo(name, depends_on=["a"]) for name in "bcd"), echo("end", depends_on=["b", "c", "d"])]


def fresh(execution: Execution) -> Execution:
    return Execution.objects.get(pk=execution.pk)


# --- acceptance ---
def test_accepting_stores_the_row_its_first_event_and_one_doorbell() -> None:
    execution = started()
    assert fresh(execution).status == ExecutionStatus.PENDING
    assert event_types(execution) == ["execution.created"]
    assert jobs() == [execution.pk]
    assert execution.wake_at == execution.created_at + queue.RING_AGAIN


def test_what_is_rolled_back_leaves_neither_row_nor_doorbell() -> None:
    with transaction.atomic():
        started()
        transaction.set_rollback(True)
    assert not Execution.objects.exists()
    assert jobs() == []


def test_a_step_that_is_rolled_back_rings_nobody() -> None:
    execution = started(*FAN_OUT)
    first = claim(execution)
    forget_jobs()
    before = everything(execution)
    with transaction.atomic():
        settle(first)
        assert len(jobs()) == 2
        transaction.set_rollback(True)
    assert everything(execution) == before


# --- claims ---
def test_a_claim_is_a_lease() -> None:
    execution = started()
    claimed = claim(execution)
    row = task(execution, "first")
    assert (claimed.task, claimed.attempt, row.attempt, row.worker) == ("first", 1, 1, WORKER)
    assert row.started_at is not None
    assert row.lease_until == row.started_at + timedelta(seconds=30)
    assert fresh(execution).status == ExecutionStatus.RUNNING


def test_a_second_job_finds_nothing_to_do() -> None:
    execution = started()
    claim(execution)
    before = everything(execution)
    assert store.step(execution.pk, worker="wk-other") is None
    assert everything(execution)[1:] == before[1:]


def test_an_execution_that_is_gone_is_no_error() -> None:
    assert store.step("we-none", worker=WORKER) is None


@pytest.mark.django_db(transaction=True)
def test_of_many_workers_one_claims_a_task() -> None:
    execution = started()
    claims = at_once(*[partial(store.step, execution.pk, worker=f"wk-{at}") for at in range(6)])
    assert len([one for one in claims if one is not None]) == 1
    assert task(execution, "first").attempt == 1


@pytest.mark.django_db(transaction=True)
def test_workers_share_what_is_ready() -> None:
    execution = started(*(echo(name, depends_on=[]) for name in "abc"))
    claims = at_once(*[lambda: store.step(execution.pk, worker=WORKER)] * 5)
    assert sorted(one.task for one in claims if one is not None) == ["a", "b", "c"]


# --- fencing ---
def test_the_end_of_a_try_that_was_taken_over_changes_nothing() -> None:
    execution = started()
    first = claim(execution, "wk-1")
    age_leases(execution)
    second = claim(execution, "wk-2")
    assert (second.task, second.attempt) == ("first", 2)
    before = everything(execution)
    for outcome in (Completed(outputs={"text": "late"}), failed(), Released()):
        assert settle(first, outcome, "wk-1") is None
    assert everything(execution) == before
    assert settle(second, worker="wk-2") is not None
    assert task(execution, "first").outputs == {"text": "first done"}


def test_a_lost_try_is_kept_as_an_attempt() -> None:
    execution = started()
    claim(execution, "wk-1")
    age_leases(execution)
    claim(execution, "wk-2")
    attempt = Attempt.objects.get(task_run__execution=execution)
    assert (attempt.number, attempt.worker, attempt.error["code"]) == (1, "wk-1", "worker_lost")
    assert attempt.inputs == {"text": "abc"}


def test_a_completion_counts_once() -> None:
    execution = started()
    first = claim(execution)
    assert settle(first) is not None
    before = everything(execution)
    assert settle(first, Completed(outputs={"text": "again"})) is None
    assert everything(execution) == before


@pytest.mark.django_db(transaction=True)
def test_two_completions_at_once_count_once() -> None:
    execution = started()
    first = claim(execution)
    claims = at_once(*[lambda: settle(first)] * 4)
    assert [one.task for one in claims if one is not None] == ["second"]
    assert event_types(execution).count("task.completed first") == 1


@pytest.mark.django_db(transaction=True)
def test_the_last_two_branches_leave_nothing_behind() -> None:
    """Two branches that end at the same moment: exactly one of them takes the join."""
    execution = started(echo("a", depends_on=[]), echo("b", depends_on=[]), echo("join", depends_on=["a", "b"]))
    a, b = claim(execution, "wk-1"), claim(execution, "wk-2")
    claims = at_once(lambda: settle(a, worker="wk-1"), lambda: settle(b, worker="wk-2"))
    assert [one.task for one in claims if one is not None] == ["join"]


def test_leases_are_renewed_for_their_owner_only() -> None:
    execution = started()
    claim(execution, "wk-1")
    row = task(execution, "first")
    store.renew_leases("wk-2", [row.pk], seconds=300)
    assert task(execution, "first").lease_until == row.lease_until
    store.renew_leases("wk-1", [row.pk], seconds=300)
    assert (task(execution, "first").lease_until or row.lease_until) > row.lease_until + timedelta(seconds=200)


def test_progress_of_a_try_that_is_over_is_not_shown() -> None:
    execution = started()
    first = claim(execution)
    store.note_progress(first, fraction=0.5, message="half")
    assert task(execution, "first").progress == 0.5
    settle(first)
    store.note_progress(first, fraction=0.9, message="late")
    assert task(execution, "first").progress == 0.5


# --- doorbells ---
def test_one_doorbell_for_each_newly_ready_task_but_the_claimed_one() -> None:
    execution = started(*FAN_OUT)
    forget_jobs()
    a = claim(execution)
    assert jobs() == []
    b = settle(a)
    assert b is not None
    assert jobs() == [execution.pk] * 2
    c, d = claim(execution), claim(execution)
    assert [b.task, c.task, d.task] == ["b", "c", "d"]
    assert jobs() == [execution.pk] * 2
    for one in (b, c):
        assert settle(one) is None
    end = settle(d)
    assert end is not None
    assert end.task == "end"
    assert settle(end) is None
    assert jobs() == [execution.pk] * 2
    assert fresh(execution).status == ExecutionStatus.COMPLETED


def test_roots_are_rung_for_by_the_first_step() -> None:
    execution = started(*(echo(name, depends_on=[]) for name in "abc"))
    forget_jobs()
    claim(execution)
    assert len(jobs()) == 2
    claim(execution)
    assert len(jobs()) == 2


def test_a_worker_that_stops_leaves_what_is_ready_to_others() -> None:
    execution = started()
    first = claim(execution)
    forget_jobs()
    ended = store.EndOfTry(claim=first, outcome=Completed(outputs={"text": "x"}))
    assert store.step(execution.pk, worker=WORKER, ended=ended, claiming=False) is None
    assert jobs() == [execution.pk]
    assert claim(execution).task == "second"


def test_a_released_try_is_rung_for() -> None:
    execution = started()
    first = claim(execution)
    forget_jobs()
    ended = store.EndOfTry(claim=first, outcome=Released())
    assert store.step(execution.pk, worker=WORKER, ended=ended, claiming=False) is None
    assert jobs() == [execution.pk]
    again = claim(execution)
    assert (again.task, again.attempt) == ("first", 2)
    assert task(execution, "first").lost == 0


# --- wake_at ---
def test_nobody_needs_to_wake_what_runs() -> None:
    execution = started()
    claim(execution)
    assert fresh(execution).wake_at is None


def test_what_is_ready_is_rung_for_again() -> None:
    execution = started(echo("a", depends_on=[]), echo("b", depends_on=[]))
    claim(execution)
    row = fresh(execution)
    assert row.wake_at == (row.started_at or row.created_at) + queue.RING_AGAIN
    claim(execution)
    assert fresh(execution).wake_at is None


def test_a_retry_wakes_when_it_is_due() -> None:
    execution = started(echo("a", retry={"attempts": 1, "delay": 100}))
    assert settle(claim(execution), failed()) is None
    assert fresh(execution).wake_at == task(execution, "a").due_at


def test_the_first_of_several_times_counts() -> None:
    execution = started(
        echo("a", depends_on=[], retry={"attempts": 1, "delay": 100}),
        echo("b", depends_on=[], retry={"attempts": 1, "delay": 10}),
        timeout=50,
    )
    a, b = claim(execution), claim(execution)
    row = fresh(execution)
    assert row.wake_at == (row.started_at or row.created_at) + timedelta(seconds=50)
    settle(a, failed())
    assert fresh(execution).wake_at == row.wake_at
    settle(b, failed())
    assert fresh(execution).wake_at == task(execution, "b").due_at


def test_an_ended_execution_does_not_wake() -> None:
    execution = started(echo("a", retry={"attempts": 1, "delay": 100}))
    settle(claim(execution), failed())
    store.cancel(execution.pk, reason="", by="test")
    assert fresh(execution).wake_at is None


def test_retries_that_are_due_together_are_shared_out() -> None:
    retry = {"retry": {"attempts": 1, "delay": 100}}
    execution = started(echo("a", depends_on=[], **retry), echo("b", depends_on=[], **retry))
    a, b = claim(execution), claim(execution)
    settle(a, failed())
    settle(b, failed())
    forget_jobs()
    assert store.step(execution.pk, worker=WORKER) is None
    age_due_times(execution)
    assert (claim(execution).task, task(execution, "b").status) == ("a", TaskStatus.PENDING)
    assert jobs() == [execution.pk]
    assert claim(execution).task == "b"
    assert jobs() == [execution.pk]


def test_the_deadline_of_the_workflow_ends_it() -> None:
    execution = started(echo("a"), timeout=50)
    first = claim(execution)
    Execution.objects.filter(pk=execution.pk).update(started_at=execution.created_at - timedelta(seconds=60))
    assert store.step(execution.pk, worker=WORKER) is None
    row = fresh(execution)
    assert (row.status, row.error["code"]) == (ExecutionStatus.FAILED, "timeout")
    assert settle(first) is None
    assert task(execution, "a").status == TaskStatus.CANCELLED


# --- cancel ---
def test_a_cancelled_execution_takes_no_completion() -> None:
    execution = started()
    first = claim(execution)
    assert store.cancel(execution.pk, reason="enough", by="ann") is ExecutionStatus.CANCELLED
    before = everything(execution)
    assert settle(first) is None
    assert everything(execution) == before
    row = fresh(execution)
    assert row.error == {"code": "cancelled", "message": "enough", "by": "ann", "task": None}
    assert [run.status for run in row.task_runs.all()] == [TaskStatus.CANCELLED] * 3


def test_a_pending_execution_is_cancelled_and_never_starts() -> None:
    execution = started()
    store.cancel(execution.pk, reason="", by="ann")
    assert store.step(execution.pk, worker=WORKER) is None
    assert fresh(execution).started_at is None


def test_an_ended_execution_keeps_its_end() -> None:
    execution = started(echo("a"))
    settle(claim(execution))
    before = everything(execution)
    assert store.cancel(execution.pk, reason="", by="ann") is ExecutionStatus.COMPLETED
    assert everything(execution) == before


@pytest.mark.django_db(transaction=True)
def test_cancel_and_the_last_completion_at_once_give_one_end() -> None:
    seen = set()
    for _ in range(12):
        execution = started(echo("a"))
        last = claim(execution)
        at_once(partial[Any](settle, last), partial(store.cancel, execution.pk, reason="", by="ann"))
        status = fresh(execution).status
        seen.add(status)
        ends = [name for name in event_types(execution) if name.startswith("execution.")][2:]
        assert ends == [f"execution.{status.lower()}"]
        assert task(execution, "a").status == status
    assert seen <= {"COMPLETED", "CANCELLED"}


# --- the end ---
def test_keys_are_erased_at_the_end() -> None:
    execution = started(echo("a"))
    Execution.objects.filter(pk=execution.pk).update(secrets="sealed")
    last = claim(execution)
    assert fresh(execution).secrets == "sealed"
    settle(last)
    assert fresh(execution).secrets == ""


def test_the_log_of_a_whole_run() -> None:
    retry = {"retry": {"attempts": 1, "delay": 1}}
    execution = started(
        echo("a", **retry), echo("b", condition="{{false}}"), echo("c"), echo("d", continue_on_failure=True)
    )
    settle(claim(execution), failed())
    age_due_times(execution)
    c = settle(claim(execution))
    assert c is not None
    d = settle(c)
    assert d is not None
    settle(d, failed(retryable=False))
    assert event_types(execution) == [
        "execution.created", "execution.started", "task.started a", "task.waiting a", "task.started a",
        "task.completed a", "task.skipped b", "task.started c", "task.completed c", "task.started d", "task.failed d",
        "execution.completed",
    ]  # fmt: skip


# --- guards of the database ---
@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        ("COMPLETED", "RUNNING", False),
        ("COMPLETED", "PENDING", False),
        ("COMPLETED", "FAILED", False),
        ("FAILED", "RUNNING", False),
        ("FAILED", "COMPLETED", False),
        ("FAILED", "PENDING", True),
        ("CANCELLED", "COMPLETED", False),
        ("CANCELLED", "PENDING", True),
        ("RUNNING", "COMPLETED", True),
    ],
)
def test_the_database_keeps_ended_states(before: str, after: str, allowed: bool) -> None:
    execution = started()
    Execution.objects.filter(pk=execution.pk).update(status=before)
    change = Execution.objects.filter(pk=execution.pk)
    if allowed:
        assert change.update(status=after) == 1
        return
    with pytest.raises(DatabaseError, match="an ended execution keeps its status"), transaction.atomic():
        change.update(status=after)
    assert fresh(execution).status == before


@pytest.mark.parametrize("change", [{"definition": {"title": "Other"}}, {"number": 7}, {"hash": "0" * 64}])
def test_the_database_keeps_versions(change: dict[str, Any]) -> None:
    version = started().version
    with pytest.raises(DatabaseError, match="a workflow version never changes"), transaction.atomic():
        WorkflowVersion.objects.filter(pk=version.pk).update(**change)


def test_the_database_keeps_sequence_numbers_apart() -> None:
    execution = started()
    with pytest.raises(DatabaseError), transaction.atomic():
        Event.objects.create(execution=execution, sequence=1, type="execution.failed", at=execution.created_at)


# --- large outputs ---
LARGE = "ä" * 200_000


def test_large_outputs_are_kept_as_files_and_read_by_later_tasks() -> None:
    output = {"name": "whole", "type": "text", "value": "{{tasks.first.outputs.text}}"}
    size = {"name": "size", "type": "text.size", "inputs": {"text": "{{tasks.first.outputs.text}}"}}
    first = {"name": "first", "type": "text.static", "inputs": {"text": "{{inputs.text}}"}}
    given = [{"name": "text", "type": "text"}]
    execution = started(first, size, values={"text": LARGE}, inputs=given, outputs=[output])
    Node(threads=1).carry(execution.pk)
    row, stored = fresh(execution), task(execution, "first")
    assert (row.status, row.error) == (ExecutionStatus.COMPLETED, None)
    assert (stored.outputs, row.outputs) == ({"text": None}, {"whole": None})
    kept = StoredFile.objects.get(pk=stored.stored["text"]["file_id"])
    assert (kept.task, kept.execution_id, kept.size) == ("first", execution.pk, 2 * 200_000 + 2)
    assert task(execution, "size").outputs == {"size": 200_000}
    shown = files.shown_outputs(row.outputs, row.stored) or {}
    assert shown["whole"]["size"] == kept.size
    assert len(stored.inputs["text"]) < 70_000


def test_a_kept_output_that_is_gone_fails_what_needs_it_and_the_execution_ends() -> None:
    first = {"name": "first", "type": "text.static", "inputs": {"text": "{{inputs.text}}"}}
    condition = '{{tasks.first.outputs.text != ""}}'
    execution = started(
        first, echo("b", condition=condition), values={"text": LARGE}, inputs=[{"name": "text", "type": "text"}]
    )
    claimed = claim(execution)
    inline, stored = files.keep_large({"text": LARGE}, execution_id=execution.pk, task="first")
    kept = StoredFile.objects.get(pk=stored["text"]["file_id"])
    kept.content.storage.delete(kept.content.name)
    assert settle(claimed, Completed(outputs=inline, stored=stored)) is None
    row = fresh(execution)
    assert (row.status, row.error["code"], row.error["task"]) == (ExecutionStatus.FAILED, "runtime", "b")


def test_an_output_over_the_limit_fails_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_OUTPUT_BYTES", 300 * 1024)
    first = {"name": "first", "type": "text.static", "inputs": {"text": "{{inputs.text}}"}}
    execution = started(first, values={"text": LARGE}, inputs=[{"name": "text", "type": "text"}])
    Node(threads=1).carry(execution.pk)
    assert fresh(execution).error["code"] == "too_large"
    assert not StoredFile.objects.exists()


# --- what it costs ---
@pytest.mark.django_db(transaction=True)
def test_the_cost_of_three_tasks() -> None:
    """One transaction for each completion and one for the first claim; a change that costs more must say why."""
    execution = started()
    node = Node(threads=1)
    with CaptureQueriesContext(connection) as captured:
        node.carry(execution.pk)
    statements = [query["sql"] for query in captured.captured_queries]
    assert fresh(execution).status == ExecutionStatus.COMPLETED
    assert sum(sql.startswith("COMMIT") for sql in statements) == 4
    assert sum(sql.startswith("BEGIN") for sql in statements) == 4
    assert len(statements) <= 30, "\n".join(sql[:150] for sql in statements)
