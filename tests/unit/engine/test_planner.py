"""What starts when: order, conditions, skips, failures, ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from executions.engine import planner, verbs
from executions.engine import run as run_module
from executions.engine.state import ExecutionStatus, TaskState, TaskStatus
from tests.engine_driver import Driver, after, echo, post
from workflows.definition import check_condition

TEXT_OUTPUT = {"name": "text", "type": "text", "value": after("a")}


def test_a_sequence_by_default() -> None:
    driver = Driver(echo("a"), echo("b"), outputs=[TEXT_OUTPUT])
    assert driver.ready() == ["a"]
    driver.runs("a", text="one")
    assert driver.ready() == ["b"]
    driver.runs("b")
    assert driver.ready() == []
    assert driver.run.status is ExecutionStatus.COMPLETED
    assert driver.run.outputs == {"text": "one"}
    assert driver.log() == [
        "execution.started", "task.started a", "task.completed a", "task.started b", "task.completed b",
        "execution.completed",
    ]  # fmt: skip


def test_the_execution_starts_with_its_first_task() -> None:
    driver = Driver(echo("a"))
    driver.ready()
    assert driver.run.status is ExecutionStatus.PENDING
    driver.later(3)
    driver.start("a")
    assert driver.run.started_at == driver.run.now
    assert driver.run.status is ExecutionStatus.RUNNING


def test_roots_start_together() -> None:
    driver = Driver(echo("a", depends_on=[]), echo("b", depends_on=[]), echo("c", depends_on=["a", "b"]))
    assert driver.ready() == ["a", "b"]
    driver.start("a")
    assert driver.ready() == ["b"]
    driver.runs("b")
    assert driver.ready() == []
    driver.completes("a")
    assert driver.ready() == ["c"]


def test_a_task_also_waits_for_what_it_refers_to() -> None:
    driver = Driver(echo("a"), echo("b", depends_on=[]), echo("c", after("a"), depends_on=["b"]))
    assert driver.ready() == ["a", "b"]
    driver.runs("b")
    assert driver.ready() == ["a"]
    driver.runs("a")
    claim = driver.start("c")
    assert claim.inputs == {"text": "a done"}


def test_inputs_are_rendered_when_it_is_claimed() -> None:
    driver = Driver(
        echo("a", "{{inputs.who}} at {{execution.id}}"),
        inputs=[{"name": "who", "type": "text"}],
        values={"who": "Ann"},
    )
    claim = driver.start("a")
    assert (claim.attempt, claim.type, dict(claim.inputs)) == (1, "text.echo", {"text": "Ann at we-1"})


@pytest.mark.parametrize(
    ("task", "seconds"),
    [(echo("a", timeout=7.5), 7.5), (post("a"), 300.0)],
)
def test_timeout_is_the_tasks_own_else_its_types(task: dict[str, Any], seconds: float) -> None:
    assert Driver(task).start("a").timeout == seconds


# --- conditions ---
@pytest.mark.parametrize(("value", "status"), [(True, "PENDING"), (False, "SKIPPED")])
def test_a_condition_decides_when_its_turn_comes(value: bool, status: str) -> None:
    driver = Driver(
        echo("a"),
        echo("b", condition="{{inputs.go}}"),
        inputs=[{"name": "go", "type": "boolean"}],
        values={"go": value},
    )
    driver.ready()
    assert driver.statuses()["b"] == "PENDING"
    driver.runs("a")
    driver.ready()
    assert driver.statuses()["b"] == status


def test_a_false_condition_says_so_and_its_followers_run() -> None:
    driver = Driver(echo("a", condition="{{1 > 2}}"), echo("b"))
    assert driver.ready() == ["b"]
    assert driver.state("a").reason == "Its condition is false."
    driver.runs("b")
    driver.ready()
    assert driver.run.status is ExecutionStatus.COMPLETED


def test_a_broken_condition_fails_the_task() -> None:
    driver = Driver(
        echo("a", condition="{{inputs.n / 0 == 1}}"), inputs=[{"name": "n", "type": "number"}], values={"n": 1}
    )
    assert driver.ready() == []
    assert driver.state("a").status is TaskStatus.FAILED
    assert driver.run.status is ExecutionStatus.FAILED
    assert driver.run.error is not None
    assert (driver.run.error["code"], driver.run.error["task"]) == ("expression", "a")


def test_a_condition_through_a_skipped_task_skips() -> None:
    driver = Driver(echo("a", condition="{{false}}"), echo("b", condition='{{tasks.a.outputs.text == "x"}}'), echo("c"))
    ready = driver.ready()
    # `null == "x"` is false, or the reference has no value: skipped either way, and the reason names one of the two.
    assert driver.state("b").status is TaskStatus.SKIPPED
    assert driver.state("b").reason
    assert ready == ["c"]


def test_a_condition_may_ask_for_a_status() -> None:
    driver = Driver(echo("a", condition="{{false}}"), echo("b", condition='{{tasks.a.status == "SKIPPED"}}'))
    assert driver.ready() == ["b"]


# --- skips ---
def test_skips_go_down_the_chain_and_say_why() -> None:
    driver = Driver(echo("a", condition="{{false}}"), echo("b", after("a")), echo("c", after("b")), echo("d"))
    for name in ("b", "c"):
        assert driver.ready() == [name]
        assert driver.claim(name) is None
    assert driver.ready() == ["d"]
    driver.runs("d")
    driver.ready()
    assert driver.statuses() == {"a": "SKIPPED", "b": "SKIPPED", "c": "SKIPPED", "d": "COMPLETED"}
    assert driver.state("c").reason == "Its input text comes from task b, which gave no outputs."
    assert driver.run.status is ExecutionStatus.COMPLETED


GONE = echo("a", condition="{{false}}")


def loop(text: str, items: Any = ("x", "y"), **more: Any) -> dict[str, Any]:
    return echo("b", text, for_each=list(items), depends_on=["a"], **more)


@pytest.mark.parametrize("text", [after("a"), f"{{{{item}}}} {after('a')}", "{{tasks.a.outputs.text + item}}"])
@pytest.mark.parametrize("policy", ["fail", "null", "drop"])
def test_a_list_whose_items_all_lack_an_input_is_skipped(text: str, policy: str) -> None:
    driver = Driver(GONE, loop(text, on_item_failure=policy), echo("c"))
    assert driver.ready() == ["c"]
    assert driver.state("b").status is TaskStatus.SKIPPED
    assert driver.state("b").reason == "Its input text comes from task a, which gave no outputs."
    assert driver.state("b").attempt == 0


def test_a_list_behind_a_failure_that_was_accepted_is_skipped() -> None:
    driver = Driver(echo("a", continue_on_failure=True), loop(after("a")), echo("c"))
    driver.start("a")
    driver.fails("a")
    assert driver.ready() == ["c"]
    assert driver.state("b").status is TaskStatus.SKIPPED


@pytest.mark.parametrize("items", [["x", "y"], ["y", "x"]])
def test_a_list_of_which_some_items_have_all_they_need_begins(items: list[str]) -> None:
    text = "{{item == 'x' ? 'own' : tasks.a.outputs.text}}"
    driver = Driver(GONE, loop(text, items, on_item_failure="drop"))
    assert driver.ready() == ["b[0]", "b[1]"]
    assert driver.state("b").status is TaskStatus.RUNNING


@pytest.mark.parametrize(
    ("text", "items", "ready"),
    [(after("a"), [], []), ("{{item}}", ["x"], ["b[0]"]), ("{{item.no}}", [{}], ["b[0]"])],
)
def test_a_list_that_lacks_nothing_through_others_begins(text: str, items: list[Any], ready: list[str]) -> None:
    """One without items too, and one whose items fail for reasons of their own."""
    driver = Driver(GONE, loop(text, items))
    driver.run.gather = lambda _name: {"text": []}
    assert driver.ready() == ready
    assert driver.state("b").attempt == 1


def test_outputs_of_a_skipped_task_are_null() -> None:
    driver = Driver(echo("a", condition="{{false}}"), outputs=[TEXT_OUTPUT])
    assert driver.ready() == []
    assert driver.run.status is ExecutionStatus.COMPLETED
    assert driver.run.outputs == {"text": None}


def test_all_skipped_still_starts_and_ends() -> None:
    driver = Driver(echo("a", condition="{{false}}"))
    driver.ready()
    assert driver.log() == ["task.skipped a", "execution.started", "execution.completed"]


# --- failures ---
def test_a_failed_task_ends_the_execution_and_cancels_the_rest() -> None:
    driver = Driver(
        echo("a", depends_on=[]), echo("b", depends_on=[]), echo("c", depends_on=[], retry={"attempts": 1}), echo("d")
    )
    for name in ("a", "b", "c"):
        driver.start(name)
    driver.fails("c")
    driver.fails("b", "authorization", retryable=False)
    assert driver.ready() == []
    assert driver.statuses() == {"a": "CANCELLED", "b": "FAILED", "c": "CANCELLED", "d": "CANCELLED"}
    assert driver.run.status is ExecutionStatus.FAILED
    assert driver.run.error == {"code": "authorization", "message": "as told", "retryable": False, "task": "b"}
    assert driver.state("d").reason == "Not run because task b failed."
    assert driver.log()[-1] == "execution.failed"
    assert driver.run.completed_at == driver.run.now


def test_continue_on_failure() -> None:
    driver = Driver(echo("a", continue_on_failure=True), echo("b"), echo("c", after("a")), outputs=[TEXT_OUTPUT])
    driver.start("a")
    driver.fails("a")
    driver.runs("b")
    assert driver.ready() == ["c"]
    assert driver.claim("c") is None
    driver.ready()
    assert driver.statuses() == {"a": "FAILED", "b": "COMPLETED", "c": "SKIPPED"}
    assert driver.run.status is ExecutionStatus.COMPLETED
    assert driver.run.outputs == {"text": None}


@pytest.mark.parametrize(
    ("url", "code"), [("{{tasks.a.outputs.text + 1}}", "expression"), ("{{inputs.data.missing}}", "expression")]
)
def test_inputs_that_cannot_be_rendered_fail_the_task(url: str, code: str) -> None:
    driver = Driver(echo("a"), echo("b", url), inputs=[{"name": "data", "type": "any"}], values={"data": {"other": 1}})
    driver.runs("a")
    assert driver.claim("b") is None
    driver.ready()
    assert driver.state("b").error is not None
    assert driver.state("b").error["code"] == code  # type: ignore[index]  # it was just said not to be None
    assert driver.run.status is ExecutionStatus.FAILED


def test_a_value_that_does_not_fit_fails_the_task() -> None:
    driver = Driver(echo("a", "{{inputs.data}}"), inputs=[{"name": "data", "type": "any"}], values={"data": [1]})
    assert driver.ready() == ["a"]
    assert driver.claim("a") is None
    assert (driver.state("a").error or {})["code"] == "validation"


def test_outputs_that_cannot_be_evaluated_fail_the_execution_and_say_which() -> None:
    output = {"name": "first", "type": "text", "value": "{{inputs.data.missing}}"}
    driver = Driver(echo("a"), inputs=[{"name": "data", "type": "any"}], values={"data": {}}, outputs=[output])
    driver.runs("a")
    assert driver.ready() == []
    assert driver.statuses() == {"a": "COMPLETED"}
    assert driver.run.status is ExecutionStatus.FAILED
    assert driver.run.error is not None
    assert driver.run.error["code"] == "expression"
    assert "first" in driver.run.error["message"]


# --- the workflow's timeout ---
def test_the_workflows_timeout_ends_what_is_not_done() -> None:
    driver = Driver(echo("a"), echo("b"), timeout=10)
    driver.start("a")
    driver.later(9.9)
    assert driver.ready() == []
    assert driver.run.status is ExecutionStatus.RUNNING
    driver.later(0.1)
    assert driver.ready() == []
    assert driver.statuses() == {"a": "CANCELLED", "b": "CANCELLED"}
    assert driver.run.error is not None
    assert driver.run.error["code"] == "timeout"


def test_the_workflows_timeout_does_not_run_before_the_start() -> None:
    driver = Driver(echo("a"), timeout=10)
    driver.later(1000)
    assert driver.ready() == ["a"]


# --- many that are ready together ---
@pytest.mark.parametrize("number", [10, 80])
def test_what_many_that_are_ready_cost_grows_with_their_number(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with its square: between two of them everything is planned several times."""
    made: Counter[str] = Counter()

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            made[name] += 1
            return real(*given, **named)

        return call

    monkeypatch.setattr(run_module, "TaskState", counted("states", TaskState))
    monkeypatch.setattr(planner, "check_condition", counted("conditions", check_condition))
    tasks = [echo(f"t{at}", condition="{{inputs.go}}", depends_on=[]) for at in range(number)]
    driver = Driver(*tasks, inputs=[{"name": "go", "type": "boolean"}], values={"go": True})
    while ready := driver.ready():
        assert len(ready) == number - len(driver.run.tasks)
        assert driver.ready() == ready
        driver.runs(ready[0])
    assert driver.run.status is ExecutionStatus.COMPLETED
    assert made == {"states": number, "conditions": number}


def test_a_condition_of_a_task_that_is_taken_back_is_asked_again() -> None:
    condition = '{{tasks.a.status == "COMPLETED"}}'
    driver = Driver(echo("a", continue_on_failure=True), echo("b", condition=condition), echo("c"))
    driver.start("a")
    driver.run.end(ExecutionStatus.CANCELLED)
    verbs.resume(driver.run, by="ann", items={})
    driver.start("a")
    driver.fails("a", retryable=False)
    assert driver.ready() == ["c"]
    assert driver.state("b").reason == "Its condition is false."
