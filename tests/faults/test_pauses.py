"""Workers that stand still and go on later, that stand still for ever, or whose clocks are wrong."""

from __future__ import annotations

import math
import signal
import time
from typing import Any

import pytest

from dataflow.processes import worker_command
from tests.faults import invariants
from tests.faults.rig import LEASE_SECONDS, Rig, ledger
from tests.plugins.stack import ROOT, signal_all, wait_until
from tests.stack_driver import Started

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.processes, pytest.mark.timeout(240)]

#: A try that is over before its lease is, so that who stood still meanwhile ends it as soon as it goes on.
LONG_SECONDS = LEASE_SECONDS - 1.0
#: The second one takes so much longer: on a busy machine whoever goes on needs its time to say so.
AGAIN_SECONDS = 6.0
#: A second try that began less than this ago.
FRESH_SECONDS = 2.5


def picture(rig: Rig, executions: list[Started]) -> list[tuple[Any, ...]]:
    """All that a late write could change."""
    ids = ", ".join(f"'{one.id}'" for one in executions)
    rows = rig.sql(f"SELECT id, status, sequence, outputs FROM executions_execution WHERE id IN ({ids}) ORDER BY id")
    tasks = rig.sql(
        "SELECT execution_id, name, status, attempt, lost, failures, worker, outputs FROM executions_taskrun"
        f" WHERE execution_id IN ({ids}) ORDER BY execution_id, name"
    )
    return [*rows, *tasks]


def fresh_second_tries(rig: Rig, paused: list[int]) -> set[str]:
    """The executions of whose ``a`` a paused process is at the first try, while the second one has just begun elsewhere."""
    lines = [line for line in rig.lines() if line.task == "a"]
    ended = {(line.execution, line.attempt) for line in lines if line.what == "end"}
    at_it = [line for line in lines if (line.execution, line.attempt) not in ended]
    now = time.clock_gettime(time.CLOCK_REALTIME)
    fresh = [line for line in at_it if line.attempt == 2 and line.pid not in paused and line.time > now - FRESH_SECONDS]
    over = [line for line in at_it if line.attempt == 1 and line.pid in paused and line.time < now - LONG_SECONDS]
    return {line.execution for line in fresh} & {line.execution for line in over}


def all_end_as_they_ran(rig: Rig, executions: list[Started]) -> None:
    """Wait until all have ended; at each moment what is COMPLETED is what the ledger says has ended, by its attempt."""
    ids = ", ".join(f"'{one.id}'" for one in executions)
    done = f"SELECT execution_id, name, attempt FROM executions_taskrun WHERE status = 'COMPLETED' AND execution_id IN ({ids})"

    def ended() -> bool:
        alive = rig.alive(executions)
        completed = rig.sql(done)  # before the ledger: what is there has been noted
        known = {(line.execution, line.task, line.attempt) for line in rig.lines() if line.what == "end"}
        wrong = [one for one in completed if one not in known]
        assert not wrong, f"COMPLETED, and that attempt has not ended: {wrong[:5]}"
        return not alive

    wait_until(ended, timeout=90, what="all end", every=0.1)


def let_go_on_and_look(rig: Rig, paused: list[int], executions: list[Started]) -> None:
    """SIGCONT while second tries of what they had in hand run elsewhere: their own ends come too late, and count nothing."""
    began = time.clock_gettime(time.CLOCK_REALTIME)
    signal_all(paused, signal.SIGCONT)
    all_end_as_they_ran(rig, executions)
    lines = [line for line in rig.lines(executions) if line.task == "a"]
    ended = {(line.execution, line.attempt): line.time for line in lines if line.what == "end"}
    second = {line.execution: line.time for line in lines if (line.attempt, line.what) == (2, "start")}
    late = [
        line.execution
        for line in lines
        if (line.attempt, line.what) == (1, "end") and line.pid in paused and line.time > began
        and second.get(line.execution, math.inf) < line.time < ended.get((line.execution, 2), 0.0)
    ]  # fmt: skip
    assert late, "no end of a first try came while the second one ran: nothing is shown"
    rig.all_complete(executions)
    invariants.check(rig, executions)
    rig.every_thread_works()


def quiet_flow(rig: Rig, **more: float) -> str:
    """Nobody is told of anything while its first task runs: nothing is written then."""
    ends = {"webhook": {"url": rig.hook, "events": ["completed", "failed", "cancelled"]}}
    first = ledger("a", seconds=LONG_SECONDS, **more)
    return rig.workflow(first, ledger("b", seconds=0.1), monitoring=ends)


def pause_with_tries_in_hand(rig: Rig, cluster: list[int], workflow: str, executions: list[Started]) -> None:
    """Start executions until a cluster stands still with four tries in hand.

    More of them at a time than the other cluster has threads, or it takes them all; and none while they run, or starts,
    ends and webhooks leave no moment without a transaction.
    """

    def start_some() -> None:
        if not executions or not rig.alive(executions):
            executions.extend(rig.begin(workflow, 28))

    with rig.meanwhile(start_some, every=0.3):
        rig.pause(cluster, enough=lambda: rig.in_hand(cluster) >= 4)


