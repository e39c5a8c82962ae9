"""``POST /workflows/{id}/executions/{eid}/rerun``."""

from __future__ import annotations

import json
from typing import Any

import pytest

from executions import services, vault
from executions.engine.state import ExecutionStatus, TaskStatus
from executions.models import Event, Execution, StoredFile, TaskRun
from executions.services import start_execution
from executions.store import verbs as store_verbs
from tests.api_client import Api, assert_problem, rows
from tests.executions_driver import claim, echo, event_types, started, task
from tests.factories import DOCUMENT, make_execution, make_file, make_task_run, make_workflow
from tests.verbs_driver import CHAIN, broken, complete, finish
from workflows.models import Workflow
from workflows.services import archive_workflow, update_workflow

pytestmark = pytest.mark.django_db


def path_of(execution: Execution) -> str:
    return f"/workflows/{execution.workflow_id}/executions/{execution.pk}/rerun"


def rerun(api: Api, execution: Execution, body: Any = None, **headers: str) -> tuple[Any, Execution]:
    """The answer, and the execution it started."""
    answer = api.call("POST", path_of(execution), body, status=201, **headers)
    return answer, Execution.objects.get(pk=answer["workflow_execution_id"])


def done(*tasks: Any, **fields: Any) -> Execution:
    """A completed execution."""
    execution = started(*tasks, **fields)
    finish(execution)
    assert execution.status == "COMPLETED"
    return execution


def test_it_works(api: Api) -> None:
    source = done(*CHAIN)
    answer = api.send("POST", path_of(source), status=201)
    made = Execution.objects.exclude(pk=source.pk).get()
    assert answer.json().items() >= {
        "workflow_execution_id": made.pk, "workflow_id": source.workflow_id, "workflow_version": 1,
        "status": "PENDING", "rerun_of": source.pk, "reused": [], "will_run": ["a", "b", "c"],
    }.items()  # fmt: skip
    assert answer.headers["Location"] == f"/workflows/{source.workflow_id}/executions/{made.pk}"
    assert (made.rerun_of_id, made.trigger, made.trigger_ref) == (source.pk, "rerun", source.pk)
    assert finish(made) == ["a", "b", "c"]
    assert made.status == "COMPLETED"
    source.refresh_from_db()
    assert source.status == "COMPLETED"


@pytest.mark.parametrize("status", list(ExecutionStatus))
def test_whatever_became_of_the_source(api: Api, workflow: Workflow, status: ExecutionStatus) -> None:
    source = make_execution(workflow, status, labels={"a": "b"}, priority=7)
    _, made = rerun(api, source)
    assert (made.status, made.inputs, made.labels, made.priority) == ("PENDING", {"text": "abc"}, {"a": "b"}, 7)
    source.refresh_from_db()
    assert source.status == status


def test_changed_inputs_go_over_those_of_before(api: Api) -> None:
    inputs = [{"name": "x", "type": "text"}, {"name": "y", "type": "number", "default": 5}]
    workflow = make_workflow(inputs=inputs, tasks=[echo("a")], outputs=[])
    source = make_execution(workflow, inputs={"x": "one", "y": 7})
    _, made = rerun(api, source, {"inputs": {"x": "two"}})
    assert made.inputs == {"x": "two", "y": 7}
    _, again = rerun(api, made, {"inputs": {"y": None}})
    assert again.inputs == {"x": "two", "y": 5}


def test_a_file_stays_the_same_file(api: Api) -> None:
    workflow = make_workflow(inputs=[{"name": "f", "type": "file"}], tasks=[echo("a")], outputs=[])
    stored = make_file()
    _, made = rerun(api, make_execution(workflow, inputs={"f": stored.as_value()}))
    assert made.inputs == {"f": stored.as_value()}
    assert StoredFile.objects.count() == 1


@pytest.mark.parametrize(("wanted", "number"), [(None, 1), (1, 1), (2, 2), ("latest", 3)])
def test_another_version(api: Api, workflow: Workflow, wanted: Any, number: int) -> None:
    source = make_execution(workflow)
    for title in ("Two", "Three"):
        update_workflow(workflow=workflow, document=DOCUMENT | {"title": title})
    body = {} if wanted is None else {"workflow_version": wanted}
    answer, made = rerun(api, source, body)
    assert answer["workflow_version"] == made.workflow_version == number
    assert made.version.number == number


