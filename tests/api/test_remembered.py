"""Starts of a workflow that this process has read before: one statement on PostgreSQL, and every answer as ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from executions import database, reading
from executions.definitions import definition_of
from executions.models import Event, Execution
from executions.remembered import Remembered
from executions.store import accepting
from tests.api_client import Api, assert_problem
from tests.factories import DOCUMENT, make_file, make_workflow
from workflows.models import Workflow
from workflows.services import archive_workflow, update_workflow

pytestmark = pytest.mark.django_db

GOOD = {"inputs": {"text": "x"}}
TASKS = [{"name": "only", "type": "text.static", "inputs": {"text": "x"}}]
NO_INPUTS: dict[str, Any] = {"inputs": [], "tasks": TASKS, "outputs": []}
LIMITED = {"limit": 1, "key": "{{inputs.text}}"}


@pytest.fixture
def path(api: Api, workflow: Workflow) -> str:
    """Of a workflow that was started once, and so is remembered."""
    return started_once(api, workflow)


def started_once(api: Api, workflow: Workflow, body: Any = GOOD) -> str:
    path = f"/workflows/{workflow.pk}/executions"
    api.call("POST", path, body, status=201)
    return path


@contextmanager
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is sent: the prepared statements in their order, then Django's."""
    sent: list[str] = []

    def rows_of(statement: str, values: Any = ()) -> list[tuple[Any, ...]]:
        sent.append(statement)
        return database.rows_of(statement, values)

    with monkeypatch.context() as patched, CaptureQueriesContext(connection) as captured:
        for module in (accepting, reading):
            patched.setattr(module, "rows_of", rows_of)
        yield sent
    sent += [query["sql"] for query in captured.captured_queries]


def reads(sent: list[str]) -> int:
    return sum(one.startswith("SELECT") and 'FROM "workflows_workflow"' in one for one in sent)


def gone(workflow: Workflow) -> None:
    Event.objects.all().delete()
    Execution.objects.all().delete()
    workflow.versions.all().delete()
    workflow.delete()


@pytest.mark.parametrize("body", [GOOD, GOOD | {"workflow_version": 1}, GOOD | {"labels": {"a": "b"}, "priority": 5}])
def test_it_is_not_read_again(api: Api, path: str, monkeypatch: pytest.MonkeyPatch, body: Any) -> None:
    with counting(monkeypatch) as sent:
        started = api.call("POST", path, body, status=201)
    assert Execution.objects.filter(pk=started["workflow_execution_id"], workflow_version=1).exists()
    if connection.vendor == "postgresql":
        assert [one.strip()[:10] for one in sent] == ["WITH clock"], sent
    else:
        assert reads(sent) == 1


def test_the_first_start_reads_it(api: Api, workflow: Workflow, monkeypatch: pytest.MonkeyPatch) -> None:
    with counting(monkeypatch) as sent:
        started_once(api, workflow)
    assert reads(sent) == 1


@pytest.mark.parametrize("on_limit", ["queue", "reject", "cancel_running"])
def test_with_a_limit_it_is_read(api: Api, monkeypatch: pytest.MonkeyPatch, on_limit: str) -> None:
    path = started_once(api, make_workflow(concurrency=LIMITED | {"on_limit": on_limit}))
    with counting(monkeypatch) as sent:
        api.call("POST", path, {"inputs": {"text": "y"}}, status=201)
    assert reads(sent) == 1


