"""One execution in memory while steps decide: its tasks, what can start, and what a step changed.

The store loads a ``Run``, the planner and the functions of ``outcomes`` change it, the store writes what changed. The
sets of what is pending, running and waiting are kept up with every change, so that a step costs what it changes, not
what the definition has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from executions.engine.state import (
    EXECUTION_TRANSITIONS,
    TASK_TRANSITIONS,
    Event,
    ExecutionStatus,
    TaskState,
    TaskStatus,
    item_name,
    task_of,
)
from tasks_lib import registry
from workflows.definition import Catalogue, Definition, Task

_TASK_EVENTS = {
    TaskStatus.RUNNING: "task.started",
    TaskStatus.COMPLETED: "task.completed",
    TaskStatus.FAILED: "task.failed",
    TaskStatus.SKIPPED: "task.skipped",
    TaskStatus.CANCELLED: "task.cancelled",
    TaskStatus.WAITING: "task.waiting",
    TaskStatus.PENDING: "task.requeued",
}
#: A ``for_each`` task logs this many times how far it is, and so many of its failed items by name.
_PROGRESS_EVENTS = 20
_ITEM_FAILURES_LOGGED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedTry:
    """A try that ended without completing its task.

    ``went_on`` tells one that did its part, and the task goes on from what it left, from one that was stopped.
    """

    task: str
    attempt: int
    error: Mapping[str, Any] | None
    went_on: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedChild:
    """How an execution that a task waited for has ended."""

    status: ExecutionStatus
    outputs: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None


def _no_items(name: str) -> Mapping[str, Any]:
    raise LookupError(f"nobody said where the items of {name} are")


@dataclass(slots=True, kw_only=True)
class Run:
    """An execution and its tasks. ``now`` is the database's clock at the start of the step.

    ``tasks`` has the tasks something can be said of, and the items of ``for_each`` tasks that have not ended.
    ``children`` says how executions ended that tasks wait for, by their ids. ``gather`` gives the outputs of all items
    of a task as lists. ``read_at`` is ``now`` as it was when the leases were read, which are renewed all the time: one
    has passed that had passed by then. ``None`` for a run that a worker kept.
    """

    id: str
    workflow_id: str
    definition: Definition
    status: ExecutionStatus
    inputs: Mapping[str, Any]
    created_at: datetime
    now: datetime
    started_at: datetime | None = None
    resumed_at: datetime | None = None
    completed_at: datetime | None = None
    #: When it last went to RUNNING, where that was not at ``started_at``.
    begun_at: datetime | None = None
    outputs: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    tasks: dict[str, TaskState] = field(default_factory=dict)
    children: Mapping[str, EndedChild] = field(default_factory=dict)
    gather: Callable[[str], Mapping[str, Any]] = _no_items
    #: The task types that the tasks are of.
    catalogue: Catalogue = registry
    #: What ``{{secrets.NAME}}`` gives, looked up when it is asked for.
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: Whether a task that lost two workers has to wait: this worker is at another one.
    holds_back: bool = False
    changed: set[str] = field(default_factory=set)
    events: list[Event] = field(default_factory=list)
    ended_tries: list[EndedTry] = field(default_factory=list)
    lists: dict[str, list[Any]] = field(default_factory=dict)
    read_at: datetime | None = field(init=False)
    #: PENDING and unblocked; RUNNING under a lease; WAITING; FAILED tasks; ``for_each`` tasks under way, and those of
    #: them that are PENDING and unblocked; tasks whose turn has come and whose condition nobody asked yet.
    pending: set[str] = field(init=False)
    running: set[str] = field(init=False)
    waiting: set[str] = field(init=False)
    failed: set[str] = field(init=False)
    spread: set[str] = field(init=False)
    unspread: set[str] = field(init=False)
    undecided: set[str] = field(init=False)
    live_items: dict[str, set[str]] = field(init=False)
    #: How many tasks have not ended.
    unended: int = field(init=False)
    _blockers: dict[str, int] = field(init=False)
    #: Of tasks of which nothing was said yet: a plan asks for each of them.
    _unseen: dict[str, TaskState] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.read_at = self.now
        self.reindex()

    def reindex(self) -> None:
        """Work out anew what can start and what is under way; after a change that was not made by ``move``."""
        self.pending, self.running, self.waiting, self.failed, self.spread = set(), set(), set(), set(), set()
        self.unspread, self.undecided = set(), set()
        self.live_items = {}
        self.unended = 0
        self._blockers = {}
        ended = {name for name, state in self.tasks.items() if state.item is None and state.status.ended}
        for task in self.definition.tasks:
            self._blockers[task.name] = sum(name not in ended for name in task.dependencies)
            self._enlist(self.task(task.name))
        for state in self.tasks.values():
            if state.item is not None:
                self._enlist(state)

    def place_of(self, name: str) -> int:
        """Where a task (or the task of an item) stands in the definition, from 0. ``KeyError`` for an unknown one."""
        place = self.definition.places.get(name)
        return self.definition.places[task_of(name)] if place is None else place

    def definition_of(self, name: str) -> Task:
        """The task of the definition that a task or an item is a run of."""
        return self.definition.tasks[self.place_of(name)]

    def task(self, name: str) -> TaskState:
        """The state of a task or an item; PENDING where nothing was said yet."""
        state = self.tasks.get(name) or self._unseen.get(name)
        if state is None:
            state = TaskState(name=name)
            if name in self.definition.places:  # there may be 100,000 items
                self._unseen[name] = state
        return state

    def item(self, task: str, item: int) -> TaskState:
        """The state of an item; PENDING where it was never claimed."""
        name = item_name(task, item)
        return self.tasks.get(name) or TaskState(name=name, item=item)

    def states(self) -> Iterator[tuple[Task, TaskState]]:
        """Every task of the definition, in order, with its state."""
        for task in self.definition.tasks:
            yield task, self.task(task.name)

    @property
    def deadline(self) -> datetime | None:
        """When the workflow's ``timeout`` ends it; ``None`` while it has not begun, or not again after a resume."""
        since = self.begun_at or self.started_at
        if self.definition.timeout is None or since is None or self.status is ExecutionStatus.PENDING:
            return None
        return since + timedelta(seconds=self.definition.timeout)

    def move(self, before: TaskState, status: TaskStatus, *, data: Mapping[str, Any] | None = None, **to: Any) -> None:
        """Take a task or an item from ``before``, its state, to ``status`` with the changes ``to``, and log it.

        Raises ``ValueError`` for a step that the table of states does not have.
        """
        if status not in TASK_TRANSITIONS[before.status]:
            raise ValueError(f"task {before.name}: {status} cannot follow {before.status}")
        if status.ended:
            to = {"completed_at": self.now, "lease_until": None, "due_at": None, "waiting": None} | to
        if _gave_up(before, status, to):
            went_on = status is TaskStatus.PENDING and (to.get("waiting") or {}).get("for") == "resume"
            ended = EndedTry(task=before.name, attempt=before.attempt, error=to.get("error"), went_on=went_on)
            self.ended_tries.append(ended)
        after = replace(before, status=status, **to)
        self._put(before, after)
        if after.item is None:
            self.events.append(Event(type=_TASK_EVENTS[status], task=after.name, attempt=after.attempt, data=data))
        elif status.ended:
            self._item_ended(after)

    def note(self, name: str, **to: Any) -> None:
        """Change what is known of a task without taking it anywhere."""
        self.tasks[name] = replace(self.task(name), **to)
        self.changed.add(name)

    def begin(self) -> None:
        """PENDING → RUNNING, once after each resume."""
        if self.status is ExecutionStatus.PENDING:
            self._become(ExecutionStatus.RUNNING)
            self.started_at = self.started_at or self.now
            self.begun_at = self.now

    def end(
        self,
        status: ExecutionStatus,
        *,
        outputs: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
        because: str = "",
    ) -> None:
        """End the execution; whatever has not ended is CANCELLED, and says ``because`` of what."""
        if self.unended:
            for task, state in self.states():
                if not state.status.ended:
                    self.cancel_items(task.name, because)
                    self._cancel(state, because)
        self._become(status)
        self.completed_at = self.now
        self.outputs = outputs
        self.error = error

    def cancel_items(self, task: str, because: str) -> None:
        """Ask what runs or waits of a ``for_each`` task to stop."""
        for name in sorted(self.live_items.get(task, ())):
            self._cancel(self.tasks[name], because)

    def saved(self) -> None:
        """What was changed is in the database now; items that have ended are needed no more."""
        for name in self.changed:
            state = self.tasks[name]
            if state.item is not None and state.status.ended:
                del self.tasks[name]
        self.changed.clear()
        self.events.clear()
        self.ended_tries.clear()
        self.read_at = None

    def _cancel(self, state: TaskState, because: str) -> None:
        verb = "Stopped" if state.attempt else "Not run"
        self.move(state, TaskStatus.CANCELLED, reason=f"{verb} because {because}.")

    def _become(self, status: ExecutionStatus) -> None:
        if status not in EXECUTION_TRANSITIONS[self.status]:
            raise ValueError(f"execution {self.id}: {status} cannot follow {self.status}")
        self.status = status
        name = "started" if status is ExecutionStatus.RUNNING else status.lower()
        self.events.append(Event(type=f"execution.{name}"))

    def _put(self, before: TaskState, after: TaskState) -> None:
        names = (self.pending, self.running, self.waiting, self.failed, self.spread, self.unspread, self.undecided)
        for enlisted in names:
            enlisted.discard(after.name)
        if after.item is not None:
            self.live_items.setdefault(task_of(after.name), set()).discard(after.name)
        elif not before.status.ended:
            self.unended -= 1
        self.tasks[after.name] = after
        self.changed.add(after.name)
        self._enlist(after)
        if after.item is None and after.status.ended and not before.status.ended:
            self._unblock(after.name)

    def _enlist(self, state: TaskState) -> None:
        """Count a state in where it belongs."""
        name, status = state.name, state.status
        if status is TaskStatus.FAILED and state.item is None:
            self.failed.add(name)
        if status.ended:
            return
        if state.item is None:
            self.unended += 1
        else:
            self.live_items.setdefault(task_of(name), set()).add(name)
        if status is TaskStatus.WAITING:
            self.waiting.add(name)
        elif status is TaskStatus.RUNNING:
            (self.running if state.items is None else self.spread).add(name)
        elif not self._blockers.get(name):
            self._enlist_pending(state)

    def _enlist_pending(self, state: TaskState) -> None:
        """Count in what is PENDING and waits for no other task."""
        if state.item is not None:
            self.pending.add(state.name)
            return
        task = self.definition_of(state.name)
        (self.pending if task.for_each is None else self.unspread).add(state.name)
        if task.condition is not None and state.attempt == 0:
            self.undecided.add(state.name)

    def _unblock(self, ended: str) -> None:
        for name in self.definition.dependents.get(ended, ()):
            self._blockers[name] -= 1
            if not self._blockers[name] and (state := self.task(name)).status is TaskStatus.PENDING:
                self._enlist_pending(state)

    def _item_ended(self, state: TaskState) -> None:
        """Count an item that has ended in with its task, and log it where it failed and now and then."""
        task = task_of(state.name)
        items = self.tasks[task].items
        if items is None or state.status is TaskStatus.CANCELLED:
            return
        failed = state.status is not TaskStatus.COMPLETED
        counted = replace(items, completed=items.completed + (not failed), failed=items.failed + failed)
        self.note(task, items=counted)
        progress = {"completed": counted.completed, "failed": counted.failed, "total": counted.total}
        if failed and counted.failed <= _ITEM_FAILURES_LOGGED:
            data = {"item": state.item, "error": state.error, "reason": state.reason}
            self.events.append(Event(type="task.item_failed", task=task, attempt=state.attempt, data=data))
        each = max(1, counted.total // _PROGRESS_EVENTS)
        if (counted.completed + counted.failed) % each == 0:
            self.events.append(Event(type="task.progress", task=task, data=progress))


def _gave_up(before: TaskState, status: TaskStatus, to: Mapping[str, Any]) -> bool:
    """Whether this ends a try without completing the task: one that waits for a person or a child is still at it."""
    if status is TaskStatus.COMPLETED or before.items is not None:
        return False
    if before.status is TaskStatus.WAITING:
        return before.waits_for != "retry"
    if before.status is not TaskStatus.RUNNING:
        return False
    return status is not TaskStatus.WAITING or to["waiting"]["for"] == "retry"
