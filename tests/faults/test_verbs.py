"""``kill -9`` around the commits of what people do by hand, and of what schedules start."""

from __future__ import annotations

import pytest

from tests.faults import invariants
from tests.faults.rig import Rig, ledger
from tests.plugins.stack import wait_until
from tests.stack_driver import Started

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.processes, pytest.mark.timeout(240)]

WHEN = pytest.mark.parametrize("when", ["before_commit", "after_commit"])


def path_of(one: Started, verb: str) -> str:
    return f"/workflows/{one.workflow}/executions/{one.id}/{verb}"


def dies_at(rig: Rig, point: str, path: str, body: dict[str, object]) -> None:
    """Ask for it; the web server dies there, and is started again."""
    rig.arm(f"{point}=kill")
    with pytest.raises(OSError, match=r"[Cc]onnection|[Rr]emote|reset"):
        rig.stack.request("POST", path, json=body)
    rig.wait_for_fault()
    rig.stack.restart()


@WHEN
@pytest.mark.parametrize("body", [{}, {"from_task": "c"}], ids=["all of it", "from a task"])
def test_rerun(rig: Rig, when: str, body: dict[str, object]) -> None:
    """There is one that is whole, with what it takes over, or none; who asks again without an answer gets another one."""
    source = rig.begin(rig.flow(ledger("a"), ledger("b"), ledger("c")), 1)
    rig.all_complete(source)
    dies_at(rig, f"rerun.{when}", path_of(source[0], "rerun"), body)
    reruns = f"SELECT id FROM executions_execution WHERE rerun_of_id = '{source[0].id}'"
    assert len(rig.sql(reruns)) == (when == "after_commit")
    rig.stack.post(path_of(source[0], "rerun"), body)
    made = [Started(source[0].workflow, key) for (key,) in rig.sql(reruns)]
    rig.all_complete(made)
    ran = ["c"] if body else ["a", "b", "c"]
    assert all(sorted(line.task for line in rig.starts([one])) == ran for one in made)
    invariants.check(rig, [*source, *made])


@WHEN
def test_resume(rig: Rig, when: str) -> None:
    """It is FAILED as it was, or it goes on; what had completed stays so."""
    executions = rig.begin(rig.flow(ledger("a"), ledger("b", fail_times=1), ledger("c")), 1)
    rig.all_end(executions)
    assert rig.statuses(executions) == {"FAILED"}
    dies_at(rig, f"resume.{when}", path_of(executions[0], "resume"), {})
    if when == "before_commit":
        assert rig.statuses(executions) == {"FAILED"}
        rig.stack.post(path_of(executions[0], "resume"), {})
    rig.all_complete(executions)
    assert [line.task for line in rig.starts(executions)] == ["a", "b", "b", "c"]
    invariants.check(rig, executions)


@WHEN
def test_approve(rig: Rig, when: str) -> None:
    """It waits as it did, or it was decided, by whoever asked first."""
    ask = {"name": "ask", "type": "flow.approval", "inputs": {"title": "Go on?"}}
    executions = rig.begin(rig.flow(ask, ledger("last", depends_on=["ask"])), 1)
    asking = f"SELECT 1 FROM executions_taskrun WHERE execution_id = '{executions[0].id}' AND status = 'WAITING'"
    wait_until(lambda: rig.sql(asking), timeout=30, what="it asks")
    approve = path_of(executions[0], "tasks/ask/approve")
    dies_at(rig, f"decide.{when}", approve, {"comment": "the first"})
    again = rig.stack.request("POST", approve, json={"comment": "the second"})
    assert again.status_code == (202 if when == "before_commit" else 409), again.text
    rig.all_complete(executions)
    decided = rig.task(executions[0], "ask")["outputs"]["comment"]
    assert decided == ("the second" if when == "before_commit" else "the first")
    invariants.check(rig, executions)


def test_cancel_and_what_it_started(rig: Rig) -> None:
    """The parent is cancelled and nobody came to its child: the next sweep does."""
    child = rig.workflow(ledger("long", seconds=90))
    parents = rig.begin(rig.flow({"name": "call", "type": "workflow.run", "inputs": {"workflow_id": child}}), 1)
    found = f"SELECT id FROM executions_execution WHERE parent_id = '{parents[0].id}'"
    wait_until(lambda: rig.sql(found), timeout=30, what="its child is there")
    children = [Started(child, rig.sql(found)[0][0])]
    rig.wait_for_starts(children, 1)
    dies_at(rig, "cancel.after_commit", path_of(parents[0], "cancel"), {})
    rig.all_end([*parents, *children])
    assert rig.statuses([*parents, *children]) == {"CANCELLED"}
    invariants.check(rig, parents)


@WHEN
def test_a_schedule(rig: Rig, when: str) -> None:
    """A slot is started once, whoever dies over it."""
    workflow = rig.flow(ledger("a"), ledger("b"))
    schedule = rig.stack.post(f"/workflows/{workflow}/schedules", {"every_minutes": 60})["schedule_id"]
    rig.arm(f"schedule.{when}=kill")
    # Without fractions, as Django itself would write such a time into SQLite: a slot is claimed by its time.
    now = "now()" if rig.postgresql is not None else "datetime('now')"
    rig.sql(f"UPDATE executions_schedule SET next_run_at = {now} WHERE id = '{schedule}'")
    rig.wait_for_fault()
    found = f"SELECT id FROM executions_execution WHERE workflow_id = '{workflow}'"
    wait_until(lambda: rig.sql(found), timeout=60, what="it is started")
    rig.heal()
    assert rig.stack.get(f"/workflows/{workflow}/schedules/{schedule}")["last_error"] is None
    executions = [Started(workflow, key) for (key,) in rig.sql(found)]
    assert len(executions) == 1
    rig.all_complete(executions)
    assert rig.sql(
        f"SELECT count(*) FROM executions_schedule WHERE id = '{schedule}' AND next_run_at > {rig.now_sql}"
    ) == [(1,)]
    invariants.check(rig, executions)
