"""Whatever the graph and whatever happens to its tasks: an execution ends, in order, and its log tells what happened."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow.lib.errors import TaskError
from executions.engine import outcomes, verbs
from executions.engine.outcomes import LEASE_SECONDS
from executions.engine.planner import plan, prepare
from executions.engine.run import EndedChild, EndedTry, Run
from executions.engine.state import Event, ExecutionStatus, Items, TaskState, TaskStatus, task_of
from tasks_lib import registry
from tasks_lib.base import Wait
from tests.engine_driver import START, after, definition_of

ENDED = {
    "task.completed": TaskStatus.COMPLETED,
    "task.failed": TaskStatus.FAILED,
    "task.skipped": TaskStatus.SKIPPED,
    "task.cancelled": TaskStatus.CANCELLED,
}
STATUS = ENDED | {
    "task.started": TaskStatus.RUNNING,
    "task.waiting": TaskStatus.WAITING,
    "task.requeued": TaskStatus.PENDING,
}
ENDS = {f"execution.{status.lower()}": status for status in ExecutionStatus if status.ended}
#: After so many decisions of chance everything that runs succeeds, so that a run of releases comes to an end.
CHANCES = 80
HAPPENINGS = (
    *("complete", "complete", "complete", "fail", "fail for good", "lose", "release", "suspend", "wait"),
    *("somebody else goes on", "cancel"),
)
Choice = TypeVar("Choice")


@st.composite
def tasks(draw: st.DrawFn) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 8))):
        earlier = [task["name"] for task in made]
        task: dict[str, Any] = {"name": f"t{number}", "type": "text.echo", "inputs": {"text": "x"}}
        if draw(st.booleans()):
            task = task | {"type": "http.request", "inputs": {"url": "http://example.com", "method": "POST"}}
        elif earlier and draw(st.booleans()):
            source = draw(st.sampled_from(made))
            if source["type"] == "text.echo" and "for_each" not in source:
                task["inputs"] = {"text": after(source["name"])}
        if draw(st.booleans()):
            task["depends_on"] = draw(st.lists(st.sampled_from(earlier), unique=True)) if earlier else []
        conditions = ["{{true}}", "{{false}}", *(f'{{{{tasks.{name}.status == "COMPLETED"}}}}' for name in earlier)]
        if draw(st.integers(0, 3)) == 0:
            task["condition"] = draw(st.sampled_from(conditions))
        if draw(st.booleans()):
            task["retry"] = {"attempts": draw(st.integers(0, 3)), "delay": draw(st.sampled_from([0, 1, 100]))}
        if draw(st.integers(0, 3)) == 0:
            task["fallback"] = {"task": "text.static", "inputs": {"text": "spare"}}
        if draw(st.integers(0, 3)) == 0:
            task |= draw(for_each())
        task["continue_on_failure"] = draw(st.booleans())
        made.append(task)
    return made


@st.composite
def for_each(draw: st.DrawFn) -> dict[str, Any]:
    length = draw(st.integers(0, 5))
    return {
        "for_each": f"{{{{{list(range(length))}}}}}",
        "concurrency": draw(st.integers(1, 3)),
        "on_item_failure": draw(st.sampled_from(["fail", "null", "drop"])),
    }


class World:
    """Workers and fate: at each turn something is claimed, or something happens to what runs or waits.

    ``rows`` is the database: what a step changed goes there whole or not at all, and a worker that comes anew knows
    what is there, without the items that have ended.
    """

    def __init__(self, documents: Sequence[Mapping[str, Any]], draw: Any) -> None:
        self.definition = definition_of(*documents)
        self.draw = draw
        self.chances = CHANCES
        self.rows: dict[str, TaskState] = {}
        self.log: list[Event] = []
        self.tries: list[EndedTry] = []
        self.claims: Counter[str] = Counter()
        self.run = Run(
            id="we-1", workflow_id="wf-1", definition=self.definition, status=ExecutionStatus.PENDING, inputs={},
            created_at=START, now=START, gather=self.gather,
        )  # fmt: skip

    def live(self) -> None:
        while not self.run.status.ended:
            ready = plan(self.run)
            self.save()
            if self.run.status.ended:
                return
            running = sorted(self.run.running)
            if ready and (not running or self.chance([True, True, False])):
                self.claim(self.chance(self.next_ones(ready)))
            elif running:
                self.happens_to(self.chance(running))
            else:
                self.pass_time()
            self.save()

    def chance(self, options: Sequence[Choice]) -> Choice:
        self.chances -= 1
        chosen: Choice = self.draw(st.sampled_from(options)) if self.chances > 0 else options[0]
        return chosen

    def next_ones(self, ready: Sequence[str]) -> list[str]:
        """What can be claimed now: of items that were never claimed, the first of each list."""
        first: dict[str, str] = {}
        for name in ready:
            first.setdefault(name if name in self.run.tasks else task_of(name), name)
        return list(first.values())

    def claim(self, name: str) -> None:
        if prepare(self.run, name, registry, worker="wk-1") is None:
            return
        self.claims[name] += 1
        assert self.run.tasks[name].attempt == self.claims[name]
        loop = self.run.definition_of(name).for_each
        if loop is not None:
            assert len(self.run.live_items[task_of(name)]) <= loop.concurrency

    # --- what the store does ---
    def save(self) -> None:
        for name in self.run.changed:
            before = self.rows.get(name)
            assert before is None or before.status is not TaskStatus.COMPLETED, f"{name} was completed"
            self.rows[name] = self.run.tasks[name]
        self.log += self.run.events
        self.tries += self.run.ended_tries
        self.run.saved()

    def reload(self) -> None:
        """Another worker reads it; whatever was not saved is lost."""
        old = self.run
        self.run = Run(
            id=old.id, workflow_id=old.workflow_id, definition=self.definition, status=old.status, inputs={},
            created_at=START, now=old.now, started_at=old.started_at, resumed_at=old.resumed_at, begun_at=old.begun_at, gather=self.gather,
            completed_at=old.completed_at, outputs=old.outputs, error=old.error, children=old.children,
            tasks={name: row for name, row in self.rows.items() if row.item is None or not row.status.ended},
        )  # fmt: skip

    def gather(self, name: str) -> Mapping[str, Any]:
        items = {row.name: row for row in (*self.rows.values(), *self.run.tasks.values()) if row.item is not None}
        mine = [row for row in items.values() if task_of(row.name) == name]
        assert all(row.status.ended for row in mine)
        return {"text": [(row.outputs or {}).get("text") for row in sorted(mine, key=lambda row: row.item or 0)]}

    # --- fate ---
    def pass_time(self) -> None:
        """Nothing runs and nothing is ready: then something must be waiting, or the execution is stuck for ever."""
        waiting = sorted(self.run.waiting)
        assert waiting, f"stuck: {self.rows}"
        state = self.run.tasks[self.chance(waiting)]
        if state.waits_for == "approval" and self.chance([True, False]):
            waits = verbs.waits_for_approval(self.run, state.name)
            assert waits
            verbs.decide(self.run, state.name, verbs.Decision(approved=self.chance([True, False]), by="me"))
        elif state.waits_for == "child" and self.chance([True, False]):
            status = self.chance([ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED])
            error = {"code": "runtime", "message": "as told", "retryable": self.chance([True, False])}
            self.run.children = {state.child: EndedChild(status=status, outputs={"text": "x"}, error=error)}
        else:
            times = [due for name in waiting if (due := self.run.tasks[name].due_at) is not None]
            self.run.now = max(self.run.now, min(times)) if times else self.run.now

    def happens_to(self, name: str) -> None:
        run, state = self.run, self.run.tasks[name]
        match self.chance(HAPPENINGS):
            case "complete":
                outcomes.complete(run, state, {"text": f"{name} done"})
            case "fail":
                error = TaskError("communication", "as told", retryable=True)
                outcomes.fail(run, state, error, jitter=self.chance([-1.0, 0.0, 1.0]))
            case "fail for good":
                outcomes.fail(run, state, TaskError("validation", "as told"), jitter=0)
            case "lose":
                run.now += timedelta(seconds=LEASE_SECONDS + 1)
                self.reload()
                plan(self.run)
                assert not self.run.running, "it is taken from whoever let its lease go"
            case "release":
                outcomes.release(run, state)
            case "suspend":
                self.suspend(state)
            case "wait":
                run.now += timedelta(seconds=5)
            case "somebody else goes on":
                self.reload()
            case _:
                run.end(ExecutionStatus.CANCELLED, because="by hand")

    def suspend(self, state: TaskState) -> None:
        kind = self.chance(["timer", "approval", "child"])
        seconds = self.chance([10.0, 0.0]) if kind == "timer" else self.chance([None, 10.0])
        data = {"outputs": {"text": "waited"}} if kind == "timer" else {"on_reject": self.chance(["fail", "complete"])}
        wait = Wait(kind=kind, data=data, seconds=seconds)
        outcomes.suspend(self.run, state, wait, child=f"we-{state.name}-{state.attempt}" if kind == "child" else "")

    def resume(self) -> None:
        self.run.now += timedelta(seconds=1)
        self.reload()
        left = {name: self.take_back(name) for name in verbs.to_resume(self.run) if self.run.task(name).items}
        self.reload()
        verbs.resume(self.run, by="me", items=left)
        self.save()

    def take_back(self, name: str) -> Items:
        """As the store does: items without a result are claimed again."""
        items, back = self.run.task(name).items, {TaskStatus.CANCELLED}
        assert items is not None
        if not verbs.accepts_failed_items(self.run.definition_of(name)):
            back |= {TaskStatus.FAILED, TaskStatus.SKIPPED}
        mine = [row for row in self.rows.values() if row.item is not None and task_of(row.name) == name]
        for row in mine:
            if row.status in back:
                self.rows[row.name] = TaskState(name=row.name, item=row.item, attempt=row.attempt)
        counts = Counter(self.rows[row.name].status for row in mine)
        failed = counts[TaskStatus.FAILED] + counts[TaskStatus.SKIPPED]
        return Items(total=items.total, next=items.next, completed=counts[TaskStatus.COMPLETED], failed=failed)


def check_ended(world: World, resumes: int) -> None:
    """Everything is as ended as it can be."""
    run, rows = world.run, world.rows
    world.reload()
    assert plan(world.run) == []
    assert all(state.status.ended for _, state in run.states())
    assert all(row.status.ended for row in rows.values())
    ends = [event.type for event in world.log if event.type in ENDS]
    assert len(ends) == 1 + resumes
    assert ENDS[ends[-1]] is run.status
    assert world.log[-1].type == ends[-1]
    hard = [t.name for t, s in run.states() if s.status is TaskStatus.FAILED and not t.continue_on_failure]
    assert (run.status is ExecutionStatus.FAILED) == bool(hard)
    if hard:
        assert run.error is not None
        assert run.error["task"] in hard
    for task, state in run.states():
        if state.items is not None and state.status is TaskStatus.COMPLETED:
            assert state.items.completed + state.items.failed == state.items.total
            assert task.for_each is not None
            assert not state.items.failed or task.for_each.on_item_failure != "fail"


def check_log(world: World) -> None:
    """The log tells it in an order that can be, and ends where the tasks are."""
    ended: defaultdict[str, bool] = defaultdict(bool)
    started: Counter[str] = Counter()
    completed: set[str] = set()
    seen: dict[str, TaskStatus] = {}
    for event in world.log:
        if event.type == "execution.resumed":
            ended = defaultdict(bool, dict.fromkeys(seen.keys() - set((event.data or {})["tasks"]), True))
        if event.type not in STATUS:
            continue
        assert not ended[event.task], f"{event.task} had ended before {event.type}"
        assert event.task not in completed
        if event.type == "task.started":
            started[event.task] += 1
            assert event.attempt == started[event.task]
            assert all(ended[name] for name in world.run.definition_of(event.task).dependencies)
        ended[event.task] = event.type in ENDED
        seen[event.task] = STATUS[event.type]
        if event.type == "task.completed":
            completed.add(event.task)
    states = {task.name: state for task, state in world.run.states()}
    assert seen == {name: state.status for name, state in states.items()}
    assert all(state.attempt == started[name] for name, state in states.items())


def check_tries(world: World) -> None:
    """Every try that was claimed completed its task or item, or is told of as one that did not; none twice."""
    given_up = Counter((tried.task, tried.attempt) for tried in world.tries)
    assert set(given_up.values()) <= {1}
    for name, count in world.claims.items():
        completed = world.rows[name].status is TaskStatus.COMPLETED
        told = [attempt for task, attempt in given_up if task == name]
        assert len(told) == count - completed, name
        assert sorted(told) == list(range(1, count + 1 - completed)), name


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_it_ends_in_order_and_says_what_happened(data: st.DataObject) -> None:
    world = World(data.draw(tasks()), data.draw)
    world.live()
    resumes = 0
    while world.run.status is not ExecutionStatus.COMPLETED and resumes < 2 and data.draw(st.booleans()):
        done = {name for name, row in world.rows.items() if row.status is TaskStatus.COMPLETED}
        claims = {name: world.claims[name] for name in done}
        world.chances = CHANCES
        world.resume()
        resumes += 1
        world.live()
        assert {name: world.claims[name] for name in done} == claims, "what was done was done again"
    check_ended(world, resumes)
    check_log(world)
    check_tries(world)
