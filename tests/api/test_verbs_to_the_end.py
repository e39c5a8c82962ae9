"""Verbs, with the worker's own parts between them: what was resumed, rerun or decided is taken, and comes to its end."""

from __future__ import annotations

from typing import Any

import pytest

from executions.models import Event, Execution
from tests.api_client import Api, assert_problem
from tests.executions_driver import echo, event_types, started, task
from tests.verbs_driver import ASK, work
from workflows.models import Workflow
from workflows.services import create_workflow

# PostgreSQL's `now()` is the beginning of a transaction: within one that is a test's, nothing is ever due.
pytestmark = pytest.mark.django_db(transaction=True)

#: A question between two tasks; the last tells what came of it.
STORY = (echo("a", "one"), ASK, echo("c", "{{tasks.a.outputs.text}}, {{tasks.ask.outputs.comment}}"))
OUTPUT = [{"name": "text", "type": "text", "value": "{{tasks.c.outputs.text}}"}]


def post(api: Api, execution: Execution, verb: str, body: Any = None, *, status: int = 202) -> Any:
    path = f"/workflows/{execution.workflow_id}/executions/{execution.pk}/{verb}"
    return api.send("POST", path, body, status=status).json()


def status_of(execution: Execution) -> str:
    execution.refresh_from_db()
    return execution.status


def asked(*tasks: Any, **fields: Any) -> Execution:
    """An execution that a worker took as far as its question."""
    execution = started(*tasks, **fields)
    assert execution.pk in work()
    assert status_of(execution) == "RUNNING"
    return execution


def test_an_approval(api: Api) -> None:
    execution = asked(*STORY, outputs=OUTPUT)
    assert task(execution, "ask").lease_until is None
    assert work() == []
    post(api, execution, "tasks/ask/approve", {"comment": "two"})
    assert work() == [execution.pk]
    assert status_of(execution) == "COMPLETED"
    assert execution.outputs == {"text": "one, two"}


def test_a_rejection_resumed_is_asked_again(api: Api) -> None:
    execution = asked(*STORY, outputs=OUTPUT)
    post(api, execution, "tasks/ask/reject", {"comment": "no"})
    work()
    assert status_of(execution) == "FAILED"
    post(api, execution, "resume")
    assert work() == [execution.pk]
    shown = api.call("GET", f"/workflows/{execution.workflow_id}/executions/{execution.pk}", status=200)
    assert shown["waiting_for"]["for"] == "approval"
    post(api, execution, "tasks/ask/approve", {"comment": "yes"})
    work()
    assert status_of(execution) == "COMPLETED"
    assert execution.outputs == {"text": "one, yes"}
    log = event_types(execution)
    assert log.count("task.completed a") == log.count("task.started a") == 1
    assert log.count("execution.started") == 2
    assert (task(execution, "a").attempt, task(execution, "ask").attempt) == (1, 2)


def test_what_was_cancelled_goes_on(api: Api) -> None:
    execution = asked(*STORY, outputs=OUTPUT)
    post(api, execution, "cancel")
    assert work() == []
    post(api, execution, "resume")
    work()
    post(api, execution, "tasks/ask/approve", {"comment": "after all"})
    work()
    assert status_of(execution) == "COMPLETED"
    assert execution.outputs == {"text": "one, after all"}


def test_items_that_completed_stay(api: Api) -> None:
    each = {**ASK, "for_each": "{{[1, 2, 3]}}", "concurrency": 2}
    execution = asked(each, echo("c", "{{tasks.ask.outputs.comment[0]}}"), outputs=OUTPUT)
    post(api, execution, "tasks/ask[0]/approve", {"comment": "first"})
    work()
    post(api, execution, "tasks/ask[1]/reject")
    work()
    assert status_of(execution) == "FAILED"
    decided = task(execution, "ask[0]").completed_at
    post(api, execution, "resume")
    work()
    assert task(execution, "ask").items == {"total": 3, "next": 3, "completed": 1, "failed": 0}
    assert task(execution, "ask[0]").completed_at == decided
    for item in (1, 2):
        post(api, execution, f"tasks/ask[{item}]/approve", {"comment": f"item {item}"})
        work()
    assert status_of(execution) == "COMPLETED"
    assert task(execution, "ask").outputs["comment"] == ["first", "item 1", "item 2"]


