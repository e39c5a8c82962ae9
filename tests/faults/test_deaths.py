"""``kill -9``: of workers around each commit point, of cluster parents, of the web server; and SIGTERM to everybody."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter

import psutil
import pytest

from tests.faults import invariants
from tests.faults.rig import Rig, ledger
from tests.plugins.stack import tree, wait_until
from tests.stack_driver import Started, is_running

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.processes, pytest.mark.timeout(240)]

#: Where a worker may die, and whether it is in the middle of tries then.
POINTS = [
    "take.before",
    "take.after",
    "try.before",
    "try.after",
    "step.before_write",
    "step.after_write",
    "heartbeat.before",
    "renewal.before_commit",
    "renewal.after_commit",
]
SHORT = {"try.after"}


def short(names: list[str], chosen: set[str]) -> list[object]:
    """The parameters, those of the short form marked."""
    return [pytest.param(name, marks=pytest.mark.faults_short if name in chosen else ()) for name in names]


def chain(rig: Rig, seconds: float = 0.15, **more: object) -> str:
    """Two branches of three tasks each."""
    branches = [[f"{branch}{place}" for place in range(3)] for branch in "ab"]
    return rig.flow(
        *(
            ledger(name, seconds=seconds, depends_on=branch[place - 1 : place] if place else [], **more)
            for branch in branches
            for place, name in enumerate(branch)
        )
    )


def statuses(rig: Rig, executions: list[Started]) -> Counter[str]:
    return Counter(rig.state(one)["status"] for one in executions)


@pytest.mark.parametrize("point", short(POINTS, SHORT))
def test_a_worker_dies_there(rig: Rig, point: str) -> None:
    # A beat looks at tries that take over a second, and renews their leases every two.
    is_beat = point.startswith(("heartbeat", "renewal"))
    workflow, at = chain(rig, seconds=2.5 if is_beat else 0.15), 1 if point.startswith("renewal") else 3
    rig.arm(f"{point}=kill@{at}")
    executions = rig.begin(workflow, 8)
    rig.wait_for_fault()
    rig.all_complete(executions)
    # At most what one process had in hand ran again.
    assert len(rig.starts(executions)) <= 8 * 6 + 8
    invariants.check(rig, executions)


@pytest.mark.parametrize("point", ["sweep.before", "sweep.before_commit", "sweep.after_commit"])
def test_a_worker_dies_while_it_takes_over_what_another_one_lost(rig: Rig, point: str) -> None:
    """Nobody is worse off: the next sweep finds it."""
    workflow = chain(rig, seconds=1.0)
    executions = rig.begin(workflow, 4)
    rig.wait_for_starts(executions, 4)
    victim = rig.busy(executions)[0]
    psutil.Process(victim).kill()
    with rig.meanwhile(lambda: executions.extend(rig.begin(workflow, 2)), every=0.5):
        rig.arm(f"{point}=kill")
        rig.wait_for_fault()
        alive = rig.alive(executions)
    assert alive, "there was nothing to sweep"
    rig.all_complete(executions)
    lost = {(line.execution, line.task) for line in rig.starts(executions) if line.pid == victim}
    again = {(line.execution, line.task) for line in rig.starts(executions) if line.attempt > 1}
    assert lost & again, "whoever was killed had nothing in hand"
    invariants.check(rig, executions)


@pytest.mark.parametrize("point", ["delivery.before_post", "delivery.after_post"])
def test_a_worker_dies_while_it_sends_a_webhook(rig: Rig, point: str) -> None:
    """Another one sends it when its lease has run out; nobody hurries it."""
    rig.arm(f"{point}=kill@3")
    executions = rig.begin(chain(rig), 8)
    rig.wait_for_fault()
    rig.all_complete(executions)
    invariants.check(rig, executions, hurry=False)
    ids = ", ".join(f"'{one.id}'" for one in executions)
    again = f"SELECT count(*) FROM executions_delivery WHERE tries > 1 AND execution_id IN ({ids})"
    assert rig.sql(again)[0][0] >= 1, "whoever died was sending nothing: nothing is shown"


@pytest.mark.parametrize("point", short(["try.before", "try.after", "step.before_write"], {"try.after"}))
def test_what_must_not_run_twice_does_not(rig: Rig, point: str) -> None:
    """The worker dies with it: it is FAILED with ``worker_lost``, and ran once at most."""
    workflow = chain(rig, harmless=False)
    rig.arm(f"{point}=kill@3")
    executions = rig.begin(workflow, 8)
    rig.wait_for_fault()
    rig.all_end(executions)
    found = [rig.state(one) for one in executions]
    errors = {state["error"]["code"] for state in found if state["status"] == "FAILED"}
    assert errors <= {"worker_lost"}
    assert {state["status"] for state in found} <= {"COMPLETED", "FAILED"}
    invariants.check(rig, executions)


@pytest.mark.parametrize("point", ["accept.before_commit", "accept.after_commit"])
def test_the_web_server_dies_while_it_accepts(rig: Rig, point: str) -> None:
    """The client tries again with its key, and there is one execution."""
    workflow = chain(rig)
    before = rig.sql("SELECT count(*) FROM executions_execution")[0][0]
    rig.arm(f"{point}=kill@2")
    with rig.meanwhile(rig.stack.start_missing, every=0.3):
        executions = rig.begin(workflow, 6)
    rig.wait_for_fault()
    rig.all_end(executions)
    assert rig.sql("SELECT count(*) FROM executions_execution")[0][0] == before + 6
    assert statuses(rig, executions) == {"COMPLETED": 6}
    invariants.check(rig, executions)


def test_the_web_server_dies_while_it_cancels(rig: Rig) -> None:
    # Longer than a web server takes to come back on the busiest machine: it is cancelled, nobody waits for it.
    executions = rig.begin(rig.flow(ledger("a", seconds=90)), 2)
    rig.wait_for_starts(executions, 2)
    rig.arm("cancel.before_commit=kill")
    cancel = f"/workflows/{executions[0].workflow}/executions/{executions[0].id}/cancel"
    with pytest.raises(OSError, match=r"[Cc]onnection|[Rr]emote|reset"):
        rig.stack.request("POST", cancel, json={})
    rig.wait_for_fault()
    assert rig.statuses(executions) == {"RUNNING"}
    rig.stack.restart()
    for one in executions:
        rig.cancel(one)
    rig.all_end(executions)
    assert statuses(rig, executions) == {"CANCELLED": 2}
    invariants.check(rig, executions)


def test_kill_9_of_the_web_server_while_executions_are_started(rig: Rig) -> None:
    """What was answered with 201 ends; each key gives one execution, however often the client asks."""
    workflow = chain(rig)
    before = rig.sql("SELECT count(*) FROM executions_execution")[0][0]

    def kill_web() -> None:
        began = time.monotonic()
        rig.stack.kill_web()
        rig.stack.restart()
        time.sleep((time.monotonic() - began) / 3)  # where it takes long to come back, a request takes long too

    with rig.meanwhile(kill_web, every=0.4):
        executions = rig.begin(workflow, 60)
    rig.stack.restart()
    rig.all_end(executions)
    assert rig.sql("SELECT count(*) FROM executions_execution")[0][0] == before + 60
    assert statuses(rig, executions) == {"COMPLETED": 60}
    invariants.check(rig, executions)


def test_kill_9_of_the_cluster_parent_leaves_no_orphans(rig: Rig) -> None:
    executions = rig.begin(chain(rig), 20)
    rig.wait_for_starts(executions, 10)
    parent, *children = tree(rig.stack.processes["worker"].pid)
    parent.kill()
    rig.stack.processes["worker"].wait()
    wait_until(lambda: not any(map(is_running, children)), timeout=20, what="its processes are gone too")
    rig.all_complete(executions)
    invariants.check(rig, executions)


def test_kill_9_of_every_worker_at_once(rig: Rig) -> None:
    executions = rig.begin(chain(rig), 20)
    rig.wait_for_starts(executions, 10)
    for name in ("worker", "worker2"):
        rig.stack.kill(name)
    rig.stack.restart()
    rig.all_complete(executions)
    invariants.check(rig, executions)


@pytest.mark.faults_short
def test_a_task_that_kills_its_worker_each_time(rig: Rig) -> None:
    """Three times, and it is FAILED; what runs beside it goes on."""
    neighbours = rig.begin(chain(rig), 6)
    poison = rig.begin(rig.flow({"name": "poison", "type": "test.kills_worker", "inputs": {}}), 1)
    rig.all_end([*neighbours, *poison])
    state = rig.state(poison[0])
    assert (state["status"], state["error"]["code"]) == ("FAILED", "worker_lost")
    assert [line.attempt for line in rig.starts(poison)] == [1, 2, 3]
    assert statuses(rig, neighbours) == {"COMPLETED": 6}
    invariants.check(rig, [*neighbours, *poison])


def test_sigterm_to_the_whole_process_group(rig: Rig) -> None:
    """As a service manager stops it: every process hears it, all of them go, and what ran goes on elsewhere."""
    short_ones = rig.begin(chain(rig), 10)
    long_ones = rig.begin(rig.flow(ledger("a", seconds=25)), 4)
    rig.wait_for_starts([*short_ones, *long_ones], 12)
    processes = tree(rig.stack.processes["worker"].pid)
    pids = [process.pid for process in processes]
    os.killpg(rig.stack.processes["worker"].pid, signal.SIGTERM)
    assert rig.stack.processes["worker"].wait(30) == 0
    assert not any(map(is_running, processes))
    rows = f"SELECT pid FROM executions_worker WHERE pid IN ({', '.join(map(str, pids))})"
    assert rig.sql(rows) == []
    rig.all_complete([*short_ones, *long_ones], timeout=90)
    invariants.check(rig, [*short_ones, *long_ones])


def test_kill_9_of_one_worker_process_after_the_other(rig: Rig) -> None:
    executions = rig.begin(chain(rig), 40)
    kill_one, killed = rig.kills(1)
    for _ in range(4):
        time.sleep(0.7)
        kill_one()
    assert len(killed) == 4
    rig.all_complete(executions)
    invariants.check(rig, executions)
