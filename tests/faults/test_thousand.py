"""1,000 executions while every 2 s one of the worker processes is killed: within twice the time that they take without."""

from __future__ import annotations

import time

import pytest

from tests.faults import invariants
from tests.faults.rig import Rig, ledger
from tests.stack_driver import Started

pytestmark = [
    pytest.mark.faults,
    pytest.mark.alone,
    pytest.mark.slow,
    pytest.mark.processes,
    pytest.mark.timeout(900),
]

COUNT = 1000


def seconds_for(rig: Rig, count: int) -> tuple[float, list[Started]]:
    """Start so many, wait for the last end."""
    workflow = rig.workflow(*(ledger(name, seconds=0.25) for name in "abc"))
    began = time.monotonic()
    executions = rig.begin(workflow, count)
    rig.all_end(executions)
    return time.monotonic() - began, executions


def test_a_thousand_executions_under_kills(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    """Those without kills are half before and half after: a machine has slow minutes."""
    before, first = seconds_for(rig, COUNT // 2)
    kill_one, killed = rig.kills(3)
    with rig.meanwhile(kill_one, every=2.0, steadily=True):
        loud, second = seconds_for(rig, COUNT)
    rig.wait_for_workers()
    after, third = seconds_for(rig, COUNT // 2)
    quiet = before + after
    with capsys.disabled():
        print(f"\n{COUNT} executions: {quiet:.1f} s, and {loud:.1f} s with {len(killed)} kills ({loud / quiet:.2f} ×)")
    assert len(killed) >= loud / 2 - 2
    assert loud <= 2 * quiet
    assert rig.statuses(second) == {"COMPLETED"}
    invariants.check(rig, first + second + third)