def test_an_input_that_the_version_has_no_more_is_left_out(api: Api) -> None:
    inputs = [{"name": "x", "type": "text"}, {"name": "y", "type": "text"}]
    workflow = make_workflow(inputs=inputs, tasks=[echo("a")], outputs=[])
    source = make_execution(workflow, inputs={"x": "one", "y": "two"})
    update_workflow(workflow=workflow, document={"title": "T", "inputs": inputs[:1], "tasks": [echo("a")]})
    _, made = rerun(api, source, {"workflow_version": "latest"})
    assert made.inputs == {"x": "one"}
    asked = api.send("POST", path_of(source), {"workflow_version": "latest", "inputs": {"y": "z"}}, status=400)
    assert_problem(asked, 400, "validation", at=["/inputs/y"])


# --- from a task ---
def test_from_a_task_earlier_results_are_reused(api: Api) -> None:
    source = broken()
    answer, made = rerun(api, source, {"from_task": "b"})
    assert (answer["reused"], answer["will_run"]) == (["a"], ["b", "c"])
    kept = task(made, "a")
    assert (kept.status, kept.outputs, kept.attempt) == ("COMPLETED", {"text": "a done"}, 0)
    assert kept.reason == f"Reused from {source.pk}."
    assert kept.usage == {}
    assert finish(made) == ["b", "c"]
    assert made.status == "COMPLETED"
    assert task(made, "a").outputs == {"text": "a done"}
    log = event_types(made)
    assert log[:2] == ["execution.created", "execution.reused"]
    assert "task.started a" not in log
    assert Event.objects.get(type="execution.reused").data == {"source": source.pk, "tasks": ["a"]}


def test_what_runs_gets_the_reused_outputs(api: Api) -> None:
    _, made = rerun(api, broken(), {"from_task": "b"})
    assert claim(made).inputs == {"text": "a done"}


def test_skipped_tasks_are_reused_too(api: Api) -> None:
    source = done(echo("a", condition="{{false}}"), echo("b"))
    answer, made = rerun(api, source, {"from_task": "b"})
    assert answer["reused"] == ["a"]
    assert task(made, "a").status == TaskStatus.SKIPPED
    assert finish(made) == ["b"]


def test_outputs_kept_as_files_are_shared(api: Api, workflow: Workflow) -> None:
    source, stored = make_execution(workflow), make_file("text.json", "application/json", b'"a long text"')
    kept = {"text": {"file_id": stored.pk, "size": 13}}
    make_task_run(source, "first", outputs={"text": None}, stored=kept)
    _, made = rerun(api, source, {"from_task": "second"})
    assert claim(made).inputs == {"text": "a long text"}


def test_a_list_is_reused_whole(api: Api) -> None:
    source = done(echo("a", "{{string(item)}}", for_each="{{[1, 2]}}"), echo("b", "{{tasks.a.outputs.text[1]}}"))
    _, made = rerun(api, source, {"from_task": "b"})
    assert task(made, "a").items == {"total": 2, "next": 2, "completed": 2, "failed": 0}
    assert not TaskRun.objects.filter(execution=made, item__isnull=False).exists()
    assert claim(made).inputs == {"text": "a[1] done"}


def test_a_task_that_was_changed_runs_again(api: Api) -> None:
    source = done(echo("a", depends_on=[]), echo("b", depends_on=[]), echo("c", depends_on=["a", "b"]))
    changed = [echo("a", "other", depends_on=[]), echo("b", depends_on=[]), echo("c", depends_on=["a", "b"])]
    update_workflow(workflow=source.workflow, document={"title": "T", "tasks": changed})
    answer, made = rerun(api, source, {"from_task": "c", "workflow_version": "latest"})
    assert (answer["reused"], answer["will_run"]) == (["b"], ["a", "c"])
    assert finish(made) == ["a", "c"]


def test_a_task_that_reads_a_changed_input_runs_again(api: Api) -> None:
    inputs = [{"name": "x", "type": "text"}, {"name": "y", "type": "text"}]
    tasks = [echo("a", "{{inputs.x}}"), echo("b", "{{inputs.y}}", depends_on=[]), echo("c", depends_on=["a", "b"])]
    source = done(*tasks, inputs=inputs, values={"x": "1", "y": "2"})
    answer, _ = rerun(api, source, {"from_task": "c", "inputs": {"x": "1", "y": "3"}})
    assert (answer["reused"], answer["will_run"]) == (["a"], ["b", "c"])


