"""Bells that nobody hears, and jobs that come twice. (A job is its execution's row: it is lost with it alone.)"""

from __future__ import annotations

import pytest

from tests.faults import invariants
from tests.faults.rig import Rig, ledger

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.processes, pytest.mark.timeout(240)]


def graph(rig: Rig) -> str:
    """Two branches that meet, and a task that must not run twice."""
    return rig.flow(
        ledger("a", seconds=0.1),
        ledger("b", seconds=0.05, depends_on=["a"]),
        ledger("c", seconds=0.1, depends_on=["a"], harmless=False),
        ledger("d", depends_on=["b", "c"], fail_times=1, retry={"attempts": 1, "delay": 0.3}),
    )


def test_nobody_hears_the_bell(rig: Rig) -> None:
    """Whoever listens is cut off again and again: the next look finds what nobody was told of."""
    if rig.postgresql is None:
        pytest.skip("SQLite has no bell that could be lost: its workers see each write")
    workflow = graph(rig)
    silenced: list[int] = []
    with rig.meanwhile(lambda: silenced.append(rig.silence_bells()), every=0.02):
        executions = rig.begin(workflow, 40)
        # However fast they are: until every worker process has been cut off twice, or as often as that.
        while sum(silenced) < 8 and len(executions) < 400:
            executions += rig.begin(workflow, 4)
        rig.all_end(executions, timeout=90)
    assert sum(silenced) >= 8, "nobody was listening: nothing is shown"
    assert rig.statuses(executions) == {"COMPLETED"}
    invariants.check(rig, executions)


@pytest.mark.faults_short
def test_every_job_is_delivered_twice(rig: Rig) -> None:
    workflow = graph(rig)
    with rig.meanwhile(rig.deliver_again, every=0.05):
        executions = rig.begin(workflow, 40)
        rig.all_complete(executions)
    again = [line for line in rig.starts(executions) if line.task != "d" and line.attempt != 1]
    assert not again, f"{again}\n{rig.stack.log()}"
    assert len(rig.starts(executions)) == 40 * 5
    invariants.check(rig, executions)
