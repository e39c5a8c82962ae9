"""The checker itself: each thing that it is there to find, it finds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.faults import invariants
from tests.faults.rig import Rig, ledger
from tests.stack_driver import Started

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.processes]

#: What is done to the first execution ``{id}`` (its last event is number ``{last}``), what undoes it, what is said.
WRONGS = [
    (
        "UPDATE executions_event SET sequence = 99 WHERE execution_id = '{id}' AND sequence = 2",
        "UPDATE executions_event SET sequence = 2 WHERE execution_id = '{id}' AND sequence = 99",
        "its events are",
    ),
    (
        "UPDATE executions_event SET type = 'execution.failed' WHERE execution_id = '{id}' AND sequence = 2",
        "UPDATE executions_event SET type = 'execution.started' WHERE execution_id = '{id}' AND sequence = 2",
        "its log says",
    ),
    (
        "UPDATE executions_event SET type = 'task.started', attempt = 2 WHERE execution_id = '{id}' AND sequence = {last}",
        "UPDATE executions_event SET type = 'execution.completed', attempt = 0 WHERE execution_id = '{id}' AND sequence = {last}",
        "its log says",
    ),
    (
        "UPDATE executions_event SET attempt = 7 WHERE execution_id = '{id}' AND type = 'task.started' AND task = 'a'",
        "UPDATE executions_event SET attempt = 1 WHERE execution_id = '{id}' AND type = 'task.started' AND task = 'a'",
        "its log does not know of it",
    ),
    (
        "UPDATE executions_event SET type = 'task.completed' WHERE execution_id = '{id}' AND type = 'task.started' AND task = 'a'",
        (
            "UPDATE executions_event SET type = 'task.started' WHERE execution_id = '{id}' AND sequence ="
            " (SELECT min(sequence) FROM executions_event WHERE execution_id = '{id}' AND task = 'a')"
        ),
        "after it had completed",
    ),
    (
        "UPDATE executions_taskrun SET status = 'RUNNING', lease_until = started_at WHERE execution_id = '{id}' AND name = 'a'",
        "UPDATE executions_taskrun SET status = 'COMPLETED', lease_until = NULL WHERE execution_id = '{id}' AND name = 'a'",
        "under a lease that ran out",
    ),
    (
        "UPDATE executions_taskrun SET status = 'WAITING' WHERE execution_id = '{id}' AND name = 'b'",
        "UPDATE executions_taskrun SET status = 'COMPLETED' WHERE execution_id = '{id}' AND name = 'b'",
        "and its execution has ended",
    ),
    (
        "UPDATE executions_taskrun SET attempt = 0 WHERE execution_id = '{id}' AND name = 'b'",
        "UPDATE executions_taskrun SET attempt = 1 WHERE execution_id = '{id}' AND name = 'b'",
        "completed at attempt 0",
    ),
    (
        "UPDATE executions_taskrun SET attempt = 2 WHERE execution_id = '{id}' AND name = 'b'",
        "UPDATE executions_taskrun SET attempt = 1 WHERE execution_id = '{id}' AND name = 'b'",
        "the ledger does not know the end of b by attempt 2",
    ),
    (
        "UPDATE executions_taskrun SET attempt = 2 WHERE execution_id = '{id}' AND name = 'list[1]'",
        "UPDATE executions_taskrun SET attempt = 1 WHERE execution_id = '{id}' AND name = 'list[1]'",
        "the ledger does not know the end of list[1] by attempt 2",
    ),
    (
        "UPDATE executions_taskrun SET name = 'z' WHERE execution_id = '{id}' AND name = 'b'",
        "UPDATE executions_taskrun SET name = 'b' WHERE execution_id = '{id}' AND name = 'z'",
        "its task b has no row",
    ),
    (
        "UPDATE executions_taskrun SET name = 'z' WHERE execution_id = '{id}' AND name = 'list[1]'",
        "UPDATE executions_taskrun SET name = 'list[1]' WHERE execution_id = '{id}' AND name = 'z'",
        "its list[1] has not ended: None",
    ),
    (
        "UPDATE executions_taskrun SET status = 'PENDING' WHERE execution_id = '{id}' AND name = 'b'",
        "UPDATE executions_taskrun SET status = 'COMPLETED' WHERE execution_id = '{id}' AND name = 'b'",
        "its b has not ended",
    ),
    (
        "UPDATE executions_event SET type = 'task.lost' WHERE execution_id = '{id}' AND type = 'task.completed' AND task = 'b'",
        "UPDATE executions_event SET type = 'task.completed' WHERE execution_id = '{id}' AND type = 'task.lost' AND task = 'b'",
        "b is COMPLETED, and its log does not say so",
    ),
    (
        "UPDATE executions_event SET type = 'execution.resumed' WHERE execution_id = '{id}' AND sequence = 2",
        "UPDATE executions_event SET type = 'execution.started' WHERE execution_id = '{id}' AND sequence = 2",
        "it was resumed after",
    ),
    (
        "UPDATE executions_delivery SET status = 'EXHAUSTED' WHERE execution_id = '{id}' AND sequence = {last}",
        "UPDATE executions_delivery SET status = 'DELIVERED' WHERE execution_id = '{id}' AND sequence = {last}",
        "its webhook is EXHAUSTED",
    ),
    (
        "UPDATE executions_delivery SET sequence = 99 WHERE execution_id = '{id}' AND sequence = {last}",
        "UPDATE executions_delivery SET sequence = {last} WHERE execution_id = '{id}' AND sequence = 99",
        "nobody was told of execution.completed",
    ),
    (
        "UPDATE executions_delivery SET sequence = 99 WHERE execution_id = '{id}' AND sequence = {last} - 1",
        "UPDATE executions_delivery SET sequence = {last} - 1 WHERE execution_id = '{id}' AND sequence = 99",
        "nobody was told of task.completed",
    ),
    (  # every one of them
        "UPDATE executions_delivery SET execution_id = '{other}', sequence = sequence + 1000 WHERE execution_id = '{id}'",
        "UPDATE executions_delivery SET execution_id = '{id}', sequence = sequence - 1000 WHERE sequence > 1000",
        "nobody was told of execution.completed",
    ),
    (
        "UPDATE executions_execution SET monitoring = NULL WHERE id = '{id}'",
        "UPDATE executions_execution SET monitoring = (SELECT monitoring FROM executions_execution WHERE id = '{other}') WHERE id = '{id}'",
        "its webhook is forgotten",
    ),
    (
        "UPDATE executions_execution SET concurrency_key = 'x', concurrency_limit = 0 WHERE id = '{id}'",
        "UPDATE executions_execution SET concurrency_key = '', concurrency_limit = NULL WHERE id = '{id}'",
        "ran at a time",
    ),
]


@pytest.fixture
def ended(rig: Rig) -> Iterator[list[Started]]:
    executions = rig.begin(rig.flow(ledger("a"), ledger("list") | {"for_each": [1, 2]}, ledger("b", harmless=False)), 2)
    rig.all_end(executions)
    invariants.check(rig, executions)
    yield executions
    invariants.check(rig, executions)  # everything was undone


def broken(rig: Rig, executions: list[Started]) -> str:
    with pytest.raises(AssertionError) as failure:
        invariants.check(rig, executions)
    return str(failure.value)


def test_what_is_wrong_in_the_database(rig: Rig, ended: list[Started]) -> None:
    first = ended[0].id
    last = rig.sql(f"SELECT sequence FROM executions_execution WHERE id = '{first}'")[0][0]
    for wrong, right, said in WRONGS:
        rig.sql(wrong.format(id=first, other=ended[1].id, last=last))
        try:
            assert said in broken(rig, ended)
        finally:
            rig.sql(right.format(id=first, other=ended[1].id, last=last))
        invariants.check(rig, ended)


def test_an_execution_that_is_gone_or_answers_twice(rig: Rig, ended: list[Started]) -> None:
    assert "was accepted and is gone" in broken(rig, [*ended, Started("wf-x", "we-x")])
    assert "answers two starts" in broken(rig, [*ended, ended[0]])


def test_what_is_wrong_in_the_ledger(rig: Rig, ended: list[Started]) -> None:
    whole = rig.ledger_path.read_text()
    lines = whole.splitlines()
    start = next(line for line in lines if ended[0].id in line and " b " in line and "start" in line)
    end = next(line for line in lines if ended[0].id in line and " b " in line and "end" in line)
    wrongs = {
        f"{whole}{start}\n": ["ran 2 times", "must not run twice"],
        whole + start.replace(" b 1 ", " b 2 ") + "\n": ["attempt 2 ran", "its log does not know of it"],
        whole.replace(f"{end}\n", ""): ["the ledger does not know the end of b by attempt 1"],
        whole.replace(f"{end}\n", "").replace(f"{start}\n", ""): ["the ledger does not know the end of b by attempt 1"],
    }
    for text, expected in wrongs.items():
        rig.ledger_path.write_text(text)
        rig.ledger.forget()
        said = broken(rig, ended)
        rig.ledger_path.write_text(whole)
        rig.ledger.forget()
        assert all(words in said for words in expected), said


def test_a_thread_that_is_lost(rig: Rig, ended: list[Started]) -> None:
    gate = rig.ledger_path.with_name("other gate")
    gate.unlink(missing_ok=True)
    holding = rig.begin(rig.workflow(ledger("a", until=str(gate))), 1)
    try:
        rig.wait_for_starts(holding, 1)
        with pytest.raises(pytest.fail.Exception, match="32 tasks run at once"):
            rig.every_thread_works(timeout=4.0)
    finally:
        gate.touch()
    rig.all_complete([*holding, *ended])
    rig.every_thread_works()


def test_what_is_wrong_with_the_webhooks(rig: Rig, ended: list[Started]) -> None:
    whole = list(rig.receiver.requests)
    mine = [request for request in whole if ended[0].id.encode() in request.body]
    later = [request for request in whole if request not in mine]
    changed = replace(mine[0], body=json.dumps(json.loads(mine[0].body) | {"extra": 1}).encode())
    for requests, expected in [
        (later, "came as 0 different bodies"),
        ([*whole, changed], "came as 2 different bodies"),
        ([*later, *reversed(mine)], "its webhooks came in the order"),
    ]:
        rig.receiver.requests[:] = requests
        said = broken(rig, ended)
        rig.receiver.requests[:] = whole
        assert expected in said
