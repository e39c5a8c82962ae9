"""Executions that nobody can go on with: they end, and nobody else is lost by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db import OperationalError

from executions import database, definitions, files, store, sweeper
from executions.definitions import DefinitionBroken
from executions.engine.outcomes import Completed
from executions.models import Execution, StoredFile, TaskRun
from executions.store import rows, statements
from tests.carrier_driver import Tries, alone, ask, each, ended
from tests.executions_driver import age_leases, claim, echo, event_types, is_due, settle, started, task

pytestmark = pytest.mark.django_db(transaction=True)


def broken(monkeypatch: pytest.MonkeyPatch, execution: Execution) -> None:
    """As after an upgrade without one of its task types: its frozen definition is refused."""
    real = definitions.definition_of

    def refused(version_id: int) -> Any:
        if version_id == execution.version_id:
            raise DefinitionBroken("This version cannot run in this installation.")
        return real(version_id)

    monkeypatch.setattr(rows, "definition_of", refused)


def looked_at_late(execution: Execution) -> None:
    age_leases(execution)
    Execution.objects.filter(pk=execution.pk).update(wake_at=database.database_now())


def test_what_cannot_run_here_any_more_ends_whatever_of_it_was_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    execution = started(
        each("list", [1, 2, 3], concurrency=2), ask("beside", depends_on=[]), ask("after", depends_on=["list"])
    )
    for _ in range(3):
        claim(execution, "wk-dead")
    broken(monkeypatch, execution)
    looked_at_late(execution)
    alone(Tries()).carry(execution.pk)
    status, error = ended(execution)
    assert (status, error["code"]) == ("FAILED", "validation")
    assert "cannot run" in error["message"]
    assert set(TaskRun.objects.values_list("status", flat=True)) == {"CANCELLED"}
    assert event_types(execution)[-1] == "execution.failed"


@pytest.mark.parametrize("verb", ["begin", "cancel"])
def test_what_never_began_ends_too(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    execution = started(echo("definition"), echo("b"))
    broken(monkeypatch, execution)
    if verb == "cancel":
        store.cancel(execution.pk, reason="", by="me")
    else:
        (taken,) = store.take(1)
        alone(Tries()).carry(execution.pk, taken)
    execution.refresh_from_db()
    assert execution.status == ("CANCELLED" if verb == "cancel" else "FAILED")


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Execution:
    """An execution of which every step raises."""
    execution = started(ask("a"))
    claim(execution, "wk-dead")
    real = rows.loaded_of

    def raising(row: rows.Row, *more: Any) -> store.Loaded:
        if row.id == execution.pk and row.takes <= store.TAKEN_IN_VAIN:
            raise KeyError("whatever it is")
        return real(row, *more)

    monkeypatch.setattr("executions.store.reading.loaded_of", raising)
    return execution


def test_one_that_raises_keeps_the_sweeper_from_nobody(poisoned: Execution) -> None:
    others = [started(ask("a")) for _ in range(4)]
    for one in others:
        claim(one, "wk-dead")
    for one in (poisoned, *others):
        age_leases(one)
    sweeper.sweep()
    assert [task(one, "a").lost for one in others] == [1] * 4
    assert all(is_due(one) for one in others)


def test_a_database_that_is_away_ends_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def away(execution_id: str) -> bool:
        tried.append(execution_id)
        raise OperationalError("connection refused")

    with pytest.raises(OperationalError):
        store.each([str(number) for number in range(9)], away)
    assert tried == ["0", "1", "2"]


def test_one_that_nobody_can_go_on_with_is_given_up() -> None:
    """It is taken every 15 s; the takes that brought nothing are counted, and any write begins anew."""
    execution = started(ask("a"))
    claim(execution, "wk-dead")
    for number in range(1, store.TAKEN_IN_VAIN + 2):
        Execution.objects.update(wake_at=database.database_now())
        (taken,) = store.take(1)
        assert taken.row.takes == number
        assert Execution.objects.get().status == "RUNNING"
    tries = Tries()
    alone(tries).carry(execution.pk, taken)
    status, error = ended(execution)
    assert (status, error["code"], tries.ran) == ("FAILED", "runtime", [])
    assert "31 times" in error["message"]
    assert task(execution, "a").status == "CANCELLED"


def test_takes_are_counted_up_to_a_bound() -> None:
    """The column is small: one more would make the statement fail that takes for all."""
    execution, other = started(ask("a")), started(ask("a"))
    Execution.objects.filter(pk=execution.pk).update(takes=statements.MAX_TAKES)
    assert {one.row.id for one in store.take(8)} == {execution.pk, other.pk}
    execution.refresh_from_db()
    assert execution.takes == statements.MAX_TAKES < 2**15


@pytest.mark.parametrize("content", [b'"xxxx', b"\xff\xfe", b""])
def test_a_kept_output_that_is_damaged_fails_the_task_that_wants_it(content: bytes) -> None:
    execution = started(ask("a"), echo("b", "{{tasks.a.outputs.body}}"))
    first = claim(execution)
    inline, stored = files.keep_large({"body": "x" * 300_000}, execution_id=execution.pk, task="a")
    settle(first, Completed(outputs=inline, stored=stored))
    place = Path(default_storage.path(StoredFile.objects.get(pk=stored["body"]["file_id"]).blob.name))
    place.chmod(0o600)
    place.write_bytes(content)
    looked_at_late(execution)
    alone(Tries()).carry(execution.pk)
    status, error = ended(execution)
    assert (status, error["code"], error["task"]) == ("FAILED", "runtime", "b")
    assert "cannot be read" in error["message"]
