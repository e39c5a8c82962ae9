"""What an execution costs: statements and transactions are counted, so that a change that costs more must say why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from executions import database, store
from executions.definitions import definition_of
from executions.engine.outcomes import Released
from executions.services import new_execution
from executions.store import accepting, reading, saving
from tests.carrier_driver import Tries, alone, ask, ended
from tests.executions_driver import carry
from tests.factories import make_workflow
from workflows.models import Workflow
from workflows.services import create_workflow

pytestmark = pytest.mark.django_db(transaction=True)


class Sent:
    """What was sent: Django's statements, and the prepared ones, which are not in Django's log of queries."""

    def __init__(self) -> None:
        self.prepared: list[str] = []
        self.others: list[str] = []

    def __str__(self) -> str:
        return "\n".join(one.strip()[:150] for one in (*self.prepared, *self.others))

    @property
    def transactions(self) -> int:
        """How many were committed; on PostgreSQL a statement outside of a transaction is one."""
        begun = sum(one.startswith("BEGIN") for one in self.others)
        return begun if connection.vendor == "sqlite" else begun + len(self.prepared)


@contextmanager
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sent]:
    sent = Sent()

    def rows_of(statement: str, values: Any = ()) -> list[tuple[Any, ...]]:
        sent.prepared.append(statement)
        assert connection.vendor == "sqlite" or not connection.in_atomic_block
        return database.rows_of(statement, values)

    with monkeypatch.context() as patched, CaptureQueriesContext(connection) as captured:
        for module in (accepting, reading, saving):
            patched.setattr(module, "rows_of", rows_of)
        yield sent
    sent.others = [query["sql"] for query in captured.captured_queries]


def ready(workflow: Workflow, **inputs: Any) -> Any:
    """The row of an execution that is checked and not stored yet, its definition read before."""
    row = new_execution(version=workflow.current(), inputs=inputs)
    definition_of(row.version_id)
    return row


def assert_cost(sent: Sent, *, saves: int) -> None:
    """Accepted, taken, and so many saves: each is one transaction, on PostgreSQL one statement."""
    assert sent.transactions == 2 + saves, str(sent)
    if connection.vendor == "postgresql":
        assert (len(sent.prepared), sent.others) == (2 + saves, []), str(sent)


def test_three_steps_are_six_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first claim, two ends that are a claim each, and the last end: 7-performance.md allows six in all."""
    row = ready(create_workflow(document={"title": "T", "tasks": [ask(name) for name in "abc"]}).workflow)
    with counting(monkeypatch) as sent:
        store.create(row)
        (taken,) = store.take(1)
        alone(Tries()).carry(row.pk, taken)
    assert ended(row)[0] == "COMPLETED"
    assert_cost(sent, saves=4)


def test_three_quick_steps_are_five(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start and end of a quick task are one write."""
    row = ready(make_workflow(), text="abc")
    with counting(monkeypatch) as sent:
        store.create(row)
        (taken,) = store.take(1)
        carry(row, taken)
    assert ended(row) == ("COMPLETED", {"text": "cba"})
    assert_cost(sent, saves=3)


def test_what_is_taken_without_its_tasks_costs_one_look_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that goes on after a wait: its task runs are read once, and never again."""
    tasks = [ask("a", retry={"attempts": 1, "delay": 0}), ask("b"), ask("c")]
    row = ready(create_workflow(document={"title": "T", "tasks": tasks}).workflow)
    store.create(row)
    first = store.step(row.pk, worker="wk-0")
    assert first is not None
    with database.writing():
        loaded = store.load(row.pk)
        assert loaded is not None
        assert store.settle(loaded, released(first), "wk-0")
        store.save(loaded)
    with counting(monkeypatch) as sent:
        (taken,) = store.take(1)
        alone(Tries()).carry(row.pk, taken)
    assert ended(row)[0] == "COMPLETED"
    assert len(sent.prepared) == (6 if connection.vendor == "postgresql" else len(sent.prepared))
    assert sent.transactions - (connection.vendor == "postgresql") == 5, str(sent)


def released(claim: Any) -> store.EndOfTry:
    return store.EndOfTry(claim=claim, outcome=Released())


def test_the_hot_statements_are_prepared() -> None:
    """PostgreSQL plans them once a connection: planning costs as much as doing."""
    if connection.vendor == "sqlite":
        pytest.skip("sqlite3 keeps its statements by itself")
    connection.close()
    for _ in range(2):
        row = ready(make_workflow(), text="abc")
        store.create(row)
        carry(row)
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement, generic_plans + custom_plans FROM pg_prepared_statements")
        found = dict(cursor.fetchall())
    for words in ("WITH step AS", "WITH clock AS"):
        assert [times >= 2 for statement, times in found.items() if words in statement] == [True], list(found)
