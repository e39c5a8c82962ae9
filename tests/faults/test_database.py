"""PostgreSQL that is stopped hard, and connections to it that are cut, held back or slow."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.faults import invariants
from tests.faults.flows import all_was_done, approve_to_the_end, everything
from tests.faults.rig import CLUSTERS, LEASE_SECONDS, Rig, ledger
from tests.plugins.own_postgresql import OwnPostgres
from tests.plugins.stack import wait_until
from tests.stack_driver import Started
from tests.stubs.tcp_proxy import TcpProxy

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.processes, pytest.mark.timeout(420)]


@pytest.fixture
def server(rig: Rig) -> OwnPostgres:
    if rig.postgresql is None:
        pytest.skip("SQLite has no server")
    return rig.postgresql


@pytest.fixture
def proxy(rig: Rig) -> Iterator[TcpProxy]:
    if rig.proxy is None:
        pytest.skip("SQLite has no server")
    yield rig.proxy
    rig.proxy.delay = 0.0


def chain(rig: Rig) -> str:
    return rig.flow(*(ledger(name, seconds=0.1) for name in "abc"))


def crashing(server: OwnPostgres, *, seed: int) -> Callable[[], None]:
    """What stops it, now with ``kill -9`` and now with ``-m immediate``, and starts it again within a second or so."""
    chance, kinds = random.Random(seed), itertools.cycle([False, True])

    def crash() -> None:
        server.stop_hard(kill=next(kinds))
        time.sleep(chance.uniform(0, 1))
        server.start()

    return crash


@pytest.mark.parametrize(
    ("times", "count"),
    [pytest.param(10, 200, id="ten times"), pytest.param(2, 30, id="twice", marks=pytest.mark.faults_short)],
)
def test_postgresql_is_stopped_hard_and_started(rig: Rig, server: OwnPostgres, times: int, count: int) -> None:
    """While executions are started: what was answered is there, and ends."""
    workflow, crash = chain(rig), crashing(server, seed=2)
    executions, refused = rig.begin(workflow, count // 4), rig.refused

    def start_some() -> None:
        if len(executions) < count:
            executions.extend(rig.begin(workflow, 4))

    with rig.meanwhile(start_some, every=0.5 * times * 4 / count):
        for _ in range(times):
            crash()
            time.sleep(0.5)
    assert rig.refused > refused, "nobody asked while it was away"
    executions += rig.begin(workflow, max(count - len(executions), 4))
    rig.all_complete(executions, timeout=120)
    invariants.check(rig, executions)
    rig.every_thread_works()


@pytest.mark.parametrize("watched", [True, False], ids=["watched", "unwatched"])
def test_what_waits_while_postgresql_is_stopped_hard(rig: Rig, server: OwnPostgres, watched: bool) -> None:
    """Lists, children and approvals go on from where they were; a third lease that is lost would fail a try for good."""
    workflow, crash = everything(rig, watched=watched), crashing(server, seed=3)
    executions, crashes = list[Started](), list[float]()

    def crash_twice() -> None:
        if len(crashes) < 2:
            crash()
            crashes.append(time.monotonic())

    with rig.meanwhile(crash_twice, every=1.5):
        while len(crashes) < 2 and len(executions) < 80:  # however fast they are
            executions += rig.begin(workflow, 8)
            approve_to_the_end(rig, executions, database_fails=True)
    assert len(crashes) == 2
    all_was_done(rig, executions)
    invariants.check(rig, executions)


def test_what_a_start_with_wait_answers_survives(rig: Rig, server: OwnPostgres) -> None:
    """It is accepted without waiting for the disk: what is answered before its end is there first."""
    for cluster in CLUSTERS:
        rig.stack.end(cluster)
    workflow = chain(rig)
    executions = []
    with server.flushing_only_what_is_waited_for():
        for _ in range(5):
            answer = rig.stack.post(f"/workflows/{workflow}/executions?wait=0.1", {"inputs": {}})
            assert answer["status"] == "PENDING"
            executions.append(Started(workflow, answer["workflow_execution_id"]))
        server.stop_hard(kill=True)
    server.start()
    assert rig.alive(executions) == 5
    rig.heal()
    rig.all_complete(executions)
    invariants.check(rig, executions)


def test_a_start_with_wait_that_a_crash_forgot(rig: Rig, server: OwnPostgres) -> None:
    """Nobody was told that it was accepted, and who waits is told at once to start it again."""
    for cluster in CLUSTERS:
        rig.stack.end(cluster)
    workflow = chain(rig)
    path = f"/workflows/{workflow}/executions?wait=55"
    accepted = f"SELECT id FROM executions_execution WHERE workflow_id = '{workflow}'"
    with ThreadPoolExecutor(1) as pool:
        with server.flushing_only_what_is_waited_for():
            waiting = pool.submit(requests.post, rig.stack.base_url + path, json={"inputs": {}}, timeout=60)
            wait_until(lambda: rig.sql(accepted), timeout=10, what="it is accepted")
            server.stop_hard(kill=True)
        server.start()
        answer = waiting.result(40)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["Retry-After"]
    assert not rig.sql(accepted)
    rig.heal()
    invariants.check(rig, [])


def test_connections_are_cut_again_and_again(rig: Rig, proxy: TcpProxy) -> None:
    workflow, cut = chain(rig), list[int]()
    with rig.meanwhile(lambda: cut.append(proxy.cut()), every=0.3):
        executions = rig.begin(workflow, 40)
        while sum(cut) < 40 and len(executions) < 400:  # however fast they are
            executions += rig.begin(workflow, 4)
        rig.all_complete(executions)
    assert sum(cut) >= 40, f"{cut} connections were cut: nothing is shown"
    invariants.check(rig, executions)
    rig.every_thread_works()


@pytest.mark.parametrize("watched", [True, False], ids=["watched", "unwatched"])
def test_what_waits_while_connections_are_cut(rig: Rig, proxy: TcpProxy, watched: bool) -> None:
    workflow, cut = everything(rig, watched=watched), list[int]()
    with rig.meanwhile(lambda: cut.append(proxy.cut()), every=0.3):
        executions = rig.begin(workflow, 8)
        approve_to_the_end(rig, executions)
    assert sum(cut) >= 10, f"{cut} connections were cut: nothing is shown"
    all_was_done(rig, executions)
    invariants.check(rig, executions)


@pytest.mark.parametrize("leases", [0.4, 3.0], ids=["shorter than the lease", "longer than the lease"])
@pytest.mark.parametrize("how", ["cut off", "black hole"])
def test_a_cluster_without_its_database(rig: Rig, proxy: TcpProxy, how: str, leases: float) -> None:
    """Longer: its tries are taken over, and what arrives of it afterwards changes nothing."""
    workflow = rig.flow(ledger("a", seconds=1.0), ledger("b", seconds=0.1))
    executions = rig.begin(workflow, 24)
    rig.wait_for_starts(executions, 16)
    with proxy.cut_off() if how == "cut off" else proxy.black_hole():
        time.sleep(LEASE_SECONDS * leases)
    executions += rig.begin(workflow, 8)
    rig.all_complete(executions, timeout=90)
    invariants.check(rig, executions)
    rig.every_thread_works()


def test_a_slow_database(rig: Rig, proxy: TcpProxy) -> None:
    """Each answer takes 100 ms longer: slower, not otherwise."""
    proxy.delay = 0.1
    executions = rig.begin(chain(rig), 20)
    rig.all_complete(executions, timeout=90)
    invariants.check(rig, executions)


def test_sessions_are_ended_at_random(rig: Rig, server: OwnPostgres) -> None:
    workflow = chain(rig)
    executions, ended = rig.begin(workflow, 20), list[int]()
    with rig.meanwhile(lambda: ended.append(rig.end_some_sessions()), every=0.2):
        time.sleep(3)
    assert sum(ended) >= 10, f"{ended} sessions were ended: nothing is shown"
    executions += rig.begin(workflow, 20)
    rig.all_complete(executions)
    invariants.check(rig, executions)
    rig.every_thread_works()