@pytest.mark.faults_short
def test_a_cluster_goes_on_while_others_run_what_it_had(rig: Rig) -> None:
    """What it ran is taken over; the ends that it tells of then are nobody's, and the others' tries count."""
    workflow, executions = quiet_flow(rig, again=AGAIN_SECONDS), []
    cluster = rig.children("worker")
    pause_with_tries_in_hand(rig, cluster, workflow, executions)
    try:
        wait_until(lambda: len(fresh_second_tries(rig, cluster)) >= 2, timeout=60, what="second tries run elsewhere")
    except BaseException:
        signal_all(cluster, signal.SIGCONT)
        raise
    let_go_on_and_look(rig, cluster, executions)


def test_a_cluster_goes_on_when_all_has_ended(rig: Rig) -> None:
    """What it writes then changes nothing."""
    workflow, executions = quiet_flow(rig), []
    cluster = rig.children("worker")
    pause_with_tries_in_hand(rig, cluster, workflow, executions)
    try:
        rig.all_end(executions)
        before = picture(rig, executions)
        assert max(line.attempt for line in rig.starts(executions)) >= 2, "it had nothing in hand: nothing is shown"
    finally:
        signal_all(cluster, signal.SIGCONT)
    time.sleep(LEASE_SECONDS / 2)  # time for what it has to say
    assert picture(rig, executions) == before
    invariants.check(rig, executions)


@pytest.mark.parametrize("point", ["try.before", "try.after", "step.before_write", "heartbeat.before"])
def test_a_process_stands_still_there_and_goes_on_while_others_run_what_it_had(rig: Rig, point: str) -> None:
    if rig.postgresql is None and point == "step.before_write":
        pytest.skip("SQLite has one writer: who stands still in its transaction holds up everybody until it goes on")
    executions = rig.stop_at(
        point, rig.flow(ledger("a", seconds=LONG_SECONDS, again=AGAIN_SECONDS), ledger("b", seconds=0.1))
    )
    try:
        paused = rig.paused()
        wait_until(lambda: fresh_second_tries(rig, paused), timeout=60, what="a second try runs elsewhere")
    except BaseException:
        signal_all(rig.children(), signal.SIGCONT)
        raise
    let_go_on_and_look(rig, paused, executions)


def test_processes_that_stand_still_for_ever_are_replaced(rig: Rig) -> None:
    """Nothing is claimed while work is runnable: the parent notices and starts others."""
    rig.stack.end("worker2")
    wedged = rig.children("worker")
    rig.pause(wedged)
    executions = rig.begin(rig.flow(ledger("a")), 6)
    rig.all_end(executions, timeout=120)
    wait_until(lambda: not set(wedged) & set(rig.children("worker")), timeout=30, what="they are gone")
    invariants.check(rig, executions)


def test_one_process_that_stands_still_is_replaced(rig: Rig) -> None:
    wedged = rig.children("worker")[0]
    rig.pause([wedged])
    workflow, executions = rig.flow(ledger("a", seconds=0.1)), []
    with rig.meanwhile(lambda: executions.extend(rig.begin(workflow, 2)), every=1.0):
        wait_until(lambda: wedged not in rig.children("worker"), timeout=120, what="it is replaced")
    rig.all_end(executions)
    invariants.check(rig, executions)


@pytest.mark.parametrize("shift", [600, -600], ids=["ten minutes ahead", "ten minutes behind"])
def test_a_machine_whose_clock_is_wrong(rig: Rig, shift: int) -> None:
    """Times are the database's: no lease is taken from who is alive, none is kept by who is dead, no retry is early."""
    path = f"{ROOT / 'tests' / 'faults' / 'shifted_clock'}:{rig.stack.environment['PYTHONPATH']}"
    rig.stack.own_environment["worker3"] = {"PYTHONPATH": path, "DATAFLOW_TEST_CLOCK_SHIFT": str(shift)}
    rig.stack.commands["worker3"] = worker_command()
    rig.stack.end("worker2")
    rig.stack.restart()
    rig.wait_for_workers()
    held = {"retry": {"attempts": 2, "delay": 3, "jitter": 0}}
    tasks = [ledger("long", seconds=LEASE_SECONDS * 1.5), ledger("again", fail_times=1, depends_on=[], **held)]
    executions = rig.begin(rig.flow(*tasks), 40)  # more than one cluster has threads for
    rig.all_end(executions)
    busy = {line.pid for line in rig.starts(executions)}
    assert all(busy.intersection(rig.children(name)) for name in ("worker", "worker3")), "one of them did nothing"
    by_try = {(line.execution, line.task, line.attempt): line.time for line in rig.starts(executions)}
    assert {attempt for _, task, attempt in by_try if task == "long"} == {1}
    waits = [
        by_try[key, task, 2] - at for (key, task, attempt), at in by_try.items() if (task, attempt) == ("again", 1)
    ]
    assert len(waits) == 40
    assert min(waits) >= 2.9
    invariants.check(rig, executions)
