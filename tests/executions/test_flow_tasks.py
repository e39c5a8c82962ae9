"""Tasks that hold no worker: waits, approvals, other executions; and ``flow.fail``. Run as a worker runs them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from executions import files, store, sweeper
from executions.engine.verbs import Decision
from executions.models import Execution, FileUse
from executions.store import children, verbs
from executions.worker.node import Node
from tasks_lib.types.http_request import HttpRequest
from tests.carrier_driver import Tries, ask, ended, go_on
from tests.executions_driver import age_due_times, age_wake, carry, echo, event_types, failed, started, taken, task
from workflows.models import Workflow
from workflows.services import create_workflow

pytestmark = pytest.mark.django_db(transaction=True)
#: What ``http.request`` gives.
WANTED = [field.name for field in HttpRequest.outputs]
OUT = [{"name": "text", "type": "text", "value": "{{tasks.b.outputs.text}}"}]


def flow(name: str, kind: str, **inputs: Any) -> dict[str, Any]:
    return {"name": name, "type": f"flow.{kind}", "inputs": inputs}


def work() -> int:
    """As a worker with nothing else to do."""
    return go_on(Node(threads=1).run)


def later(execution: Execution, seconds: float) -> None:
    age_due_times(execution, seconds=seconds)
    age_wake(execution, seconds=seconds)


# --- time ---
def test_a_wait_holds_nobody_and_ends_in_time() -> None:
    execution = started(flow("a", "wait", seconds=100), echo("b"), outputs=OUT)
    assert work() == 1
    row = task(execution, "a")
    assert (row.status, row.waiting["for"], row.lease_until) == ("WAITING", "timer", None)
    assert row.due_at is not None
    assert row.due_at >= row.started_at + timedelta(seconds=100)
    assert Execution.objects.get().wake_at == row.due_at
    assert work() == 0
    later(execution, 101)
    assert work() == 1
    assert ended(execution) == ("COMPLETED", {"text": "hello"})
    row = task(execution, "a")
    assert (row.status, row.waiting, row.attempt, row.outputs["seconds"]) == ("COMPLETED", None, 1, 100)


def test_a_cancel_ends_a_wait() -> None:
    execution = started(flow("a", "wait", seconds=100))
    work()
    store.cancel(execution.pk, reason="", by="ann")
    assert (task(execution, "a").status, ended(execution)[0], work()) == ("CANCELLED", "CANCELLED", 0)


def test_nobody_decides_in_time() -> None:
    execution = started(flow("a", "approval", title="Go on?", timeout=60))
    work()
    row = task(execution, "a")
    assert (row.status, row.waiting["for"], row.waiting["title"]) == ("WAITING", "approval", "Go on?")
    later(execution, 60)
    assert work() == 1
    status, error = ended(execution)
    assert (status, error["code"], error["task"]) == ("FAILED", "timeout", "a")


def test_flow_fail_ends_it_as_told() -> None:
    again = {"retry": {"attempts": 3}}
    execution = started({**flow("a", "fail", message="No text.", code="validation"), **again}, echo("b"))
    work()
    status, error = ended(execution)
    assert (status, error["code"], error["message"], error["task"]) == ("FAILED", "validation", "No text.", "a")
    assert (task(execution, "a").attempt, task(execution, "b").status) == (1, "CANCELLED")


# --- waits that stand in for others ---
def broken(fallback: str, **inputs: Any) -> Execution:
    """``a`` fails and a type that waits stands in for it; its own output is read by ``b``, by both of its names."""
    renamed = [{"name": "said", "value": "{{outputs.json}}"}]
    spare = {"task": fallback, "inputs": inputs}
    outputs = [
        {"name": "json", "type": "any", "value": "{{tasks.a.outputs.json}}"},
        {"name": "said", "type": "any", "value": "{{tasks.a.outputs.said}}"},
        {"name": "sum", "type": "any", "value": "{{tasks.a.outputs.json == null ? 'none' : 'some'}}"},
    ]
    return started(ask("a", fallback=spare, outputs=renamed), echo("b"), outputs=outputs)


def stand_in() -> None:
    """As a worker that cannot reach the other side."""
    node = Node(threads=1)
    go_on(Tries(lambda claim: failed() if claim.type == "http.request" else node.run(claim)))


NOTHING = {"json": None, "said": None, "sum": "none"}


def test_a_wait_gives_null_for_what_it_stands_in_for() -> None:
    execution = broken("flow.wait", seconds=100)
    stand_in()
    assert task(execution, "a").waiting["for"] == "timer"
    later(execution, 101)
    stand_in()
    assert ended(execution) == ("COMPLETED", NOTHING)
    assert task(execution, "a").outputs.keys() == {"until", "seconds", "said", *WANTED}


def test_a_decision_gives_null_for_what_it_stands_in_for() -> None:
    execution = broken("flow.approval", title="Go on?")
    stand_in()
    verbs.decide(execution.pk, "a", Decision(approved=True, by="ann"))
    stand_in()
    assert ended(execution) == ("COMPLETED", NOTHING)
    assert task(execution, "a").outputs["approved"] is True


@pytest.mark.parametrize(("name", "given"), [("other", None), ("json", "spare")])
def test_a_child_gives_null_for_what_it_stands_in_for_and_does_not_give(name: str, given: str | None) -> None:
    of = other(echo("b", "spare"), outputs=[{"name": name, "type": "text", "value": "{{tasks.b.outputs.text}}"}])
    execution = broken("workflow.run", workflow_id=of.pk)
    stand_in()
    assert ended(execution) == ("COMPLETED", {"json": given, "said": given, "sum": "some" if given else "none"})
    assert task(execution, "a").outputs[name] == "spare"


# --- other executions ---
def other(*tasks: Any, **fields: Any) -> Workflow:
    document = {"title": "C", "tasks": list(tasks), **fields}
    return create_workflow(document=document).workflow


def calling(of: Workflow, *after: Any, **more: Any) -> Execution:
    inputs = {"workflow_id": of.pk, **more.pop("given", {})}
    return started({"name": "call", "type": "workflow.run", "inputs": inputs, **more}, *after)


def child_of(parent: Execution) -> Execution:
    return Execution.objects.get(parent=parent)


def test_a_child_is_linked_both_ways_and_gives_its_outputs() -> None:
    of = other(echo("b", "{{inputs.text}}"), inputs=[{"name": "text", "type": "text"}], outputs=OUT)
    parent = started(
        {"name": "call", "type": "workflow.run", "inputs": {"workflow_id": of.pk, "inputs": {"text": "hi"}}},
        echo("after", "{{tasks.call.outputs.text}}!"),
        outputs=[{"name": "all", "type": "text", "value": "{{tasks.after.outputs.text}}"}],
    )
    carry(parent)
    child, row = child_of(parent), task(parent, "call")
    assert (row.status, row.child, row.waiting["for"]) == ("WAITING", child.pk, "child")
    assert (child.parent_task, child.depth, child.trigger, child.trigger_ref) == ("call", 1, "workflow", parent.pk)
    assert not Execution.objects.filter(pk=parent.pk, wake_at__isnull=False).exists()
    assert work() >= 2
    assert ended(child) == ("COMPLETED", {"text": "hi"})
    assert ended(parent) == ("COMPLETED", {"all": "hi!"})
    assert event_types(parent).count("task.completed call") == 1


def test_a_child_that_fails_fails_its_task() -> None:
    parent = calling(other(flow("a", "fail", message="No text.", code="validation")))
    work()
    status, error = ended(parent)
    assert (status, error["code"], error["task"]) == ("FAILED", "dependency_failed", "call")
    assert child_of(parent).pk in error["message"]
    assert error["details"]["error"]["code"] == "validation"


def test_a_child_that_is_cancelled_fails_its_task() -> None:
    parent = calling(other(echo("b")))
    carry(parent)
    store.cancel(child_of(parent).pk, reason="", by="ann")
    work()
    assert (ended(parent)[0], ended(parent)[1]["code"]) == ("FAILED", "cancelled")


def test_a_cancelled_parent_cancels_its_child() -> None:
    parent = calling(other(flow("a", "wait", seconds=100)))
    work()
    store.cancel(parent.pk, reason="", by="ann")
    child = child_of(parent)
    assert (ended(child)[0], task(child, "a").status) == ("CANCELLED", "CANCELLED")
    assert ended(parent)[0] == "CANCELLED"


def test_a_child_that_takes_too_long_is_cancelled() -> None:
    parent = calling(other(flow("a", "wait", seconds=1000)), given={"timeout": 50})
    work()
    later(parent, 50)
    work()
    assert (ended(parent)[0], ended(parent)[1]["code"]) == ("FAILED", "timeout")
    assert ended(child_of(parent))[0] == "CANCELLED"


def test_a_child_that_takes_too_long_is_worth_another_one() -> None:
    """The first is cancelled at once, not when the second has its turn."""
    of = other(flow("a", "wait", seconds=1000))
    parent = calling(of, given={"timeout": 50}, retry={"attempts": 1, "delay": 600, "on": ["timeout"]})
    work()
    first = child_of(parent)
    later(parent, 50)
    work()
    row = task(parent, "call")
    assert (row.status, row.waiting["for"], row.error["code"]) == ("WAITING", "retry", "timeout")
    assert ended(first)[0] == "CANCELLED"
    later(parent, 660)
    work()
    second = Execution.objects.filter(parent=parent).exclude(pk=first.pk).get()
    row = task(parent, "call")
    assert (row.status, row.waiting["for"], row.child) == ("WAITING", "child", second.pk)
    later(second, 1000)
    work()
    assert (ended(second)[0], ended(parent)[0]) == ("COMPLETED", "COMPLETED")
    assert task(parent, "call").attempt == 2


def test_nobody_decides_in_time_is_not_tried_again() -> None:
    """The same person would be asked the same again."""
    execution = started({**flow("a", "approval", title="Go on?", timeout=60), "retry": {"attempts": 3}})
    work()
    later(execution, 60)
    work()
    assert (ended(execution)[1]["code"], task(execution, "a").attempt) == ("timeout", 1)


def test_a_child_whose_parent_is_gone_is_found() -> None:
    parent = calling(other(flow("a", "wait", seconds=1000)))
    work()
    Execution.objects.filter(pk=parent.pk).update(status="FAILED", wake_at=None)  # as if its worker died just then
    assert sweeper.sweep() >= 1
    assert ended(child_of(parent))[0] == "CANCELLED"


def test_a_for_each_of_children() -> None:
    of = other(echo("b", "{{inputs.text}}"), inputs=[{"name": "text", "type": "text"}], outputs=OUT)
    parent = started(
        {
            "name": "call",
            "type": "workflow.run",
            "inputs": {"workflow_id": of.pk, "inputs": {"text": "{{item}}"}},
            "for_each": ["x", "y", "z"],
        },
        outputs=[{"name": "all", "type": "list", "value": "{{tasks.call.outputs.text}}"}],
    )
    work()
    assert ended(parent) == ("COMPLETED", {"all": ["x", "y", "z"]})
    assert sorted(Execution.objects.filter(parent=parent).values_list("parent_task", flat=True)) == [
        f"call[{at}]" for at in range(3)
    ]


@pytest.mark.parametrize(
    ("items", "policy", "given"),
    [([], "fail", []), ([1, 2], "null", [None, None]), ([1, 2], "drop", [])],
)
def test_a_for_each_of_children_of_which_none_completed(items: list[int], policy: str, given: list[None]) -> None:
    """What the other workflow gives is not known; but what is asked for is."""
    of = other(flow("b", "fail", message="no"))
    parent = started(
        {
            "name": "call",
            "type": "workflow.run",
            "inputs": {"workflow_id": of.pk},
            "for_each": items,
            "on_item_failure": policy,
            "outputs": [{"name": "mine", "value": "{{outputs.renamed}}"}],
        },
        echo("one", "{{string(size(tasks.call.outputs.counted))}}", condition="{{tasks.call.outputs.asked == null}}"),
        outputs=[
            {"name": "all", "type": "list", "value": "{{tasks.call.outputs.text}}"},
            {"name": "deep", "type": "any", "value": ["{{size(tasks.call.outputs['any name'])}}"]},
        ],
    )
    work()
    assert ended(parent) == ("COMPLETED", {"all": given, "deep": [len(given)]})
    assert task(parent, "call").outputs == dict.fromkeys(("mine", "text", "counted", "asked", "any name"), given)
    assert task(parent, "one").status == "SKIPPED"


def test_what_the_children_do_not_give_is_not_made_up() -> None:
    of = other(echo("b", "x"), outputs=OUT)
    parent = started(
        {"name": "call", "type": "workflow.run", "inputs": {"workflow_id": of.pk}, "for_each": [1]},
        outputs=[{"name": "all", "type": "list", "value": "{{tasks.call.outputs.texts}}"}],
    )
    work()
    status, error = ended(parent)
    assert status == "FAILED"
    assert "texts" in error["message"]


def test_inputs_that_do_not_fit_start_nothing() -> None:
    of = other(echo("b", "{{inputs.text}}"), inputs=[{"name": "text", "type": "text"}])
    parent = calling(of, given={"inputs": {"no": "such"}})
    work()
    assert (ended(parent)[0], ended(parent)[1]["code"]) == ("FAILED", "validation")
    assert not Execution.objects.filter(parent=parent).exists()


def reads_a_file() -> Workflow:
    given = [{"name": "f", "type": "file"}, {"name": "again", "type": "file", "required": False}]
    said = "{{inputs.f.name}} {{inputs.f.size}} {{inputs.f.content_type}}"
    return other(echo("b", said), inputs=given, outputs=OUT)


@pytest.mark.parametrize("whole", [False, True], ids=["its id", "its object form"])
def test_a_child_knows_its_files_by_their_ids(whole: bool) -> None:
    with files.creating("n.txt", "text/plain") as writer:
        writer.write(b"hello")
    file_id = writer.value["file_id"]
    parent = calling(reads_a_file(), given={"inputs": {"f": {"file_id": file_id} if whole else file_id}})
    work()
    assert ended(child_of(parent)) == ("COMPLETED", {"text": "n.txt 5 text/plain"})
    assert child_of(parent).inputs == {"f": writer.value, "again": None}
    assert FileUse.objects.filter(execution=child_of(parent), file_id=file_id).exists()


def test_a_file_that_is_not_there_starts_nothing() -> None:
    parent = calling(reads_a_file(), given={"inputs": {"f": "fl-nosuchfile"}}, retry={"attempts": 2})
    work()
    status, error = ended(parent)
    assert (status, error["code"], error["task"]) == ("FAILED", "validation", "call")
    assert "/inputs/f There is no file fl-nosuchfile." in error["message"]
    assert (task(parent, "call").attempt, Execution.objects.filter(parent=parent).exists()) == (1, False)


def test_a_circle_is_refused() -> None:
    inputs = {"workflow_id": "{{inputs.which}}", "inputs": {"which": "{{inputs.which}}"}}
    call = {"name": "call", "type": "workflow.run", "inputs": inputs}
    parent = started(call, inputs=[{"name": "which", "type": "text"}], values={"which": "wf-later"})
    Execution.objects.filter(pk=parent.pk).update(inputs={"which": parent.workflow_id})
    work()
    status, error = ended(parent)
    assert (status, error["code"]) == ("FAILED", "validation")
    assert "circle" in error["message"]
    assert not Execution.objects.filter(parent=parent).exists()


@pytest.mark.parametrize(("depth", "status"), [(children.MAX_DEPTH - 1, "COMPLETED"), (children.MAX_DEPTH, "FAILED")])
def test_how_deep_they_nest(depth: int, status: str) -> None:
    parent = calling(other(echo("b")))
    Execution.objects.filter(pk=parent.pk).update(depth=F("depth") + depth)
    work()
    assert ended(parent)[0] == status
    assert Execution.objects.filter(parent=parent).exists() == (status == "COMPLETED")
    assert taken() == []
