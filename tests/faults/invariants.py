"""What must hold after every fault, read from the database, the ledger and the webhook receiver: one list of all that does not."""

from __future__ import annotations

import json
import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest

from tests.faults.rig import ALIVE, Rig
from tests.stack_driver import Started

#: So long without any progress, and something hangs.
STANDSTILL_SECONDS = 60.0
ENDS = {"execution.completed": "COMPLETED", "execution.failed": "FAILED", "execution.cancelled": "CANCELLED"}


def check(rig: Rig, accepted: Sequence[Started]) -> None:
    """Wait for the last webhook, then look at everything. ``accepted`` are the executions that were answered with 201."""
    _wait_for_webhooks(rig)
    problems = [
        *_all_ended(rig, accepted),
        *_logs_are_whole(rig),
        *_nothing_ran_again(rig),
        *_webhooks_came(rig),
        *_nothing_is_left(rig),
    ]
    assert not problems, "\n".join([f"{len(problems)} invariants are broken:", *problems[:20], rig.stack.log()])


def _all_ended(rig: Rig, accepted: Sequence[Started]) -> Iterator[str]:
    rows = dict(rig.sql("SELECT id, status FROM executions_execution"))
    for one in accepted:
        if one.id not in rows:
            yield f"{one.id} was accepted and is gone"
    for key, status in rows.items():
        if status not in ENDS.values():
            yield f"{key} has not ended: {status}"
    for key, count in Counter(one.id for one in accepted).items():
        if count > 1:
            yield f"{key} answers two starts"


def _logs_are_whole(rig: Rig) -> Iterator[str]:
    """Gapless from 1, one end, nothing after it, and what the row says is what the log says."""
    logs: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for key, sequence, kind in rig.sql("SELECT execution_id, sequence, type FROM executions_event ORDER BY sequence"):
        logs[key].append((sequence, kind))
    for key, status, last in rig.sql("SELECT id, status, sequence FROM executions_execution"):
        log = logs[key]
        if [sequence for sequence, _ in log] != list(range(1, last + 1)):
            yield f"{key}: its events are {[sequence for sequence, _ in log]}, its row says 1…{last}"
        ends = [kind for _, kind in log if kind in ENDS]
        if status in ENDS.values() and (ends != [log[-1][1]] or ENDS[ends[0]] != status):
            yield f"{key} is {status}; its log says {ends}, and last {log[-1]}"
    yield from _tasks_ended_once(rig)


def _tasks_ended_once(rig: Rig) -> Iterator[str]:
    done: set[tuple[str, str]] = set()
    claimed: set[tuple[str, str, int]] = set()
    found = "SELECT execution_id, task, type, attempt FROM executions_event WHERE task <> '' ORDER BY execution_id, sequence"
    for key, task, kind, attempt in rig.sql(found):
        if (key, task) in done:
            yield f"{key} {task}: {kind} after it had completed"
        if kind == "task.completed":
            done.add((key, task))
        if kind == "task.started":
            if (key, task, attempt) in claimed:
                yield f"{key} {task}: attempt {attempt} was claimed twice"
            claimed.add((key, task, attempt))


def _nothing_ran_again(rig: Rig) -> Iterator[str]:
    """The ledger against the log: each claimed try ran at most once, and none was claimed after the completion."""
    starts = Counter((line.execution, line.task, line.attempt) for line in rig.lines() if line.what == "start")
    ended = {(line.execution, line.task) for line in rig.lines() if line.what == "end"}
    claims = set(rig.sql("SELECT execution_id, task, attempt FROM executions_event WHERE type = 'task.started'"))
    for one, count in starts.items():
        if count > 1:
            yield f"{one} ran {count} times"
        if one not in claims and "[" not in one[1]:
            yield f"{one} ran, and its log does not know of it"
    tasks = "SELECT execution_id, name, status, attempt, type FROM executions_taskrun"
    last = {(key, name): (status, attempt, kind) for key, name, status, attempt, kind in rig.sql(tasks)}
    for (key, task, attempt), _ in starts.items():
        if last[key, task][0] == "COMPLETED" and attempt > last[key, task][1]:
            yield f"{key} {task}: completed at attempt {last[key, task][1]}, and attempt {attempt} ran"
    for (key, task), (status, _, kind) in last.items():
        if (
            status == "COMPLETED"
            and kind == "test.ledger"
            and "[" not in task
            and (key, task) not in ended | _parents(last)
        ):
            yield f"{key} {task} is COMPLETED, and the ledger does not know its end"
    harmful = Counter((line.execution, line.task) for line in rig.lines() if line.what == "start" and not line.harmless)
    yield from (f"{key} must not run twice, and ran {count} times" for key, count in harmful.items() if count > 1)


