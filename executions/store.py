"""The one writer of executions and task runs.

Every function is one transaction that starts by locking the execution, so that a completion is committed once,
together with what it makes ready, its events, its webhook deliveries and its doorbells.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import uniform
from typing import Any

from dataflow.lib.errors import TaskError
from dataflow.lib.fields import DatabaseNow, dump_json
from executions import files, queue, webhooks
from executions.database import database_now, writing
from executions.definitions import DefinitionBroken, definition_of
from executions.engine import outcomes
from executions.engine.outcomes import Completed, Failed, Notes, Outcome, complete, error_as_json, release
from executions.engine.planner import Claim, plan, prepare, startable
from executions.engine.run import EndedTry, Run
from executions.engine.state import ExecutionStatus, TaskState, TaskStatus
from executions.models import Attempt, Event, Execution, TaskRun
from executions.queue import RING_AGAIN
from tasks_lib import registry
from workflows.definition import Definition, Task

logger = logging.getLogger(__name__)

#: Rings for one execution at a time, when they were lost; each worker that comes goes on with what is ready.
MAX_RINGS = 32
#: Inputs are kept to be looked at; a longer value is cut.
SHOWN_CHARACTERS = 64 * 1024
#: No task type has this name: a definition that cannot run here fails by the planner's own rule for a missing type.
BROKEN_TYPE = "missing task type"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndOfTry:
    """What a worker has to say of the try it claimed."""

    claim: Claim
    outcome: Outcome


@dataclass(slots=True, kw_only=True)
class _Loaded:
    """A locked execution: its row, its task runs, and the run they are in the engine."""

    row: Execution
    rows: dict[str, TaskRun]
    run: Run
    claims: dict[str, Claim]
    worker: str = ""
    ended: EndOfTry | None = None


class FilesMissing(Exception):
    """An execution whose inputs hold files by URL that were not fetched yet: ``{input name: URL}``."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        super().__init__(f"not fetched yet: {', '.join(urls)}")
        self.urls = urls


def create(row: Execution) -> None:
    """Insert an accepted execution with its first event and its doorbell. Call it within ``writing()``."""
    now = database_now()
    row.created_at, row.sequence, row.wake_at = now, 1, now + RING_AGAIN
    row.save(force_insert=True)
    Event.objects.create(execution=row, sequence=1, type="execution.created", at=now)
    queue.ring(row.id)


def step(execution_id: str, *, worker: str, ended: EndOfTry | None = None, claiming: bool = True) -> Claim | None:
    """Take an execution one step on, in one transaction, and claim the next try for ``worker``.

    With ``ended``, first settle that try; one that is no longer this worker's changes nothing. Returns ``None`` when
    there is nothing to start: the execution has ended, or waits for what others do. A worker that is being stopped is
    not ``claiming``: what is ready is left to others. Raises ``FilesMissing``: give them first, by ``give_files``.
    """
    with writing():
        loaded = _load(execution_id)
        if loaded is None or loaded.run.status.ended:
            return None
        if urls := files.urls_in(loaded.run.definition, loaded.run.inputs):
            raise FilesMissing(urls)
        loaded.worker = worker
        rung = _rung_for(loaded.run) if claiming else set()
        if ended is not None and not _settle(loaded, ended):
            return None
        claim = _claim_next(loaded, claiming=claiming)
        others = _others_ready(loaded.run)
        _save(loaded, wake_at=_wake_at(loaded.run, others))
        queue.ring(execution_id, times=len(others - rung))
    return claim


def look_after(execution_id: str, *, ringing: bool) -> bool:
    """Plan for an execution whose time has come, without claiming: whatever is due happens, however busy workers are.

    With ``ringing``, rings for every task that is ready. ``False`` for one that has ended, is gone, or is locked: that
    one is being stepped at the moment.
    """
    with writing():
        loaded = _load(execution_id, skip_locked=True)
        if loaded is None or loaded.run.status.ended:
            return False
        if files.urls_in(loaded.run.definition, loaded.run.inputs):
            ready = {"the first worker that comes fetches its files"}
        else:
            plan(loaded.run)
            ready = _others_ready(loaded.run)
        _save(loaded, wake_at=_wake_at(loaded.run, ready))
        queue.ring(execution_id, times=min(len(ready), MAX_RINGS) if ringing else 0)
    return True


def give_files(execution_id: str, values: Mapping[str, Any]) -> None:
    """Put fetched files in place of their URLs, unless somebody did so already or the execution has ended."""
    with writing():
        loaded = _load(execution_id)
        if loaded is not None and files.urls_in(loaded.run.definition, loaded.run.inputs):
            loaded.row.inputs = {**loaded.row.inputs, **values}
            loaded.row.save(update_fields=["inputs"])


def fail(execution_id: str, error: TaskError) -> None:
    """End an execution that cannot begin, unless it has ended."""
    with writing():
        loaded = _load(execution_id)
        if loaded is not None and not loaded.run.status.ended:
            shown = error_as_json(error) | {"task": None}
            loaded.run.end(ExecutionStatus.FAILED, error=shown, because="a file of the inputs could not be fetched")
            _save(loaded, wake_at=None)


