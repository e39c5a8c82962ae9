"""Executions brought to where a verb can be tried: one try at a time, nothing claimed besides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from executions import store
from executions.engine.outcomes import Completed, Outcome, Suspended
from executions.engine.planner import Claim
from executions.models import Execution
from executions.worker.carrier import Carrier
from executions.worker.node import Node
from tasks_lib.base import Wait
from tests.executions_driver import WORKER, claim, echo, failed, started

#: Each needs the one before it.
CHAIN = (echo("a"), echo("b", "{{tasks.a.outputs.text}}"), echo("c", "{{tasks.b.outputs.text}}"))
ASK = {"name": "ask", "type": "flow.approval", "inputs": {"title": "Go on?"}}
FORM = [{"name": "budget", "type": "number", "minimum": 0}, {"name": "note", "type": "text", "required": False}]


def complete(claimed: Claim, **outputs: Any) -> None:
    """End a try well."""
    end(claimed, Completed(outputs=outputs or {"text": f"{claimed.task} done"}))


def end(claimed: Claim, outcome: Outcome) -> None:
    """End a try without claiming another."""
    ended = store.EndOfTry(claim=claimed, outcome=outcome)
    store.step(claimed.execution_id, worker=WORKER, ended=ended, claiming=False)


def finish(execution: Execution) -> list[str]:
    """Run what is left; gives the names of the tasks that ran."""
    ran = []
    while (claimed := store.step(execution.pk, worker=WORKER)) is not None:
        ran.append(claimed.task)
        complete(claimed)
    execution.refresh_from_db()
    return ran


def broken(**fields: Any) -> Execution:
    """An execution of ``CHAIN`` whose first task completed and whose second failed."""
    execution = started(*CHAIN, **fields)
    complete(claim(execution))
    end(claim(execution), failed())
    execution.refresh_from_db()
    assert execution.status == "FAILED"
    return execution


def asking(*later: Mapping[str, Any], form: Any = None, on_reject: str = "fail", **more: Any) -> Execution:
    """An execution whose first task asks a person."""
    execution = started({**ASK, **more}, *later)
    ask(claim(execution), form=form, on_reject=on_reject)
    execution.refresh_from_db()
    return execution


def ask(claimed: Claim, *, form: Any = None, on_reject: str = "fail") -> None:
    """What ``flow.approval`` does."""
    data = {"title": "Go on?", "message": "It costs money.", "form": form or [], "on_reject": on_reject}
    end(claimed, Suspended(wait=Wait(kind="approval", data=data, seconds=3600)))


def work() -> list[str]:
    """Take what is due and carry it on as a worker does, until nothing is due; the ids as they were taken."""
    node = Node(threads=1)
    carrier = Carrier(node.id, run=node.run, holding=node.holding)
    taken = []
    while found := store.take(1):
        for loaded in found:
            taken.append(loaded.row.id)
            carrier.carry(loaded.row.id, loaded)
    return taken
