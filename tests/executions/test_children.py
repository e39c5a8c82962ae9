"""Executions that others started, when things go wrong: retries, failures beside them, keys, many at once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest

from executions import store
from executions.engine.outcomes import Completed, Outcome, Suspended
from executions.engine.planner import Claim
from executions.models import Attempt, Execution
from executions.store import neighbours, verbs
from tasks_lib.base import Wait
from tests.carrier_driver import Tries, alone, ask, ended, go_on, process
from tests.executions_driver import age_due_times, age_wake, at_once, event_types, failed, started, task
from workflows.models import Workflow
from workflows.services import create_workflow

pytestmark = pytest.mark.django_db(transaction=True)


def other(*tasks: Mapping[str, Any]) -> str:
    """A workflow to be run by others; its first task takes a thread of its own."""
    return create_workflow(document={"title": "C", "tasks": list(tasks or (ask("work"),))}).workflow.pk


def call(name: str, workflow: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "workflow.run", "inputs": {"workflow_id": workflow}, **more}


def answers(*work: Outcome, **by_task: Outcome) -> Tries:
    """``workflow.run`` as it is; ``work`` of the children in turn, then well; other tasks as told."""
    left = list(work)

    def answer(claim: Claim) -> Outcome:
        if claim.type == "workflow.run":
            return Suspended(wait=Wait(kind="child", data={"workflow_id": claim.inputs["workflow_id"], "inputs": {}}))
        if claim.task == "work" and left:
            return left.pop(0)
        return by_task.get(claim.task, Completed(outputs={"body": claim.task}))

    return Tries(answer)


def children_of(parent: Execution) -> list[Execution]:
    return list(Execution.objects.filter(parent=parent).order_by("created_at"))


# --- retries ---
def test_a_retry_runs_another_child() -> None:
    parent = started(call("call", other(), retry={"attempts": 1, "delay": 60}))
    tries = answers(failed("communication"))
    go_on(tries)
    (first,) = children_of(parent)
    row = task(parent, "call")
    assert (first.status, row.status, row.waiting["for"], row.child) == ("FAILED", "WAITING", "retry", first.pk)
    age_due_times(parent)
    age_wake(parent, seconds=3600)
    go_on(tries)
    again = children_of(parent)[1]
    assert (again.status, again.parent_task, task(parent, "call").child) == ("COMPLETED", "call", again.pk)
    assert ended(parent)[0] == "COMPLETED"
    (attempt,) = Attempt.objects.filter(task_run__execution=parent)
    assert (attempt.number, attempt.error["code"]) == (1, "dependency_failed")
    event_types(parent)


def test_a_child_that_failed_is_not_resumed_while_another_is_on_its_way() -> None:
    """The task would run a second one, and nobody would ever hear of the first."""
    parent = started(call("call", other(), retry={"attempts": 1, "delay": 60}))
    tries = answers(failed("communication"))
    go_on(tries)
    (first,) = children_of(parent)
    with pytest.raises(verbs.NotResumable) as refused:
        verbs.resume(first.pk, by="ann", secrets="")
    assert refused.value.parent == parent.pk
    assert (ended(first)[0], task(parent, "call").status, go_on(tries)) == ("FAILED", "WAITING", 0)


def test_a_child_that_failed_can_be_resumed_before_its_parent_heard_of_it() -> None:
    parent = started(call("call", other(), retry={"attempts": 1, "delay": 60}))
    tries = answers(failed("communication"))
    alone(tries).carry(parent.pk)
    (child,) = children_of(parent)
    alone(tries).carry(child.pk)
    assert ended(child)[0] == "FAILED"
    verbs.resume(child.pk, by="ann", secrets="")
    go_on(tries)
    assert (ended(child)[0], ended(parent)[0], len(children_of(parent))) == ("COMPLETED", "COMPLETED", 1)


def test_a_child_of_a_task_that_waits_for_its_retry_is_an_orphan() -> None:
    parent = started(call("call", other(), retry={"attempts": 1, "delay": 60}))
    tries = answers(failed("communication"))
    go_on(tries)
    (child,) = children_of(parent)
    assert neighbours.orphans() == []
    # As if somebody had resumed it all the same, as was possible once.
    Execution.objects.filter(pk=child.pk).update(status="PENDING")
    assert neighbours.orphans() == neighbours.orphans(parent.pk) == [child.pk]


def test_what_is_no_use_to_try_again_is_not() -> None:
    parent = started(call("call", other(), retry={"attempts": 5, "delay": 60}))
    go_on(answers(failed("authorization", retryable=False)))
    assert len(children_of(parent)) == 1
    assert (ended(parent)[0], ended(parent)[1]["task"]) == ("FAILED", "call")


# --- cancelled with whom they are for ---
def test_a_failure_beside_it_cancels_the_child() -> None:
    """At once, in the step that ends the parent: not when somebody sweeps."""
    parent = started(call("call", other(), depends_on=[]), ask("bad", depends_on=[]))
    tries = answers(bad=failed(retryable=False))
    alone(tries).carry(parent.pk)
    (child,) = children_of(parent)
    assert (ended(parent)[1]["task"], child.status) == ("bad", "CANCELLED")
    assert go_on(tries) == 0


def test_a_failed_item_cancels_the_children_of_the_others() -> None:
    each = call("call", other(), for_each=[1, 2, 3], concurrency=3)
    parent = started(each)
    tries = answers(failed(retryable=False))
    alone(tries).carry(parent.pk)
    assert [child.status for child in children_of(parent)] == ["PENDING"] * 3
    go_on(tries)
    assert [child.status for child in children_of(parent)] == ["FAILED", "CANCELLED", "CANCELLED"]
    assert (ended(parent)[0], ended(parent)[1]["task"]) == ("FAILED", "call")


def test_a_cancel_goes_down_all_the_way() -> None:
    parent = started(call("call", other(call("call", other()))))
    tries = answers()
    alone(tries).carry(parent.pk)
    (child,) = children_of(parent)
    alone(tries).carry(child.pk)
    (last,) = children_of(child)
    assert (child.depth, last.depth) == (1, 2)
    store.cancel(parent.pk, reason="enough", by="ann")
    assert {ended(one)[0] for one in (parent, child, last)} == {"CANCELLED"}
    assert go_on(tries) == 0


# --- keys ---
def test_the_keys_of_the_parent_go_with_it_and_are_erased_with_each() -> None:
    parent = started(call("call", other()))
    Execution.objects.filter(pk=parent.pk).update(secrets="sealed")
    tries = answers()
    alone(tries).carry(parent.pk)
    (child,) = children_of(parent)
    assert child.secrets == "sealed"
    go_on(tries)
    assert set(Execution.objects.values_list("status", "secrets")) == {("COMPLETED", "")}


# --- many ---
def test_children_that_end_together_are_all_heard_of() -> None:
    """By two processes: each end wakes the parent, and locks go one way."""
    parent = started(call("call", other(), for_each=list(range(12)), concurrency=12))
    tries = answers()
    alone(tries).carry(parent.pk)
    assert len(children_of(parent)) == 12
    with process(tries, worker="wk-1") as one, process(tries, worker="wk-2") as two:
        carriers = [one, two] * 6
        at_once(*(partial(by.carry, found.row.id, found) for by, found in zip(carriers, store.take(12), strict=True)))
    go_on(tries)
    assert ended(parent)[0] == "COMPLETED"
    assert task(parent, "call").items == {"total": 12, "next": 12, "completed": 12, "failed": 0}
    assert {child.status for child in children_of(parent)} == {"COMPLETED"}
    assert sorted(tries.ran) == sorted([*((f"call[{at}]", 1) for at in range(12)), *[("work", 1)] * 12])
    event_types(parent)


def test_an_archived_workflow_starts_nothing() -> None:
    workflow = other()
    parent = started(call("call", workflow))
    Workflow.objects.filter(pk=workflow).update(archived_at=parent.created_at)
    go_on(answers())
    assert (ended(parent)[0], ended(parent)[1]["code"]) == ("FAILED", "validation")
    assert children_of(parent) == []


# --- a child that cannot be started ---
def test_a_concurrency_key_that_the_inputs_do_not_give_fails_the_task() -> None:
    """Not the step: that would be tried for ever."""
    document = {
        "title": "C",
        "inputs": [{"name": "user", "type": "object", "required": False}],
        "tasks": [ask("work")],
        "concurrency": {"limit": 1, "key": "{{inputs.user.id}}"},
    }
    workflow = create_workflow(document=document).workflow.pk
    parent = started(
        {"name": "call", "type": "workflow.run", "inputs": {"workflow_id": workflow, "inputs": {"user": {}}}}
    )
    data = {"workflow_id": workflow, "inputs": {"user": {}}}
    go_on(Tries(lambda _claim: Suspended(wait=Wait(kind="child", data=data))))
    row = task(parent, "call")
    assert (ended(parent)[0], row.status, children_of(parent)) == ("FAILED", "FAILED", [])
    assert row.error["code"] == "expression"
    assert "id" in row.error["message"]
    assert workflow in row.error["message"]