def cancel(execution_id: str, *, reason: str, by: str) -> ExecutionStatus:
    """Cancel an execution that has not ended; returns the status it has then (an ended one keeps its own)."""
    with writing():
        loaded = _load(execution_id)
        if loaded is None:
            raise Execution.DoesNotExist(execution_id)
        if not loaded.run.status.ended:
            error = {"code": "cancelled", "message": reason or "Cancelled by hand.", "by": by, "task": None}
            loaded.run.end(ExecutionStatus.CANCELLED, error=error, because="the execution was cancelled")
            _save(loaded, wake_at=None)
        return loaded.run.status


def renew_leases(worker: str, task_runs: Collection[int], *, seconds: float) -> None:
    """Extend the leases of the tries that ``worker`` still owns."""
    until = database_now() + timedelta(seconds=seconds)
    owned = TaskRun.objects.filter(pk__in=task_runs, worker=worker, status=TaskStatus.RUNNING)
    with writing():
        # In one order, and past what a step has locked: two that wait for each other would both lose time.
        mine = list(owned.select_for_update(skip_locked=True).order_by("pk").values_list("pk", flat=True))
        TaskRun.objects.filter(pk__in=mine).update(lease_until=until)


def note_progress(claim: Claim, *, fraction: float, message: str) -> None:
    """Show how far a running try is."""
    running = TaskRun.objects.filter(
        execution_id=claim.execution_id, name=claim.task, attempt=claim.attempt, status=TaskStatus.RUNNING
    )
    with writing():
        running.update(progress=fraction, progress_message=message[:200])


def _rung_for(run: Run) -> set[str]:
    """Ready tasks that a doorbell was rung for in an earlier step: the PENDING ones of a started execution."""
    if run.status is ExecutionStatus.PENDING:
        return set()
    return {name for name in startable(run) if run.task(name).status is TaskStatus.PENDING}


def _others_ready(run: Run) -> set[str]:
    """What is ready besides the claimed task. A retry that is due becomes PENDING, which says that it was rung for."""
    if run.status.ended:
        return set()
    ready = startable(run)
    for name in ready:
        if run.task(name).status is TaskStatus.WAITING:
            run.move(name, TaskStatus.PENDING, due_at=None, reason="")
    return set(ready)


def _load(execution_id: str, *, skip_locked: bool = False) -> _Loaded | None:
    """Lock an execution and read it with its tasks; ``None`` where there is none (or it is locked already)."""
    locked = Execution.objects.select_for_update(skip_locked=skip_locked).filter(pk=execution_id)
    row = locked.annotate(db_now=DatabaseNow()).first()
    if row is None:
        return None
    rows = {found.name: found for found in TaskRun.objects.filter(execution_id=execution_id).defer(*_UNREAD)}
    return _Loaded(row=row, rows=rows, run=_run_of(row, rows, vars(row)["db_now"]), claims={})


def _run_of(row: Execution, rows: Mapping[str, TaskRun], now: datetime) -> Run:
    return Run(
        id=row.id,
        workflow_id=row.workflow_id,
        definition=_definition_of(row),
        status=ExecutionStatus(row.status),
        inputs=row.inputs,
        created_at=row.created_at,
        now=now,
        started_at=row.started_at,
        tasks={name: _state_of(found) for name, found in rows.items()},
    )


def _definition_of(row: Execution) -> Definition:
    """The frozen definition; one that cannot run here any more has a single task that says so when it is claimed."""
    try:
        return definition_of(row.version_id)
    except DefinitionBroken as broken:
        logger.warning("%s: %s", row.id, broken)
        task = Task(name="definition", type=BROKEN_TYPE, spelled_type=BROKEN_TYPE, inputs={})
        return Definition(title="", description="", inputs=(), tasks=(task,), outputs=())


#: What a task run's row and its state in the engine have in common, by the same names.
_SHARED = (
    "status", "attempt", "failures", "lost", "on_fallback", "repeatable", "timeout", "lease_until", "due_at",
    "started_at", "attempt_started_at", "completed_at", "error", "reason",
)  # fmt: skip


def _state_of(row: TaskRun) -> TaskState:
    shared = {name: getattr(row, name) for name in _SHARED} | {"status": TaskStatus(row.status)}
    outputs = None if row.outputs is None else files.LazyOutputs(row.outputs, row.stored)
    return TaskState(name=row.name, outputs=outputs, **shared)


def _settle(loaded: _Loaded, ended: EndOfTry) -> bool:
    """Apply the end of a try; ``False`` when the try is not this worker's any more."""
    run, claim = loaded.run, ended.claim
    state = run.task(claim.task)
    if state.status is not TaskStatus.RUNNING or state.attempt != claim.attempt:
        return False
    task = run.definition_of(claim.task)
    loaded.ended = ended
    match ended.outcome:
        case Completed(outputs=outputs, stored=stored):
            complete(run, task, files.LazyOutputs(outputs, stored))
        case Failed(error=error):
            # Chance that spreads tries and hides nothing.
            outcomes.fail(run, task, error, jitter=uniform(-1, 1))  # noqa: S311
        case _:
            release(run, task)
    return True


