"""Whatever the graph and whatever happens to its tasks: an execution ends, in order, and its log tells what happened."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from executions.engine.outcomes import LEASE_SECONDS
from executions.engine.state import ExecutionStatus, TaskStatus
from tests.engine_driver import Driver, after

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
#: After so many decisions of chance everything that runs succeeds, so that a run of releases comes to an end.
CHANCES = 60
HAPPENINGS = ("complete", "complete", "complete", "fail", "fail for good", "lose", "release", "wait", "cancel")


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
            if source["type"] == "text.echo":
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
        task["continue_on_failure"] = draw(st.booleans())
        made.append(task)
    return made


class World:
    """Workers and fate: at each turn something is claimed, or something happens to what runs."""

    def __init__(self, driver: Driver, draw: Any) -> None:
        self.driver = driver
        self.draw = draw
        self.chances = CHANCES

    def live(self) -> None:
        run = self.driver.run
        while not run.status.ended:
            ready = self.driver.ready()
            running = [task.name for task, state in run.states() if state.status is TaskStatus.RUNNING]
            if run.status.ended:
                return
            if ready and (not running or self.chance([True, True, False])):
                self.driver.claim(self.chance(ready))
            elif running:
                self.happens_to(self.chance(running))
            else:
                self.pass_time()

    def chance(self, options: list[Any]) -> Any:
        self.chances -= 1
        return self.draw(st.sampled_from(options)) if self.chances > 0 else options[0]

    def pass_time(self) -> None:
        """Nothing runs and nothing is ready: then something must be waiting, or the execution is stuck for ever."""
        due = [state.due_at for _, state in self.driver.run.states() if state.status is TaskStatus.WAITING]
        times = [time for time in due if time is not None]
        assert times, f"stuck: {self.driver.statuses()}"
        self.driver.run.now = min(times)

    def happens_to(self, name: str) -> None:
        match self.chance(list(HAPPENINGS)):
            case "complete":
                self.driver.completes(name)
            case "fail":
                self.driver.fails(name, jitter=self.chance([-1.0, 0.0, 1.0]))
            case "fail for good":
                self.driver.fails(name, "validation", retryable=False)
            case "lose":
                self.driver.later(LEASE_SECONDS + 1)
            case "release":
                self.driver.releases(name)
            case "wait":
                self.driver.later(5)
            case _:
                self.driver.run.end(ExecutionStatus.CANCELLED, because="by hand")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_it_ends_in_order_and_says_what_happened(data: st.DataObject) -> None:
    driver = Driver(*data.draw(tasks()))
    World(driver, data.draw).live()
    run = driver.run
    assert run.status.ended
    assert all(state.status.ended for _, state in run.states())
    assert driver.ready() == []

    ended: Counter[str] = Counter()
    started: Counter[str] = Counter()
    seen: dict[str, TaskStatus] = {}
    for event in run.events:
        if not event.task:
            continue
        assert not ended[event.task], f"{event.task} had ended before {event.type}"
        if event.type == "task.started":
            started[event.task] += 1
            assert event.attempt == started[event.task]
            assert all(ended[name] for name in run.definition_of(event.task).dependencies)
        ended[event.task] += event.type in ENDED
        seen[event.task] = STATUS[event.type]

    assert set(ended.values()) == {1}
    assert seen == {task.name: state.status for task, state in run.states()}
    assert all(state.attempt == started[task.name] for task, state in run.states())
    ends = [
        event.type
        for event in run.events
        if event.type in {f"execution.{status.lower()}" for status in run.status.__class__}
    ]
    assert ends == [f"execution.{run.status.lower()}"]
    assert run.events[-1].type == ends[0]

    completed = sum(status is TaskStatus.COMPLETED for status in seen.values())
    assert len(run.ended_tries) == started.total() - completed
    hard = [t.name for t, s in run.states() if s.status is TaskStatus.FAILED and not t.continue_on_failure]
    assert (run.status is ExecutionStatus.FAILED) == bool(hard)
    if hard:
        assert run.error is not None
        assert run.error["task"] in hard
