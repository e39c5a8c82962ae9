"""Writes what a step made of an execution: in one statement where nothing but the execution itself is concerned."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from dataflow.lib.fields import dump_json
from executions import files, queue, webhooks
from executions.database import Clock, rows_of, stamp, writing
from executions.engine.planner import can_start
from executions.engine.run import EndedTry, Run
from executions.engine.state import Items, Logged, TaskState
from executions.models import Attempt, TaskRun
from executions.redaction import NOTHING, Redactor
from executions.store import accepting, neighbours, statements
from executions.store.rows import Loaded

#: Inputs are kept to be looked at; a longer value is cut.
SHOWN_CHARACTERS = 64 * 1024
#: A worker that looks this seldom is told of what is due sooner.
_SOON = timedelta(seconds=queue.LISTEN_SECONDS)
#: What one worker holds back is offered to all again so much later.
_HELD_BACK = timedelta(seconds=1)


class Stale(Exception):
    """Somebody else changed the execution since it was read: nothing was written. Read it again."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What a step has to write: when a worker should look again, what is logged, and which events webhooks want."""

    loaded: Loaded
    due: datetime | None
    events: Sequence[Logged]
    wanted: Sequence[Logged]
    held: bool

    @property
    def concerns_others(self) -> bool:
        """Whether rows besides its own execution, task runs and events are written."""
        loaded = self.loaded
        ended = loaded.run.status.ended and (loaded.row.parent_id or loaded.row.concurrency_key)
        return bool(self.wanted or loaded.run.ended_tries or loaded.children or ended)


def save(loaded: Loaded, *, wake_at: datetime | None = None, held: bool = False) -> None:
    """Write what changed, and tell whom it concerns. Raises ``Stale``; then nothing was written.

    ``wake_at`` is when a worker should look again besides what follows from the run itself. ``held``: the caller goes
    on with it at once, and others need to look only if it dies.
    """
    step = step_of(loaded, wake_at=wake_at, held=held)
    if step.concerns_others:
        write_alone(step)
    elif write([step]):
        raise Stale(loaded.row.id)
    settled(step)


def step_of(loaded: Loaded, *, wake_at: datetime | None = None, held: bool = False) -> Step:
    """What is to be written of an execution, as ``save`` takes it."""
    due = None if loaded.is_parked else next_look(loaded.run, also=wake_at, held=held)
    _take_over(loaded)
    events = _events(loaded)
    return Step(loaded, due, events, webhooks.wanted_of(loaded.row, events), held)


def write_alone(step: Step) -> None:
    """Write a step with what it means for others, in one transaction. Raises ``Stale``; then nothing was written."""
    loaded = step.loaded
    with writing():
        tries = _ended_tries(loaded)
        if write([step]):
            raise Stale(loaded.row.id)
        _store_tries(loaded, tries)
        for child in loaded.children:
            accepting.create(child)
        webhooks.queue_deliveries(loaded.row, loaded.run, step.wanted, loaded.hidden.told())
        if loaded.run.status.ended:
            neighbours.tell_of_end(loaded.row, loaded.run.now)


def settled(step: Step) -> None:
    """What the step changed is in the database now, or on its way there."""
    loaded = step.loaded
    loaded.row.sequence += len(step.events)
    loaded.row.revision += 1
    loaded.known |= loaded.run.changed
    loaded.run.saved()
    loaded.notes.clear()
    loaded.claims.clear()
    loaded.children.clear()


def next_look(run: Run, *, also: datetime | None = None, held: bool = False) -> datetime | None:
    """When a worker should look again, if nothing happens before."""
    if run.status.ended:
        return None
    if not held and (can_start(run) or (also is not None and also <= run.now)):
        return run.now - queue.AT_ONCE
    also = run.now + queue.RING_AGAIN if held else also
    times = [due for name in run.waiting if (due := run.tasks[name].due_at) is not None]
    times += [moment for moment in (run.deadline, also) if moment is not None]
    times += [run.now + _HELD_BACK] if run.holds_back else []
    return min(times, default=None)


def shown_inputs(inputs: Mapping[str, Any], redactor: Redactor = NOTHING) -> dict[str, Any]:
    """Inputs as sent, to be looked at, without what ``redactor`` masks.

    A value over 64 KiB of JSON is cut to the beginning of its text.
    """
    shown: dict[str, Any] = {}
    for name, given in inputs.items():
        value = redactor.value(given)
        if isinstance(value, int | float | bool | None):
            shown[name] = value
            continue
        text = value if isinstance(value, str) else dump_json(value)
        cut = f"{text[:SHOWN_CHARACTERS]}… ({len(text)} characters)"
        shown[name] = value if len(text) <= SHOWN_CHARACTERS else cut
    return shown