def test_from_the_first_task_nothing_is_reused(api: Api) -> None:
    answer, made = rerun(api, done(*CHAIN), {"from_task": "a"})
    assert answer["reused"] == []
    assert not made.task_runs.exists()


def test_an_unknown_task(api: Api) -> None:
    source = done(*CHAIN, echo("summary"))
    before = rows()
    problem = assert_problem(
        api.send("POST", path_of(source), {"from_task": "sumary"}, status=400), 400, "validation", at=["/from_task"]
    )
    assert "`summary`" in problem["errors"][0]["hint"]
    assert rows() == before


# --- monitoring and keys ---
def test_the_webhook_and_its_secret_stay(api: Api, workflow: Workflow) -> None:
    monitoring = {"url": "https://example.com/hook", "events": ["failed"]}
    source = make_execution(workflow, monitoring=monitoring, webhook_secret=vault.encrypt("whsec_abc"))
    _, made = rerun(api, source)
    assert made.monitoring == monitoring
    assert vault.decrypt(made.webhook_secret) == "whsec_abc"
    _, other = rerun(api, source, {"monitoring": {"webhook_url": "https://example.com/other"}})
    assert other.monitoring["url"] == "https://example.com/other"
    assert other.webhook_secret == ""


def test_a_webhook_secret_that_cannot_be_opened(api: Api, workflow: Workflow) -> None:
    monitoring = {"url": "https://example.com/hook", "events": ["failed"]}
    source = make_execution(workflow, monitoring=monitoring, webhook_secret="gAAAAABbogus")
    before = rows()
    problem = assert_problem(api.send("POST", path_of(source), status=409), 409, "cannot_run_here")
    assert source.pk in problem["detail"]
    assert rows() == before
    _, made = rerun(api, source, {"monitoring": {"webhook_url": "https://example.com/other"}})
    assert made.webhook_secret == ""


def test_another_version_brings_its_own_labels_and_webhook(api: Api) -> None:
    """What the first request gave goes with it; what came from the old definition does not."""
    own = {"labels": {"team": "blue", "old": "1"}, "monitoring": {"webhook_url": "https://example.com/old"}}
    new = {"labels": {"team": "red"}, "monitoring": {"webhook_url": "https://example.com/new"}}
    of = make_workflow(**own)
    asked = {"webhook": {"url": "https://example.com/asked", "secret": "whsec_" + "a" * 32}}
    plain = start_execution(workflow=of, inputs={"text": "a"}, labels={"who": "ann"})
    given = start_execution(workflow=of, inputs={"text": "a"}, labels={"team": "green"}, monitoring=asked)
    update_workflow(workflow=of, document=DOCUMENT | new)
    _, same = rerun(api, plain)
    assert (same.labels, same.monitoring) == (plain.labels, plain.monitoring)
    _, other = rerun(api, plain, {"workflow_version": "latest"})
    assert (other.labels, other.monitoring["url"]) == ({"team": "red", "who": "ann"}, "https://example.com/new")
    _, kept = rerun(api, given, {"workflow_version": "latest"})
    assert (kept.labels, kept.monitoring) == ({"team": "green"}, given.monitoring)
    assert vault.decrypt(kept.webhook_secret) == "whsec_" + "a" * 32


def test_labels_and_priority_may_change(api: Api, workflow: Workflow) -> None:
    source = make_execution(workflow, labels={"a": "b"}, priority=7)
    _, made = rerun(api, source, {"labels": {"c": "d"}, "priority": -3})
    assert (made.labels, made.priority) == ({"c": "d"}, -3)


def test_the_key_must_come_again(api: Api, settings: Any) -> None:
    settings.OPENAI_API_KEY, settings.OPENAI_BASE_URL, settings.DATAFLOW_LOCAL_VOICE_URL = "", "", ""
    ask = {"name": "ask", "type": "openai.completion", "inputs": {"text": "x", "prompt": "y"}}
    workflow = make_workflow(tasks=[ask], outputs=[])
    source = make_execution(workflow, ExecutionStatus.RUNNING, secrets=vault.encrypt('{"OPENAI_API_KEY": "sk-old"}'))
    assert_problem(api.send("POST", path_of(source), status=400), 400, "missing_key")
    _, made = rerun(api, source, X_OpenAI_Key="sk-new")
    assert json.loads(vault.decrypt(made.secrets)) == {"OPENAI_API_KEY": "sk-new"}


