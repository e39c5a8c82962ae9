"""Tasks that wait for another execution with a state, and run again when it has ended."""

from __future__ import annotations

from typing import Any

import pytest

from executions import store
from executions.database import writing
from executions.engine.outcomes import Completed, Outcome, Suspended
from executions.engine.planner import Claim
from executions.models import Attempt, Execution
from executions.present import describe_execution
from executions.worker.context import context_for
from tasks_lib.base import Resumed, Wait
from tests.carrier_driver import Tries, ask, ended, go_on
from tests.executions_driver import age_due_times, age_leases, age_wake, event_types, failed, started, task
from workflows.services import create_workflow

pytestmark = pytest.mark.django_db(transaction=True)


def other(*tasks: dict[str, Any]) -> str:
    """A workflow whose one output is what its task gives."""
    document = {
        "title": "C",
        "inputs": [{"name": "n", "type": "number", "required": False}],
        "tasks": list(tasks or (ask("work"),)),
        "outputs": [{"name": "said", "type": "any", "value": "{{tasks.work.outputs.body}}"}],
    }
    return create_workflow(document=document).workflow.pk


class Talk:
    """Runs the task ``talk``: it asks for ``turns`` executions one after the other, and keeps what it is told."""

    def __init__(self, workflow: str, turns: int = 2, inputs: dict[str, Any] | None = None) -> None:
        self.workflow, self.turns, self.inputs = workflow, turns, inputs or {}
        self.told: list[Resumed | None] = []
        self.work: list[Outcome] = []
        self.at_turn: dict[int, Outcome] = {}

    def __call__(self, claim: Claim) -> Outcome:
        if claim.task != "talk":
            return self.work.pop(0) if self.work else Completed(outputs={"body": f"{claim.task} done"})
        resumed = context_for(claim).resumed
        self.told.append(resumed)
        turn = resumed.state["turn"] if resumed is not None else 0
        if turn in self.at_turn:
            return self.at_turn.pop(turn)
        if turn == self.turns:
            return Completed(outputs={"body": "over"})
        data = {"workflow_id": self.workflow, "inputs": self.inputs}
        return Suspended(wait=Wait(kind="child", data=data, state={"turn": turn + 1}))


def children_of(parent: Execution) -> list[Execution]:
    return list(Execution.objects.filter(parent=parent).order_by("created_at"))


def test_it_runs_again_with_its_state_after_each_child() -> None:
    talk = Talk(other())
    parent = started(ask("talk"))
    go_on(Tries(talk))
    assert ended(parent)[0] == "COMPLETED"
    assert [child.status for child in children_of(parent)] == ["COMPLETED"] * 2
    done = {"status": "COMPLETED", "outputs": {"said": "work done"}, "error": None}
    assert talk.told == [None, Resumed(state={"turn": 1}, **done), Resumed(state={"turn": 2}, **done)]
    assert task(parent, "talk").attempt == 3
    assert list(Attempt.objects.values_list("number", "error", "went_on")) == [(1, None, True), (2, None, True)]
    shown = describe_execution(Execution.objects.get(pk=parent.pk))["tasks"][0]["attempts"]
    assert [(one["number"], one["status"]) for one in shown] == [(n, "COMPLETED") for n in (1, 2, 3)]
    assert event_types(parent).count("task.waiting talk") == 2


def test_it_is_told_of_a_child_that_failed() -> None:
    talk = Talk(other(), turns=1)
    talk.work = [failed("authorization", retryable=False)]
    parent = started(ask("talk"))
    go_on(Tries(talk))
    assert ended(parent)[0] == "COMPLETED"
    told = talk.told[1]
    assert told is not None
    assert (told.status, told.outputs) == ("FAILED", None)
    assert told.error is not None
    assert told.error["code"] == "authorization"


def test_it_is_told_that_no_child_could_be_started() -> None:
    talk = Talk(other(), turns=1, inputs={"n": "no number"})
    parent = started(ask("talk"))
    go_on(Tries(talk))
    assert ended(parent)[0] == "COMPLETED"
    assert children_of(parent) == []
    told = talk.told[1]
    assert told is not None
    assert (told.status, told.outputs) == ("FAILED", None)
    assert told.error is not None
    assert "do not fit" in told.error["message"]


def test_a_retry_goes_on_from_the_state() -> None:
    """What a failing turn asked for before is not done again."""
    talk = Talk(other(), turns=1)
    talk.at_turn = {1: failed("rate_limited")}
    parent = started(ask("talk", retry={"attempts": 2, "delay": 60}))
    tries = Tries(talk)
    go_on(tries)
    assert task(parent, "talk").status == "WAITING"
    age_due_times(parent)
    age_wake(parent, seconds=3600)
    go_on(tries)
    assert ended(parent)[0] == "COMPLETED"
    assert len(children_of(parent)) == 1
    assert talk.told[1] == talk.told[2] != None  # noqa: E711 - equal, and something


def test_a_lost_worker_takes_no_state_with_it() -> None:

    talk = Talk(other(), turns=1)
    parent = started(ask("talk"))

    def until_it_dies(claim: Claim) -> Outcome:
        if claim.task == "talk" and claim.resumed is not None and not lost:
            lost.append(claim)
            raise ConnectionError("as if the process had died")
        return talk(claim)

    lost: list[Claim] = []
    with pytest.raises(ConnectionError):
        go_on(Tries(until_it_dies))
    assert task(parent, "talk").status == "RUNNING"
    age_leases(parent)
    assert store.look_after(parent.pk)
    with writing():
        loaded = store.load(parent.pk)
        assert loaded is not None
        assert loaded.run.tasks["talk"].lost == 1
    go_on(Tries(until_it_dies))
    assert ended(parent)[0] == "COMPLETED"
    assert len(children_of(parent)) == 1


def test_a_fallback_begins_with_nothing() -> None:
    talk = Talk(other(), turns=1)
    talk.at_turn = {1: failed("provider_error", retryable=False)}
    fallback = {"task": "text.static", "inputs": {"text": "plain"}}
    parent = started(
        ask("talk", fallback=fallback),
        outputs=[{"name": "x", "type": "any", "value": "{{tasks.talk.status}}"}],
    )
    seen: list[Claim] = []

    def watched(claim: Claim) -> Outcome:
        if claim.type == "text.static":
            seen.append(claim)
            return Completed(outputs={"text": "plain"})
        return talk(claim)

    go_on(Tries(watched))
    assert ended(parent)[0] == "COMPLETED"
    assert [claim.resumed for claim in seen] == [None]