def _take_over(loaded: Loaded) -> None:
    """Bring the row up to what the run is now."""
    row, run = loaded.row, loaded.run
    row.status, row.started_at, row.completed_at = run.status, run.started_at, run.completed_at
    row.error = loaded.hidden.told().error(run.error)
    if run.outputs is not None:
        row.outputs, row.stored = files.keep_large(run.outputs, execution_id=row.id, task="")


def _events(loaded: Loaded) -> list[Logged]:
    run, first, redactor = loaded.run, loaded.row.sequence + 1, loaded.hidden.told()
    return [
        Logged(first + place, event.type, event.task, event.attempt, run.now, _told(event.data or {}, redactor))
        for place, event in enumerate(run.events)
    ]


def _told(data: Mapping[str, Any], redactor: Redactor) -> dict[str, Any]:
    """What an event says; its error and its reason are texts of tasks."""
    if not redactor:
        return dict(data)
    masked = {"error": redactor.error, "reason": redactor.told}
    return dict(data) | {name: mask(data[name]) for name, mask in masked.items() if name in data}


def write(steps: Sequence[Step]) -> list[Step]:
    """Write the steps themselves: one statement on PostgreSQL. Returns those that are stale."""
    if not steps:
        return []
    if connection.vendor == "sqlite":
        with writing():
            stale = [step for step in steps if not _write_sqlite(step)]
    else:
        stale = stale_of(steps, rows_of(statements.SAVE_POSTGRESQL, values_of(steps)))
    ring(step for step in steps if step not in stale)
    return stale


def values_of(steps: Sequence[Step], *, after: Container[str] = ()) -> dict[str, str]:
    """What ``SAVE_POSTGRESQL`` takes of the steps. Those of executions in ``after`` follow a save without an answer."""
    return {
        "steps": dump_json(
            [_changes(step) | {"channels": _channels(step), "follows": step.loaded.row.id in after} for step in steps]
        ),
        "runs": dump_json([record for step in steps for record in _runs(step)]),
        "events": dump_json([record for step in steps for record in _log(step)]),
    }


def stale_of(steps: Sequence[Step], rows: Sequence[tuple[Any, ...]], *, late: bool = False) -> list[Step]:
    """The steps that were not written, by what ``SAVE_POSTGRESQL`` answered; the others know what time it is.

    An answer that is read ``late`` is behind by that: time does not go backwards.
    """
    saved = dict(row[:2] for row in rows)
    for step in steps:
        if (at := saved.get(step.loaded.row.id)) is not None:
            clock = Clock(at)
            step.loaded.clock = max(step.loaded.clock, clock, key=Clock.now) if late else clock
    return [step for step in steps if step.loaded.row.id not in saved]


def ring(steps: Iterable[Step]) -> None:
    """Tell the workers of steps that were written, where the statement that wrote them could not."""
    if not queue.notifies():
        for step in steps:
            if _rings(step):
                queue.ring(step.loaded.row.id)


def _write_sqlite(step: Step) -> bool:
    with connection.wrap_database_errors:
        database = connection.connection
        if database.execute(statements.SAVE_SQLITE, _changes(step)).rowcount != 1:
            return False
        database.executemany(statements.SAVE_RUN_SQLITE, _runs(step))
        database.executemany(statements.SAVE_EVENT_SQLITE, _log(step))
        return True


def _channels(step: Step) -> list[str]:
    return queue.channels(work=_rings(step), ended=step.loaded.run.status.ended)


def _rings(step: Step) -> bool:
    """Whether workers should look soon."""
    return step.due is not None and step.due < step.loaded.run.now + _SOON


def _changes(step: Step) -> dict[str, Any]:
    row = step.loaded.row
    return {
        "id": row.id, "revision": row.revision, "status": row.status, "sequence": row.sequence + len(step.events),
        "wake_at": stamp(step.due), "started_at": stamp(row.started_at), "completed_at": stamp(row.completed_at),
        "error": _json(row.error), "outputs": _json(row.outputs), "stored": dump_json(row.stored),
        "ended": step.loaded.run.status.ended, "held": step.held,
    }  # fmt: skip


def _runs(step: Step) -> list[dict[str, Any]]:
    loaded = step.loaded
    loaded.begin_tries()
    return [_record(loaded, name) | {"execution_id": loaded.row.id} for name in loaded.run.changed]


def _log(step: Step) -> list[dict[str, Any]]:
    return [
        {"execution_id": step.loaded.row.id, "sequence": event.sequence, "type": event.type, "task": event.task,
         "attempt": event.attempt, "at": stamp(event.at), "data": dump_json(event.data)}
        for event in step.events
    ]  # fmt: skip