# --- refused ---
@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"workflow_version": "newest"}, ["/workflow_version"]),
        ({"workflow_version": 0}, ["/workflow_version"]),
        ({"workflow_version": True}, ["/workflow_version"]),
        ({"workflow_version": [1]}, ["/workflow_version"]),
        ({"inputs": []}, ["/inputs"]),
        ({"inputs": {"text": 5}}, ["/inputs/text"]),
        ({"inputs": {"txt": "x"}}, ["/inputs/txt"]),
        ({"from_task": 5}, ["/from_task"]),
        ({"from_task": "x" * 300}, ["/from_task"]),
        ({"labels": 5}, ["/labels"]),
        ({"monitoring": 5}, ["/monitoring"]),
        ({"priority": "high"}, ["/priority"]),
        ({"priority": 101, "inputs": "x"}, ["/inputs", "/priority"]),
        ({"version": 1}, ["/version"]),
        ([], [""]),
        ("x", [""]),
    ],
)
def test_bad_input(api: Api, workflow: Workflow, body: Any, pointers: list[str]) -> None:
    source = make_execution(workflow)
    before = rows()
    assert_problem(api.send("POST", path_of(source), body, status=400), 400, "validation", at=pointers)
    assert rows() == before


def test_an_unknown_version(api: Api, workflow: Workflow) -> None:
    answer = api.send("POST", path_of(make_execution(workflow)), {"workflow_version": 9}, status=404)
    assert_problem(answer, 404, "not_found")


def test_an_archived_workflow(api: Api, workflow: Workflow) -> None:
    source = make_execution(workflow)
    archive_workflow(workflow=workflow)
    before = rows()
    assert_problem(api.send("POST", path_of(source), status=409), 409, "archived")
    assert rows() == before


def test_an_archived_workflow_is_not_offered(api: Api, workflow: Workflow) -> None:
    source = make_execution(workflow, ExecutionStatus.FAILED)
    path = f"/workflows/{workflow.pk}/executions/{source.pk}"
    assert api.call("GET", path, status=200)["actions"] == ["resume", "rerun"]
    archive_workflow(workflow=workflow)
    assert api.call("GET", path, status=200)["actions"] == ["resume"]


def test_a_workflow_that_queues_nothing_is_full(api: Api) -> None:
    limited = make_workflow(concurrency={"limit": 1, "on_limit": "reject"})
    source = make_execution(limited)
    _, made = rerun(api, source)
    before = rows()
    assert_problem(api.send("POST", path_of(source), status=429), 429, "concurrency_limit")
    assert rows() == before
    assert Execution.objects.get(pk=made.pk).status == "PENDING"


@pytest.mark.django_db(transaction=True)
def test_the_newest_replaces_those_before_it(api: Api) -> None:
    limited = make_workflow(concurrency={"limit": 1, "on_limit": "cancel_running"})
    _, first = rerun(api, make_execution(limited))
    _, second = rerun(api, first)
    first.refresh_from_db()
    assert (first.status, second.status) == ("CANCELLED", "PENDING")


def test_unknown(api: Api, workflow: Workflow) -> None:
    assert_problem(api.raw("POST", f"/workflows/{workflow.pk}/executions/we-unknown/rerun"), 404, "not_found")


def test_what_was_reused_took_no_try(api: Api) -> None:
    source = started(*CHAIN)
    complete(claim(source))
    _, made = rerun(api, source, {"from_task": "b"})
    shown = api.call("GET", f"/workflows/{made.workflow_id}/executions/{made.pk}", status=200)
    assert shown["tasks"][0]["status"] == "COMPLETED"
    assert shown["rerun_of"] == source.pk


def test_it_is_there_with_all_that_it_takes_over_or_not_at_all() -> None:
    """Here the definition does not know a task that it is to take over."""
    source, other = done(*CHAIN), make_workflow(tasks=[echo("z")], outputs=[])
    row = services.new_execution(version=source.version, inputs={}, trigger="rerun")
    row.rerun_of = source
    unfitting = services.definition_for(other.versions.get())
    with pytest.raises(KeyError):
        store_verbs.create_rerun(row, definition=unfitting, tasks=["a"])
    assert Execution.objects.filter(rerun_of=source).count() == 0