def test_a_rerun_from_a_task(api: Api) -> None:
    source = asked(*STORY, outputs=OUTPUT)
    post(api, source, "tasks/ask/approve", {"comment": "two"})
    work()
    answer = post(api, source, "rerun", {"from_task": "c"}, status=201)
    assert answer["reused"] == ["a", "ask"]
    assert work() == [answer["workflow_execution_id"]]
    made = Execution.objects.get(pk=answer["workflow_execution_id"])
    assert made.status == "COMPLETED"
    assert made.outputs == {"text": "one, two"}
    ran = Event.objects.filter(execution=made, type="task.started").values_list("task", flat=True)
    assert list(ran) == ["c"]
    again = post(api, made, "rerun", {"from_task": "ask"}, status=201)
    assert again["reused"] == ["a"]
    work()
    assert Execution.objects.get(pk=again["workflow_execution_id"]).status == "RUNNING"


def test_a_rerun_with_a_list_that_is_reused(api: Api) -> None:
    each = echo("a", "{{string(item)}}", for_each="{{[1, 2, 3]}}")
    source = started(each, echo("c", "{{tasks.a.outputs.text[2]}}"), outputs=OUTPUT)
    work()
    assert status_of(source) == "COMPLETED"
    answer = post(api, source, "rerun", {"from_task": "c"}, status=201)
    assert answer["reused"] == ["a"]
    work()
    made = Execution.objects.get(pk=answer["workflow_execution_id"])
    assert (made.status, made.outputs) == ("COMPLETED", source.outputs)


def calling(child: Workflow) -> Execution:
    """An execution whose task runs another workflow, which asks."""
    run = {"name": "sub", "type": "workflow.run", "inputs": {"workflow_id": child.pk}}
    return asked(run, outputs=[{"name": "text", "type": "text", "value": "{{tasks.sub.outputs.text}}"}])


def test_a_task_that_runs_another_workflow(api: Api) -> None:
    child = create_workflow(document={"title": "Child", "tasks": list(STORY), "outputs": OUTPUT}).workflow
    parent = calling(child)
    first = Execution.objects.get(parent=parent)
    shown = api.call("GET", f"/workflows/{parent.workflow_id}/executions/{parent.pk}", status=200)
    assert shown["waiting_for"].items() >= {"for": "child", "execution_id": first.pk}.items()
    post(api, first, "tasks/ask/reject")
    work()
    assert (status_of(first), status_of(parent)) == ("FAILED", "FAILED")
    problem = assert_problem(
        api.raw("POST", f"/workflows/{first.workflow_id}/executions/{first.pk}/resume"), 409, "parent_ended"
    )
    assert parent.pk in problem["detail"]
    post(api, parent, "resume")
    work()
    second = Execution.objects.exclude(pk=first.pk).get(parent=parent)
    post(api, second, "tasks/ask/approve", {"comment": "two"})
    work()
    assert (status_of(second), status_of(parent)) == ("COMPLETED", "COMPLETED")
    assert parent.outputs == {"text": "one, two"}
    assert status_of(first) == "FAILED"


def test_a_rerun_of_a_child_is_nobodys_child(api: Api) -> None:
    child = create_workflow(document={"title": "Child", "tasks": list(STORY), "outputs": OUTPUT}).workflow
    parent = calling(child)
    first = Execution.objects.get(parent=parent)
    answer = post(api, first, "rerun", status=201)
    made = Execution.objects.get(pk=answer["workflow_execution_id"])
    assert (made.parent_id, made.depth, made.rerun_of_id) == (None, 0, first.pk)


def test_a_slot_is_waited_for(api: Api) -> None:
    one = asked(*STORY, outputs=OUTPUT, concurrency={"limit": 1})
    post(api, one, "cancel")
    other = post(api, one, "rerun", status=201)
    work()
    holder = Execution.objects.get(pk=other["workflow_execution_id"])
    assert holder.status == "RUNNING"
    post(api, one, "resume")
    work()
    assert status_of(one) == "PENDING"
    shown = api.call("GET", f"/workflows/{one.workflow_id}/executions/{one.pk}", status=200)
    assert shown["waiting_for"]["for"] == "concurrency"
    post(api, holder, "tasks/ask/approve")
    work()
    assert (status_of(holder), status_of(one)) == ("COMPLETED", "RUNNING")


def test_webhooks_tell_of_both_ends(api: Api) -> None:
    monitoring = {"webhook": {"url": "https://example.com/hook", "events": ["completed", "failed"]}}
    execution = asked(*STORY, outputs=OUTPUT, monitoring=monitoring)
    post(api, execution, "tasks/ask/reject")
    work()
    post(api, execution, "resume")
    work()
    post(api, execution, "tasks/ask/approve")
    work()
    assert [sent.type for sent in execution.deliveries.order_by("sequence")] == [
        "execution.failed",
        "execution.completed",
    ]
