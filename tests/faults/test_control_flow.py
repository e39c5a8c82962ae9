"""Lists, children, approvals and limits while workers die; and a receiver of webhooks that fails meanwhile."""

from __future__ import annotations

import pytest

from tests.faults import invariants
from tests.faults.flows import all_was_done, approve_to_the_end, everything
from tests.faults.rig import Rig, ledger
from tests.plugins.stack import wait_until
from tests.stack_driver import Started
from tests.stubs.web_stub import Page

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.processes, pytest.mark.timeout(240)]


@pytest.mark.faults_short
def test_lists_children_approvals_and_limits_under_kills(rig: Rig) -> None:
    workflow = everything(rig)
    kill_one, killed = rig.kills(5)
    executions: list[Started] = []
    with rig.meanwhile(kill_one, every=1.5):
        while len(killed) < 2 and len(executions) < 60:  # however fast they are
            executions += rig.begin(workflow, 12)
            approve_to_the_end(rig, executions)
    assert len(killed) >= 2
    all_was_done(rig, executions)
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
