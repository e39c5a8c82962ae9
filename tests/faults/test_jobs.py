"""Bells that nobody hears, and jobs that come twice. (A job is its execution's row: it is lost with it alone.)"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import invariants
from tests.faults.rig import Rig, ledger
from tests.stubs.web_stub import WebStub

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.processes, pytest.mark.timeout(240)]


def graph(rig: Rig, *, seconds: float = 0.1) -> str:
    """Two branches that meet, and a task that must not run twice."""
    return rig.flow(
        ledger("a", seconds=seconds),
        ledger("b", seconds=seconds / 2, depends_on=["a"]),
        ledger("c", seconds=seconds, depends_on=["a"], harmless=False),
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
    workflow = graph(rig, seconds=0.2)
    times = Counter[str]()
    with rig.meanwhile(lambda: rig.deliver_again(times), every=0.05):
        executions = rig.begin(workflow, 40)
        rig.all_complete(executions)
    assert times.total() >= 20, f"{times} were delivered again: nothing is shown"
    again = [line for line in rig.starts(executions) if line.task != "d" and line.attempt != 1]
    assert not again, f"{again}\n{rig.stack.log()}"
    assert len(rig.starts(executions)) == 40 * 5
    invariants.check(rig, executions)


@pytest.fixture
def orm_rig(rig: Rig, tmp_path: Path) -> Iterator[Rig]:
    """A rig whose bells are rows of a table, as with django-q2's own broker; it has the other one's database server."""
    broker = json.dumps({"broker_class": "django_q.brokers.orm.ORM"})
    with WebStub() as receiver:
        other = Rig(tmp_path, receiver, rig.postgresql, None, {"Q_CLUSTER": broker})
        try:
            other.stack.start()
            other.wait_for_workers()
            yield other
            other.heal()
            invariants.check_stopped(other)
        finally:
            other.stack.stop()


def test_every_row_of_the_queue_is_deleted(orm_rig: Rig) -> None:
    """Nobody hears of anything, whichever broker there is: whoever looks finds what is due, by and by."""
    workflow, deleted = graph(orm_rig), list[int]()

    def delete() -> None:
        deleted.append(len(orm_rig.sql("DELETE FROM django_q_ormq RETURNING id")))

    with orm_rig.meanwhile(delete, every=0.05):
        executions = orm_rig.begin(workflow, 40)
        while sum(deleted) < 20 and len(executions) < 400:  # however fast they are heard
            executions += orm_rig.begin(workflow, 8)
        orm_rig.all_complete(executions, timeout=90)
    assert sum(deleted) >= 20, f"{deleted} rows were deleted: nothing is shown"
    invariants.check(orm_rig, executions)
