"""A workflow with everything in it that waits: a list, a child, an approval, a limit; and what must have come of it."""

from __future__ import annotations

from collections import Counter

import psycopg
import requests

from tests.faults.rig import Rig, ledger
from tests.plugins.stack import wait_until
from tests.stack_driver import Started

ITEMS = 12


def everything(rig: Rig, *, watched: bool = True) -> str:
    """Create it, and its child; all its events go to the webhook receiver, or nobody is told of any."""
    child = rig.workflow(ledger("first", seconds=0.2), ledger("second", seconds=0.2, depends_on=["first"]))
    create = rig.flow if watched else rig.workflow
    return create(
        ledger("list", seconds=0.15, depends_on=[]) | {"for_each": list(range(ITEMS)), "concurrency": 4},
        {"name": "child", "type": "workflow.run", "inputs": {"workflow_id": child}, "depends_on": []},
        {"name": "ask", "type": "flow.approval", "inputs": {"title": "Go on?"}, "depends_on": ["list", "child"]},
        ledger("last", depends_on=["ask"]),
        concurrency={"limit": 4},
    )


def approve_to_the_end(rig: Rig, executions: list[Started], *, database_fails: bool = False) -> None:
    """Approve whatever waits for it until all have ended."""
    approve = _approve_patiently if database_fails else _approve_all
    wait_until(lambda: not approve(rig, executions), timeout=120, what="all end")


def all_was_done(rig: Rig, executions: list[Started]) -> None:
    """Every item, once at least; every child, which ended well; and what came after the approval."""
    rig.all_complete(executions)
    ended = {(line.execution, line.task) for line in rig.lines(executions) if line.what == "end"}
    items = Counter(key for key, task in ended if task.startswith("list["))
    assert set(items.values()) == {ITEMS}, items
    assert {key for key, task in ended if task == "last"} == {one.id for one in executions} == set(items)
    ids = ", ".join(f"'{one.id}'" for one in executions)
    children = rig.sql(
        "SELECT c.parent_id, c.status FROM executions_execution c JOIN executions_taskrun t ON t.child = c.id"
        f" WHERE c.parent_id IN ({ids}) AND t.execution_id = c.parent_id AND t.status = 'COMPLETED'"
    )
    assert Counter(children) == {(one.id, "COMPLETED"): 1 for one in executions}


def _approve_all(rig: Rig, executions: list[Started], *, accepted: frozenset[int] = frozenset({200, 202})) -> int:
    """Approve whatever waits for it at the moment; how many have not ended."""
    waiting = rig.sql("SELECT execution_id FROM executions_taskrun WHERE status = 'WAITING' AND name = 'ask'")
    known = {one.id: one for one in executions}
    for (key,) in waiting:
        one = known[key]
        path = f"/workflows/{one.workflow}/executions/{key}/tasks/ask/approve"
        answer = rig.stack.request("POST", path, json={})
        assert answer.status_code in accepted, answer.text
    return rig.alive(executions)


def _approve_patiently(rig: Rig, executions: list[Started]) -> int:
    """The same where the database may be away: what was not answered is asked again, and may have been decided (409)."""
    try:
        return _approve_all(rig, executions, accepted=frozenset({200, 202, 409, 503}))
    except (psycopg.OperationalError, requests.RequestException):
        return len(executions)