def test_with_an_idempotency_key_it_is_read(api: Api, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with counting(monkeypatch) as sent:
        first, again = (api.call("POST", path, GOOD, status=201, Idempotency_Key="one") for _ in range(2))
    assert reads(sent) == 2
    assert first == again
    assert Execution.objects.count() == 2


def test_with_parts_it_is_read(api: Api, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with counting(monkeypatch) as sent:
        assert api.post(path, {"inputs": '{"text": "x"}'}).status_code == 201
    assert reads(sent) == 1


def test_archived_meanwhile(api: Api, workflow: Workflow, path: str) -> None:
    archive_workflow(workflow=workflow)
    for body in (GOOD, GOOD | {"workflow_version": 1}, {"inputs": {}}):
        assert_problem(api.send("POST", path, body, status=409), 409, "archived")
    Workflow.objects.filter(pk=workflow.pk).update(archived_at=None)
    api.call("POST", path, GOOD, status=201)
    assert Execution.objects.count() == Event.objects.count() == 2


def test_with_a_file_nothing_of_it_is_noted_where_it_was_archived(api: Api) -> None:
    """Which file is needed by what is written in one transaction with the execution."""
    workflow = make_workflow(**NO_INPUTS | {"inputs": [{"name": "file", "type": "file"}]})
    body = {"inputs": {"file": make_file().pk}}
    path = started_once(api, workflow, body)
    api.call("POST", path, body, status=201)
    assert [execution.uses.count() for execution in Execution.objects.all()] == [1, 1]
    archive_workflow(workflow=workflow)
    assert_problem(api.send("POST", path, body, status=409), 409, "archived")
    assert Execution.objects.count() == 2


def test_a_new_version_meanwhile(api: Api, workflow: Workflow, path: str) -> None:
    update_workflow(workflow=workflow, document=DOCUMENT | {"title": "Second"})
    assert api.call("POST", path, GOOD, status=201)["workflow_version"] == 2
    assert api.call("POST", path, GOOD, status=201)["workflow_version"] == 2
    assert api.call("POST", path, GOOD | {"workflow_version": 1}, status=201)["workflow_version"] == 1
    update_workflow(workflow=workflow, document=DOCUMENT | NO_INPUTS)
    # What the version before would have refused.
    assert api.call("POST", path, {}, status=201)["workflow_version"] == 3
    problem = api.send("POST", path, GOOD, status=400)
    assert_problem(problem, 400, "validation", at=["/inputs/text"])
    assert api.call("POST", path, GOOD | {"workflow_version": 2}, status=201)["workflow_version"] == 2
    assert Execution.objects.count() == Event.objects.count() == 6


def test_a_version_that_is_made_after_its_number_was_refused(api: Api, workflow: Workflow, path: str) -> None:
    second = GOOD | {"workflow_version": 2}
    assert_problem(api.send("POST", path, second, status=404), 404, "not_found")
    update_workflow(workflow=workflow, document=DOCUMENT | {"title": "Second"})
    assert api.call("POST", path, second, status=201)["workflow_version"] == 2


def test_a_limit_meanwhile(api: Api, workflow: Workflow, path: str) -> None:
    update_workflow(workflow=workflow, document=DOCUMENT | {"concurrency": LIMITED | {"on_limit": "reject"}})
    api.call("POST", path, GOOD, status=201)
    assert_problem(api.send("POST", path, GOOD, status=429), 429, "concurrency_limit")
    assert Execution.objects.count() == 2


@pytest.mark.parametrize("is_compiled", [True, False])
def test_deleted_meanwhile(api: Api, workflow: Workflow, path: str, *, is_compiled: bool) -> None:
    """By hand, as the platform itself deletes none: that is told before whatever else is wrong."""
    gone(workflow)
    if not is_compiled:
        definition_of.cache_clear()
    for body in (b'{"inputs": {"text": "x"}}', b'{"inputs": {}}', b'{"other": 1}', b'{"workflow_version": "x"}', b"{"):
        assert_problem(api.raw("POST", path, body), 404, "not_found")
    assert_problem(api.raw("POST", path, b"{}", "application/json; charset=latin-1"), 404, "not_found")
    assert_problem(api.raw("POST", f"{path}?wait=x", b"{}"), 404, "not_found")
    assert not Execution.objects.exists()


@pytest.mark.parametrize(
    ("body", "code", "pointers"),
    [
        (b'{"inputs": {}, "labels": []}', "validation", ["/inputs/text", "/labels"]),
        (b'{"inputs": {"text": "x"}, "priority": 101}', "validation", ["/priority"]),
        (b'{"inputs": {"text": "x"}, "other": 1}', "validation", ["/other"]),
        (b'{"inputs": {"text": "x"}, "workflow_version": 0}', "validation", ["/workflow_version"]),
        (b'{"inputs": {"text": "x"}', "invalid_json", [""]),
    ],
)
def test_it_is_refused_as_when_it_is_read(
    api: Api, path: str, body: bytes, code: str, pointers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with counting(monkeypatch) as sent:
        problem = assert_problem(api.raw("POST", path, body), 400, code, at=pointers)
    assert reads(sent) >= 1
    path = path.replace(path.split("/")[2], make_workflow().pk)
    first = assert_problem(api.raw("POST", path, body), 400, code, at=pointers)
    assert problem | {"request_id": ""} == first | {"request_id": ""}
    assert Execution.objects.count() == 1


def test_a_body_that_cannot_be_parsed_is_no_empty_one(api: Api) -> None:
    """An empty one would start this workflow."""
    path = started_once(api, make_workflow(**NO_INPUTS), {})
    assert_problem(api.raw("POST", path, b"{"), 400, "invalid_json")
    assert_problem(api.raw("POST", path, b"{}", "application/json; charset=latin-1"), 415)
    assert Execution.objects.count() == 1
    api.call("POST", path, {}, status=201)
    api.call("POST", path, status=201)


@pytest.mark.django_db(transaction=True)
def test_while_another_connection_archives_it(api: Api, workflow: Workflow, path: str) -> None:
    """Before that is committed it is not so; after that nothing is accepted."""
    if connection.vendor == "sqlite":
        pytest.skip("one writer at a time, and every start reads the workflow")
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("UPDATE workflows_workflow SET archived_at = now() WHERE id = %s", [workflow.pk])
        api.call("POST", path, GOOD, status=201)
        other.commit()
        assert_problem(api.send("POST", path, GOOD, status=409), 409, "archived")
    finally:
        other.close()
    assert Execution.objects.count() == Event.objects.count() == 2


def test_so_many_are_remembered() -> None:
    memory = Remembered(size=2)
    first, second, third = (Workflow(id=f"wf-{name}") for name in "abc")
    memory.keep(first)
    memory.keep(second)
    memory.get(first.pk)
    memory.keep(Workflow(id=second.pk, current_version=2))
    memory.get(first.pk)
    memory.keep(third)
    found = [memory.get(one.pk) for one in (first, second, third)]
    assert found == ([first, None, third] if connection.vendor == "postgresql" else [None] * 3)