def _parents(tasks: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """``for_each`` tasks, which run in their items only."""
    return {(key, task.partition("[")[0]) for key, task in tasks if "[" in task}


def _wait_for_webhooks(rig: Rig) -> None:
    """A delivery whose sender died is another's a minute later: as if that minute had passed."""
    if rig.sql(f"SELECT count(*) FROM executions_execution WHERE {ALIVE}")[0][0]:
        return  # that is what is wrong, and it is said below
    pending = "status = 'PENDING'"
    # What is being sent at this moment is not waited for: two that wait for each other are a deadlock.
    free = "FOR UPDATE SKIP LOCKED" if rig.postgresql is not None else ""
    overdue = f"SELECT id FROM executions_delivery WHERE {pending} {free}"
    least, since = math.inf, time.monotonic()
    while left := rig.sql(f"SELECT count(*) FROM executions_delivery WHERE {pending}")[0][0]:
        if left < least:
            least, since = left, time.monotonic()
        else:
            rig.sql(
                "UPDATE executions_delivery SET next_attempt_at = created_at, wake_at = created_at"
                f" WHERE {pending} AND id IN ({overdue})"
            )
        if time.monotonic() - since > STANDSTILL_SECONDS:
            rows = rig.sql(
                f"SELECT execution_id, sequence, tries, next_attempt_at FROM executions_delivery WHERE {pending} LIMIT 5"
            )
            pytest.fail("\n".join([f"{left} webhooks are not sent:", *map(str, rows), rig.stack.log()]))
        time.sleep(1.0)


def _webhooks_came(rig: Rig) -> Iterator[str]:
    """Each event that somebody wants came, always with the same id and body, for the first time in order."""
    came: dict[str, set[bytes]] = defaultdict(set)
    order: dict[str, list[int]] = defaultdict(list)
    for request in [request for request in rig.receiver.requests if request.path == "/hook"]:
        first = request.headers["webhook-id"] not in came
        came[request.headers["webhook-id"]].add(request.body)
        said: dict[str, Any] = json.loads(request.body)
        if first:
            order[said["data"]["workflow_execution_id"]].append(said["sequence"])
    rows = rig.sql("SELECT id, execution_id, sequence, status, body FROM executions_delivery")
    for key, execution, sequence, status, body in rows:
        if status != "DELIVERED":
            yield f"{execution} event {sequence}: its webhook is {status}"
        if came[key] != {body.encode()}:
            yield f"{execution} event {sequence}: came as {len(came[key])} different bodies"
    if unknown := set(came) - {row[0] for row in rows}:
        yield f"webhooks that nobody sent: {unknown}"
    for execution, sequences in order.items():
        if sequences != sorted(sequences):
            yield f"{execution}: its webhooks came in the order {sequences}"
    yield from _every_end_was_told(rig)


def _every_end_was_told(rig: Rig) -> Iterator[str]:
    """Each event of an execution with a webhook has its delivery, the end above all."""
    told = rig.sql(
        "SELECT e.execution_id, e.type FROM executions_event e JOIN executions_execution x ON x.id = e.execution_id"
        " LEFT JOIN executions_delivery d ON d.execution_id = e.execution_id AND d.sequence = e.sequence"
        " WHERE d.id IS NULL AND e.type LIKE 'execution.%' AND e.type <> 'execution.created'"
        " AND e.execution_id IN (SELECT execution_id FROM executions_delivery)"
    )
    yield from (f"{key}: nobody was told of {kind}" for key, kind in told)


def _nothing_is_left(rig: Rig) -> Iterator[str]:
    """No lease without its try, no task of an ended execution that goes on, no slot that is taken by more than fit."""
    going_on = rig.sql(
        "SELECT t.execution_id, t.name, t.status FROM executions_taskrun t JOIN executions_execution e"
        f" ON e.id = t.execution_id WHERE t.status IN ('PENDING', 'RUNNING', 'WAITING') AND NOT e.{ALIVE}"
    )
    yield from (f"{key} {name} is {status}, and its execution has ended" for key, name, status in going_on)
    leases = rig.sql(
        f"SELECT execution_id, name FROM executions_taskrun WHERE status = 'RUNNING' AND lease_until < {rig.now_sql}"
    )
    yield from (f"{key} {name} is RUNNING under a lease that ran out" for key, name in leases)
    limits = "SELECT concurrency_key, concurrency_limit, started_at, completed_at FROM executions_execution WHERE concurrency_key <> ''"
    changes: dict[str, list[tuple[Any, int, int | None]]] = defaultdict(list)
    for key, limit, started, completed in rig.sql(limits):
        if started is not None:
            changes[key] += [(started, 1, limit), (completed, -1, limit)]
    for key, moments in changes.items():
        held = 0
        for _, change, limit in sorted(moments, key=lambda moment: moment[:2]):
            held += change
            if limit is not None and held > limit:
                yield f"{key}: {held} ran at a time, and {limit} may"
                break


def check_stopped(rig: Rig) -> None:
    """Stop the installation: every worker takes its row away, and no process stays."""
    pids = rig.children()
    rig.stack.stop()
    assert rig.survivors() == []
    rows = rig.sql(f"SELECT pid FROM executions_worker WHERE pid IN ({', '.join(map(str, pids))})")
    assert rows == [], "workers that stopped with grace, and are still listed"
