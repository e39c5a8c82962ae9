"""Steps: settle what tries gave, plan, claim what is next. ``saving.save`` then writes it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from random import uniform

from dataflow.lib.errors import TaskError
from dataflow.lib.failpoints import failpoint
from executions import files
from executions.database import writing
from executions.engine import outcomes
from executions.engine.outcomes import MAX_LOST, Completed, Failed, Outcome, Suspended
from executions.engine.planner import Claim, plan, prepare, startable, take_up
from executions.engine.run import Run
from executions.engine.state import ExecutionStatus, TaskState, TaskStatus
from executions.store import children, neighbours, slots
from executions.store.reading import load, load_unless_locked
from executions.store.rows import Loaded
from executions.store.saving import save
from tasks_lib import registry


@dataclass(frozen=True, slots=True, kw_only=True)
class EndOfTry:
    """What a worker has to say of the try it claimed."""

    claim: Claim
    outcome: Outcome


class FilesMissing(Exception):
    """An execution whose inputs hold files by URL that were not fetched yet: ``{input name: URL}``."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        super().__init__(f"not fetched yet: {', '.join(urls)}")
        self.urls = urls


def step(execution_id: str, *, worker: str, ended: EndOfTry | None = None, claiming: bool = True) -> Claim | None:
    """Take an execution one step on, in one transaction, and claim the next try for ``worker``.

    With ``ended``, first settle that try; one that is no longer this worker's changes nothing. Returns ``None`` when
    there is nothing to start: the execution has ended, or waits for what others do. A worker that is being stopped is
    not ``claiming``: what is ready is left to others. Raises ``FilesMissing``: give them first, by ``give_files``.
    """
    with writing():
        loaded = load(execution_id)
        if loaded is None or loaded.run.status.ended:
            return None
        if ended is not None and not settle(loaded, ended, worker):
            return None
        claims = advance(loaded, worker=worker, wanted=int(claiming))
        save(loaded)
    return claims[0] if claims else None


def look_after(execution_id: str) -> bool:
    """Plan for an execution without claiming: leases that ran out and times that have come, however busy workers are.

    ``False`` for one that has ended, is gone, or is locked: that one is being stepped at the moment.
    """
    with writing():
        loaded = load_unless_locked(execution_id)
        if loaded is None or loaded.run.status.ended:
            return False
        if not files.urls_in(loaded.run.definition, loaded.run.inputs):
            advance(loaded, worker="", wanted=0)
        save(loaded)
        failpoint("sweep.before_commit")
    failpoint("sweep.after_commit")
    return True


def advance(loaded: Loaded, *, worker: str, wanted: int, only: Callable[[Run, str], bool] | None = None) -> list[Claim]:
    """Plan, and claim up to ``wanted`` tries for ``worker``. Nothing is written yet.

    With ``only``, nothing is claimed from the first task on of which that is not true: a task that is skipped or fails
    as it is claimed makes others ready. One with a limit on how many run must be locked while it begins. Raises
    ``FilesMissing``.
    """
    run = loaded.run
    loaded.tick()
    if not _goes_on(loaded):
        return []
    claims: list[Claim] = []
    if not wanted:
        plan(run)
        _count_deaths(loaded)
    while len(claims) < wanted and (ready := plan(run)):
        for name in ready[: wanted - len(claims)]:
            if only is not None and not only(run, name):
                return claims
            claim = prepare(run, name, registry, worker=worker)
            if claim is None:
                break
            loaded.claims[name] = claim
            claims.append(claim)
            if claim.is_last_chance:  # whatever else is one waits now
                run.holds_back = True
                break
    return claims


def _goes_on(loaded: Loaded) -> bool:
    """Whether it can be planned for: it can run here, its files are there, and it has a slot."""
    run = loaded.run
    if loaded.broken and not run.status.ended:
        error = {"code": "validation", "message": loaded.broken, "task": None}
        run.end(ExecutionStatus.FAILED, error=error, because="its definition cannot run here any more")
    was_parked, loaded.is_parked = loaded.is_parked, False
    if run.status is ExecutionStatus.PENDING:
        if urls := files.urls_in(run.definition, run.inputs):
            raise FilesMissing(urls)
        loaded.is_parked = bool(loaded.row.concurrency_key) and not neighbours.slot_is_free(loaded.row)
        if loaded.is_parked and not was_parked:  # looked at once a step
            slots.parked(loaded.row)
    return not (loaded.is_parked or run.status.ended)


def _count_deaths(loaded: Loaded) -> None:
    """Count whom a quick task took with it before it was claimed: the execution was taken, and nobody wrote anything.

    Of the tasks that are ready the first one was at work then. Of the items of a list it is not known.
    """
    run, deaths = loaded.run, min(loaded.row.takes - 1, MAX_LOST - 1)
    if deaths <= 0 or loaded.is_parked or not (ready := startable(run)):
        return
    task, state = run.definition_of(ready[0]), run.task(ready[0])
    task_type = registry.get(task.type)
    if ready[0] == task.name and not state.attempt and task_type is not None and task_type.quick:
        run.note(task.name, lost=max(state.lost, deaths))


def take_back(loaded: Loaded, *, worker: str, in_hand: Collection[tuple[str, int]]) -> list[Claim]:
    """The tries that ``worker`` owns and does not know of: the answer to their claim was lost with its connection."""
    names = sorted(loaded.run.running, key=lambda name: (loaded.run.place_of(name), loaded.run.tasks[name].item or 0))
    mine = [state for name in names if (state := loaded.run.tasks[name]).worker == worker]
    unknown = [state for state in mine if (state.name, state.attempt) not in in_hand]
    found = [take_up(loaded.run, state.name, registry) for state in unknown]
    return [claim for claim in found if claim is not None]


def put_back(loaded: Loaded, claim: Claim) -> None:
    """Give back a try that was taken back and never ran: it is as if it had not been claimed."""
    outcomes.requeue(loaded.run, loaded.run.tasks[claim.task])


def settle(loaded: Loaded, ended: EndOfTry, worker: str) -> bool:
    """Apply the end of a try; ``False`` when the try is not this worker's any more."""
    run, claim = loaded.run, ended.claim
    state = run.tasks.get(claim.task)
    if state is None or state.status is not TaskStatus.RUNNING:
        return False
    if state.attempt != claim.attempt or state.worker != worker:
        return False
    loaded.tick()
    loaded.notes[claim.task] = ended.outcome.notes
    match ended.outcome:
        case Completed(outputs=outputs, stored=stored):
            outcomes.complete(run, state, files.LazyOutputs(outputs, stored))
        case Suspended() as suspended:
            _suspend(loaded, state, suspended)
        case Failed(error=error):
            # Chance that spreads tries and hides nothing.
            outcomes.fail(run, state, error, jitter=uniform(-1, 1))  # noqa: S311
        case _:
            outcomes.release(run, state)
    return True


def _suspend(loaded: Loaded, state: TaskState, suspended: Suspended) -> None:
    """Let a task wait; where it waits for another execution, that is started in the same transaction."""
    wait = suspended.wait
    if wait.kind != "child":
        outcomes.suspend(loaded.run, state, wait)
        return
    try:
        child = children.child_of(loaded.row, state.name, wait.data)
        slots.admit_child(child, besides=loaded.children)
    except TaskError as error:
        if wait.state is None:
            outcomes.fail(loaded.run, state, error, jitter=0.0)
        else:  # the task is told, and may do better
            outcomes.resume(loaded.run, state, {"state": wait.state, "error": outcomes.error_as_json(error)})
    else:
        loaded.children.append(child)
        outcomes.suspend(loaded.run, state, wait, child=child.pk)