def _claim_next(loaded: _Loaded, *, claiming: bool) -> Claim | None:
    """Plan until a task can be claimed or there is none; without ``claiming``, only plan."""
    while (ready := plan(loaded.run)) and claiming:
        claim = prepare(loaded.run, ready[0], registry)
        if claim is not None:
            loaded.claims[claim.task] = claim
            return claim
    return None


def _wake_at(run: Run, ready: Collection[str]) -> datetime | None:
    """When somebody should look again, should nobody have come by then."""
    if run.status.ended:
        return None
    times = [state.due_at for _, state in run.states() if state.status is TaskStatus.WAITING and state.due_at]
    if run.deadline is not None:
        times.append(run.deadline)
    if ready:
        times.append(run.now + RING_AGAIN)
    return min(times, default=None)


def _save(loaded: _Loaded, *, wake_at: datetime | None) -> None:
    """Write what the step changed: tries, task runs, events, the execution, webhook deliveries."""
    run, row = loaded.run, loaded.row
    _save_ended_tries(loaded)
    _save_task_runs(loaded)
    row.status, row.started_at, row.completed_at = run.status, run.started_at, run.completed_at
    row.error, row.wake_at = run.error, wake_at
    if run.outputs is not None:
        row.outputs, row.stored = files.keep_large(run.outputs, execution_id=row.id, task="")
    if run.status.ended:
        row.secrets = ""
    first = row.sequence + 1
    row.sequence += len(run.events)
    changed = ["status", "started_at", "completed_at", "error", "wake_at", "outputs", "stored", "secrets", "sequence"]
    row.save(update_fields=changed)
    events = [
        Event(
            execution=row, sequence=first + place, type=event.type, task=event.task, attempt=event.attempt, at=run.now,
            data=dict(event.data or {}),
        )
        for place, event in enumerate(run.events)
    ]  # fmt: skip
    Event.objects.bulk_create(events)
    webhooks.queue_deliveries(row, run, events)


def _save_ended_tries(loaded: _Loaded) -> None:
    tries = [_attempt_of(loaded, ended) for ended in loaded.run.ended_tries]
    Attempt.objects.bulk_create(tries)


def shown_inputs(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs as sent, to be looked at: a value over 64 KiB of JSON is cut to the beginning of its text."""
    shown = {}
    for name, value in inputs.items():
        text = value if isinstance(value, str) else dump_json(value)
        cut = f"{text[:SHOWN_CHARACTERS]}… ({len(text)} characters)"
        shown[name] = value if len(text) <= SHOWN_CHARACTERS else cut
    return shown


def _attempt_of(loaded: _Loaded, ended: EndedTry) -> Attempt:
    row = loaded.rows[ended.task]
    notes = _notes_of(loaded, ended.task)
    return Attempt(
        task_run=row, number=ended.attempt, type=row.type, worker=row.worker, started_at=row.attempt_started_at,
        ended_at=loaded.run.now, inputs=row.inputs, error=ended.error, usage=dict(notes.usage), log=list(notes.log),
    )  # fmt: skip


def _notes_of(loaded: _Loaded, task: str) -> Notes:
    if loaded.ended is not None and loaded.ended.claim.task == task:
        return loaded.ended.outcome.notes
    return Notes()


#: Large, and no decision needs them: written when there is something new, read for an ended try alone.
_UNREAD = ("inputs", "usage", "log")


def _save_task_runs(loaded: _Loaded) -> None:
    new: list[TaskRun] = []
    for name in sorted(loaded.run.changed, key=loaded.run.place_of):
        row = loaded.rows.get(name)
        if row is None:
            row = TaskRun(execution=loaded.row, name=name)
            _change(loaded, name, row)
            new.append(row)
        else:
            row.save(update_fields=_change(loaded, name, row))
    TaskRun.objects.bulk_create(new)


def _change(loaded: _Loaded, name: str, row: TaskRun) -> list[str]:
    """Take over into ``row`` what the step made of a task; returns the names of the columns."""
    state, place = loaded.run.task(name), loaded.run.place_of(name)
    values = {shared: getattr(state, shared) for shared in _SHARED} | {"position": place}
    ended = loaded.ended
    if ended is not None and ended.claim.task == name:
        notes = ended.outcome.notes
        values |= {"usage": dict(notes.usage), "log": list(notes.log)}
        if isinstance(ended.outcome, Completed):
            values |= {"outputs": dict(ended.outcome.outputs), "stored": dict(ended.outcome.stored)}
    if (claim := loaded.claims.get(name)) is not None:
        values |= {"type": claim.type, "worker": loaded.worker, "inputs": shown_inputs(claim.inputs)}
        values |= {"usage": {}, "log": [], "progress": None, "progress_message": ""}
    elif not row.type:
        values["type"] = loaded.run.definition_of(name).type
    for column, value in values.items():
        setattr(row, column, value)
    return list(values)