def _record(loaded: Loaded, name: str) -> dict[str, Any]:
    """A task run as the statements take it. Empty text keeps what the row has."""
    run, state = loaded.run, loaded.run.tasks[name]
    new, told = name not in loaded.known, loaded.hidden.told()
    outputs = _kept(state.outputs, loaded.row.id, name)
    record: dict[str, Any] = {
        "name": name, "position": run.place_of(name), "item": state.item, "status": state.status,
        "attempt": state.attempt, "failures": state.failures, "lost": state.lost, "on_fallback": state.on_fallback,
        "repeatable": state.repeatable, "timeout": state.timeout, "worker": state.worker,
        "lease_until": stamp(state.lease_until), "due_at": stamp(state.due_at), "started_at": stamp(state.started_at),
        "attempt_started_at": stamp(state.attempt_started_at), "completed_at": stamp(state.completed_at),
        "error": _json(told.error(state.error)), "reason": told.message(state.reason),
        "waiting": _json(state.waiting), "child": state.child,
        "items": None if state.items is None else _items_json(state.items),
        "type": run.definition_of(name).type if new else "", "inputs": None,
        "outputs": None if outputs is None else dump_json(outputs.inline),
        "stored": dump_json(outputs.stored) if outputs is not None else ("{}" if new else ""),
        "usage": "{}" if new else "", "log": "[]" if new else "", "progress": _progress(state),
        "progress_message": _progress_message(state),
    }  # fmt: skip
    if (claim := loaded.claims.get(name)) is not None:
        inputs = dump_json(shown_inputs(claim.inputs, told))
        record |= {"type": claim.type, "inputs": inputs, "usage": "{}", "log": "[]"}
    if (notes := loaded.notes.get(name)) is not None and (claim is None or state.status.ended):
        record |= {"usage": dump_json(notes.usage), "log": dump_json(notes.log)}
    return record


def _kept(outputs: Mapping[str, Any] | None, execution_id: str, task: str) -> files.LazyOutputs | None:
    """Outputs with what is large kept as files; those of a try come so."""
    if outputs is None or isinstance(outputs, files.LazyOutputs):
        return outputs
    return files.LazyOutputs(*files.keep_large(outputs, execution_id=execution_id, task=task))


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else dump_json(value)


def _items_json(items: Items) -> str:
    counts = {"total": items.total, "next": items.next, "completed": items.completed, "failed": items.failed}
    return dump_json(counts)


def _progress(state: TaskState) -> float | None:
    items = state.items
    return None if items is None or not items.total else (items.completed + items.failed) / items.total


def _progress_message(state: TaskState) -> str:
    items = state.items
    return "" if items is None else f"{items.completed + items.failed} of {items.total} items"


def _ended_tries(loaded: Loaded) -> dict[str, Attempt]:
    """The tries that ended, with what the rows say of them before they are written over."""
    if not loaded.run.ended_tries:
        return {}
    ended_tries = {ended.task: ended for ended in loaded.run.ended_tries}
    rows = {row.name: row for row in TaskRun.objects.filter(execution_id=loaded.row.id, name__in=ended_tries)}
    return {
        name: _quick_attempt_of(loaded, ended)
        if _has_begun_now(loaded, ended)
        else _attempt_of(loaded, ended, rows[name])
        for name, ended in ended_tries.items()
        if name in rows or _has_begun_now(loaded, ended)
    }


def _has_begun_now(loaded: Loaded, ended: EndedTry) -> bool:
    """Whether a try began and ended in this step: its row does not say anything of it."""
    claim = loaded.claims.get(ended.task)
    return claim is not None and claim.attempt == ended.attempt


def _attempt_of(loaded: Loaded, ended: EndedTry, row: TaskRun) -> Attempt:
    notes = loaded.notes.get(ended.task)
    return Attempt(
        number=ended.attempt, went_on=ended.went_on, type=row.type, worker=row.worker,
        started_at=row.attempt_started_at,
        ended_at=loaded.run.now, inputs=row.inputs, error=loaded.hidden.told().error(ended.error),
        usage=row.usage if notes is None else dict(notes.usage), log=row.log if notes is None else list(notes.log),
    )  # fmt: skip


def _quick_attempt_of(loaded: Loaded, ended: EndedTry) -> Attempt:
    claim, state, notes = loaded.claims[ended.task], loaded.run.tasks[ended.task], loaded.notes[ended.task]
    told = loaded.hidden.told()
    return Attempt(
        number=ended.attempt, went_on=ended.went_on, type=claim.type, worker=state.worker,
        started_at=state.attempt_started_at,
        ended_at=loaded.run.now, inputs=shown_inputs(claim.inputs, told), error=told.error(ended.error),
        usage=dict(notes.usage), log=list(notes.log),
    )  # fmt: skip


def _store_tries(loaded: Loaded, tries: Mapping[str, Attempt]) -> None:
    if tries:
        runs = TaskRun.objects.filter(execution_id=loaded.row.id, name__in=tries).values_list("name", "pk")
        for name, key in runs:
            tries[name].task_run_id = key
        Attempt.objects.bulk_create(tries.values())
