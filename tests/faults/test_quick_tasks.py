"""Sequences of quick tasks, whose steps are sent without waiting for their commits, and everything that dies by the way."""

from __future__ import annotations

import time

import pytest

from tests.faults import invariants
from tests.faults.rig import Rig
from tests.stack_driver import Started

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.processes, pytest.mark.timeout(240)]

LENGTH = 20


def sequence(rig: Rig, *, watched: bool = False) -> str:
    """Each task adds a letter to what the one before it gave."""
    texts = ["x", *(f"{{{{tasks.t{number}.outputs.text}}}}x" for number in range(LENGTH - 1))]
    tasks = [{"name": f"t{place}", "type": "text.echo", "inputs": {"text": text}} for place, text in enumerate(texts)]
    outputs = [{"name": "text", "type": "text", "value": f"{{{{tasks.t{LENGTH - 1}.outputs.text}}}}"}]
    fields = {"monitoring": {"webhook_url": rig.hook}} if watched else {}
    return rig.workflow(*tasks, outputs=outputs, **fields)


def sequences(rig: Rig) -> tuple[str, str]:
    """One that nobody watches, and one that a webhook does."""
    return sequence(rig), sequence(rig, watched=True)


def begin(rig: Rig, count: int, flows: tuple[str, str] | None = None) -> list[Started]:
    """So many that nobody watches, and some that a webhook does; ``flows`` were made while the database was there."""
    quiet, watched = flows or sequences(rig)
    return [*rig.begin(quiet, count), *rig.begin(watched, count // 10)]


def check(rig: Rig, executions: list[Started]) -> None:
    """All gave what they should, and each task has one row and one end."""
    rig.all_complete(executions)
    assert {rig.state(one)["outputs"]["text"] for one in executions[-5:]} == {"x" * LENGTH}
    ids = ", ".join(f"'{one.id}'" for one in executions)
    outputs = rig.sql(f"SELECT DISTINCT CAST(outputs AS text) FROM executions_execution WHERE id IN ({ids})")
    assert len(outputs) == 1
    runs = rig.sql(f"SELECT count(*) FROM executions_taskrun WHERE execution_id IN ({ids}) AND status = 'COMPLETED'")
    assert runs == [(len(executions) * LENGTH,)]
    invariants.check(rig, executions)


@pytest.mark.parametrize("point", ["take.after", "step.before_write", "step.after_write"])
def test_a_worker_dies_there(rig: Rig, point: str) -> None:
    rig.arm(f"{point}=kill@20")
    executions = begin(rig, 100)
    rig.wait_for_fault()
    check(rig, executions)


def test_worker_processes_are_killed_at_random(rig: Rig) -> None:
    kill_one, killed = rig.kills(4)
    with rig.meanwhile(kill_one, every=0.5):
        executions = begin(rig, 300)
        while len(killed) < 4 and len(executions) < 3000:  # however fast they are
            executions += begin(rig, 50)
    assert len(killed) >= 4
    check(rig, executions)


@pytest.mark.faults_short
def test_the_database_goes_away_again_and_again(rig: Rig) -> None:
    """It is killed, its sessions are ended, and connections are cut: writes under way are lost, or their answers."""
    server, proxy = rig.postgresql, rig.proxy
    if server is None or proxy is None:
        pytest.skip("SQLite has no server")
    flows, ended = sequences(rig), list[int]()
    with rig.meanwhile(lambda: ended.append(rig.end_some_sessions()), every=0.1):
        executions = begin(rig, 100, flows)
    cut: list[int] = []
    with rig.meanwhile(lambda: cut.append(proxy.cut()), every=0.1):
        executions += begin(rig, 100, flows)
    assert min(sum(ended), sum(cut)) >= 5, f"{ended} sessions were ended and {cut} connections cut: nothing is shown"
    for kill in (False, True):
        executions += begin(rig, 30, flows)
        server.stop_hard(kill=kill)
        time.sleep(0.3)
        server.start()
    check(rig, executions)
    rig.every_thread_works()
