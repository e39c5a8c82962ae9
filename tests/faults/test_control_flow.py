"""Lists, children, approvals and limits while workers die; and a receiver of webhooks that fails meanwhile."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.faults import invariants
from tests.faults.rig import Rig, ledger
from tests.plugins.stack import wait_until
from tests.stack_driver import Started
from tests.stubs.web_stub import Page

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.processes, pytest.mark.timeout(240)]

ITEMS = 12


def approve_all(rig: Rig, executions: list[Started]) -> int:
    """Approve whatever waits for it at the moment; how many have not ended."""
    waiting = rig.sql("SELECT execution_id FROM executions_taskrun WHERE status = 'WAITING' AND name = 'ask'")
    known = {one.id: one for one in executions}
    for (key,) in waiting:
        one = known[key]
        path = f"/workflows/{one.workflow}/executions/{key}/tasks/ask/approve"
        answer = rig.stack.request("POST", path, json={})
        assert answer.status_code in {200, 202}, answer.text
    return rig.alive(executions)


def approve_to_the_end(rig: Rig, executions: list[Started]) -> None:
    """Approve whatever waits for it until all have ended."""
    wait_until(lambda: not approve_all(rig, executions), timeout=120, what="all end")


@pytest.mark.faults_short
def test_lists_children_approvals_and_limits_under_kills(rig: Rig) -> None:
    child = rig.workflow(ledger("first", seconds=0.2), ledger("second", seconds=0.2, depends_on=["first"]))
    workflow = rig.flow(
        ledger("list", seconds=0.15, depends_on=[]) | {"for_each": list(range(ITEMS)), "concurrency": 4},
        {"name": "child", "type": "workflow.run", "inputs": {"workflow_id": child}, "depends_on": []},
        {"name": "ask", "type": "flow.approval", "inputs": {"title": "Go on?"}, "depends_on": ["list", "child"]},
        ledger("last", depends_on=["ask"]),
        concurrency={"limit": 4},
    )
    kill_one, killed = rig.kills(5)
    executions: list[Started] = []
    with rig.meanwhile(kill_one, every=1.5):
        while len(killed) < 2 and len(executions) < 60:  # however fast they are
            executions += rig.begin(workflow, 12)
            approve_to_the_end(rig, executions)
    assert len(killed) >= 2
    rig.all_complete(executions)
    ran = Counter((line.execution, line.task.partition("[")[0]) for line in rig.lines(executions) if line.what == "end")
    assert all(ran[one.id, "list"] >= ITEMS and ran[one.id, "last"] >= 1 for one in executions)
    children = rig.sql(f"SELECT id, status FROM executions_execution WHERE workflow_id = '{child}'")
    assert Counter(status for _, status in children)["COMPLETED"] >= len(executions)
    invariants.check(rig, executions)


def test_a_receiver_that_fails_while_workers_die(rig: Rig) -> None:
    """Every event comes in the end, with one id and one body."""
    rig.receiver.script("/hook", [*(Page(status=503) for _ in range(30)), Page(body=b"thank you")])
    workflow = rig.flow(ledger("a", seconds=0.1), ledger("b", seconds=0.1, depends_on=["a"]))
    kill_one, killed = rig.kills(7)
    with rig.meanwhile(kill_one, every=1.0):
        executions = rig.begin(workflow, 20)
        wait_until(lambda: len(killed) >= 3, timeout=60, what="three workers were killed")
    rig.all_complete(executions)
    invariants.check(rig, executions)  # which waits for the webhooks
    assert sum(request.path == "/hook" for request in rig.receiver.requests) > 30
