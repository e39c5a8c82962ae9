"""What must hold after every fault, read from the database, the ledger and the webhook receiver: one list of all that does not."""

from __future__ import annotations

import json
import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.faults.rig import ALIVE, Rig
from tests.stack_driver import Started

#: So long without any progress, and something hangs.
STANDSTILL_SECONDS = 60.0
RESUMED = "execution.resumed"
#: How a task ends, and the reason that one has which never ran: its result is another execution's.
TASK_ENDS = {"COMPLETED", "FAILED", "SKIPPED", "CANCELLED"}
REUSED = "Reused from"
ENDS = {"execution.completed": "COMPLETED", "execution.failed": "FAILED", "execution.cancelled": "CANCELLED"}


def check(rig: Rig, accepted: Sequence[Started], *, hurry: bool = True) -> None:
    """Wait for the last webhook, then look at everything. ``accepted`` are the executions that were answered with 201.

    Without ``hurry`` the webhooks come when they come: in time, if what is due again is found by itself.
    """
    _wait_for_webhooks(rig, hurry=hurry)
    problems = [
        *_all_ended(rig, accepted),
        *_logs_are_whole(rig),
        *_nothing_ran_again(rig),
        *_all_was_done(rig),
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
        # Of a resumed execution what came since: it had ended before.
        resumed = max((place for place, (_, kind) in enumerate(log) if kind == RESUMED), default=-1)
        if resumed >= 0 and log[resumed - 1][1] not in ENDS:
            yield f"{key}: it was resumed after {log[resumed - 1]}"
        ends = [kind for _, kind in log[resumed + 1 :] if kind in ENDS]
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
    claims = set(rig.sql("SELECT execution_id, task, attempt FROM executions_event WHERE type = 'task.started'"))
    for one, count in starts.items():
        if count > 1:
            yield f"{one} ran {count} times"
        if one not in claims and "[" not in one[1]:
            yield f"{one} ran, and its log does not know of it"
    rows = rig.sql("SELECT execution_id, name, status, attempt FROM executions_taskrun")
    last = {(key, name): (status, attempt) for key, name, status, attempt in rows}
    for key, task, attempt in starts:
        status, done = last.get((key, task), ("", 0))
        if not status:
            yield f"{key} {task} ran, and has no row"
        if status == "COMPLETED" and attempt > done:
            yield f"{key} {task}: completed at attempt {done}, and attempt {attempt} ran"
    harmful = Counter((line.execution, line.task) for line in rig.lines() if line.what == "start" and not line.harmless)
    yield from (f"{key} must not run twice, and ran {count} times" for key, count in harmful.items() if count > 1)


def _all_was_done(rig: Rig) -> Iterator[str]:
    """What is COMPLETED was done: each task of the definition has ended, and its log and the ledger know by which try."""
    told = set(rig.sql("SELECT execution_id, task FROM executions_event WHERE type = 'task.completed'"))
    rows: dict[str, dict[str, _Row]] = defaultdict(dict)
    columns = "execution_id, name, status, attempt, CAST(items AS text), reason"
    for key, *row in rig.sql(f"SELECT {columns} FROM executions_taskrun"):
        rows[key][row[0]] = _Row(*row)
        if _Row(*row).ran_to_its_end and "[" not in row[0] and (key, row[0]) not in told:
            yield f"{key} {row[0]} is COMPLETED, and its log does not say so"
    definitions = rig.sql(
        "SELECT e.id, CAST(v.definition AS text) FROM executions_execution e JOIN workflows_workflowversion v"
        " ON v.id = e.version_id WHERE e.status = 'COMPLETED'"
    )
    ended: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for line in [line for line in rig.lines() if line.what == "end"]:
        ended[line.execution].add((line.task, line.attempt))
    for key, definition in definitions:
        for task in json.loads(definition)["tasks"]:
            for problem in _of_task(task, rows[key], ended[key]):
                yield f"{key} is COMPLETED: {problem}"


@dataclass(frozen=True, slots=True)
class _Row:
    """What the row of a task says."""

    name: str
    status: str
    attempt: int
    items: str | None
    reason: str

    @property
    def ran_to_its_end(self) -> bool:
        return self.status == "COMPLETED" and not self.reason.startswith(REUSED)


def _of_task(task: dict[str, Any], rows: dict[str, _Row], ended: set[tuple[str, int]]) -> Iterator[str]:
    """What is wrong with a task of the definition, and with the items of a list; ``ended`` is what the ledger says."""
    name = task["name"]
    if (row := rows.get(name)) is None:
        yield f"its task {name} has no row"
        return
    names = [name]
    if row.ran_to_its_end and row.items is not None:
        names = [f"{name}[{item}]" for item in range(json.loads(row.items)["total"])]
    for one in names:
        found = rows.get(one)
        if found is None or found.status not in TASK_ENDS:
            yield f"its {one} has not ended: {found}"
        elif found.ran_to_its_end and task["type"] == "test.ledger" and (one, found.attempt) not in ended:
            yield f"the ledger does not know the end of {one} by attempt {found.attempt}"


def _wait_for_webhooks(rig: Rig, *, hurry: bool) -> None:
    """A delivery that failed is tried again after 5 s, then 30 s and more: with ``hurry`` as if they had passed."""
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
        elif hurry:
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
    yield from _everything_was_told(rig)


def _everything_was_told(rig: Rig) -> Iterator[str]:
    """Each event that the webhook of an execution wants has its delivery, the end above all."""
    asked = rig.sql(
        "SELECT e.id, CAST(e.monitoring AS text), CAST(v.definition AS text) FROM executions_execution e"
        " JOIN workflows_workflowversion v ON v.id = e.version_id"
    )
    wanted: dict[str, set[str]] = {}
    for key, monitoring, definition in asked:
        wanted[key] = set((json.loads(monitoring or "null") or {}).get("events", ()))
        if not wanted[key] and json.loads(definition).get("monitoring"):
            yield f"{key}: its webhook is forgotten"
    stored = set(rig.sql("SELECT execution_id, sequence FROM executions_delivery"))
    for key, sequence, kind in rig.sql("SELECT execution_id, sequence, type FROM executions_event"):
        of, _, what = kind.partition(".")
        if ("task" if of == "task" else what) in wanted.get(key, ()) and (key, sequence) not in stored:
            yield f"{key}: nobody was told of {kind}"


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
