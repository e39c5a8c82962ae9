"""Inputs that are files by URL: fetched once, before the first task, under the rules of ``web.download``."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from executions import files, store
from executions.database import database_now
from executions.models import Execution, StoredFile
from executions.queue import RING_AGAIN
from executions.worker import fetching
from executions.worker.carrier import Carrier
from executions.worker.node import Node
from tests.executions_driver import carry, echo, is_due, started
from tests.plugins.stack import wait_until
from tests.stubs.watched_stub import WatchedStub
from tests.stubs.web_stub import Page, WebStub

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def web() -> Iterator[WebStub]:
    with WebStub() as stub:
        yield stub


def run(url: str, **more: Any) -> Execution:
    tasks = [echo("a", "{{inputs.f.name}}"), echo("b", "{{inputs.f.size}} {{inputs.f.content_type}}")]
    outputs = [
        {"name": "file", "type": "file", "value": "{{inputs.f}}"},
        {"name": "text", "type": "text", "value": "{{tasks.a.outputs.text}} {{tasks.b.outputs.text}}"},
    ]
    execution = started(*tasks, inputs=[{"name": "f", "type": "file"}], values={"f": {"url": url}}, outputs=outputs)
    carry(execution)
    execution.refresh_from_db()
    return execution


def test_it_works(web: WebStub) -> None:
    execution = run(web.page("/some/a%20b.wav", b"RIFF\4\0\0\0WAVE", content_type="audio/x-wav"))
    stored = StoredFile.objects.get()
    assert execution.outputs == {"file": stored.as_value(), "text": "a b.wav 12 audio/wav"}
    assert execution.inputs == {"f": stored.as_value()}
    assert stored.execution_id == execution.pk
    assert sum(web.counts().values()) == 1


def test_a_worker_that_took_it_goes_on_at_once_with_what_it_fetched(web: WebStub) -> None:
    values = {"f": {"url": web.page("/f", b"x")}}
    execution = started(echo("a", "{{inputs.f.size}}"), inputs=[{"name": "f", "type": "file"}], values=values)
    (taken,) = store.take(1)
    carry(execution, taken)
    execution.refresh_from_db()
    assert execution.status == "COMPLETED"


def test_one_at_a_time_fetches_and_nobody_takes_it_meanwhile() -> None:
    """Who comes second leaves it; the heartbeat renews; a cancelled one is let go."""
    with WatchedStub() as web:
        values = {"f": {"url": web.url("/watched/f")}}
        execution = started(echo("a"), inputs=[{"name": "f", "type": "file"}], values=values)
        node = Node(threads=2)
        first, second = (Carrier(node.id, run=node.run, fetch=node.fetches.fetch) for _ in range(2))
        with ThreadPoolExecutor(1) as pool:
            fetching_it = pool.submit(in_a_thread, first, execution.pk)
            wait_until(lambda: web.count("/watched/f"), timeout=10, what="it is fetched")
            second.carry(execution.pk)
            node.fetches.look(renew=True)
            execution.refresh_from_db()
            assert execution.wake_at > database_now() + RING_AGAIN / 2
            store.cancel(execution.pk, reason="", by="me")
            node.fetches.look(renew=False)
            fetching_it.result(timeout=5)
        assert web.count("/watched/f") == 1
    execution.refresh_from_db()
    assert (execution.status, execution.task_runs.exclude(status="CANCELLED").count()) == ("CANCELLED", 0)


def test_a_worker_that_stops_leaves_it_to_another() -> None:
    with WatchedStub() as web:
        values = {"f": {"url": web.url("/watched/f")}}
        execution = started(echo("a"), inputs=[{"name": "f", "type": "file"}], values=values)
        store.take(1)
        node = Node(threads=1)
        with ThreadPoolExecutor(1) as pool:
            carrier = Carrier(node.id, run=node.run, fetch=node.fetches.fetch)
            fetching_it = pool.submit(in_a_thread, carrier, execution.pk)
            wait_until(lambda: web.count("/watched/f"), timeout=10, what="it is fetched")
            assert not is_due(execution)
            node.release_all()
            fetching_it.result(timeout=5)
    assert is_due(execution)


def in_a_thread(carrier: Carrier, execution_id: str) -> None:
    try:
        carrier.carry(execution_id)
    finally:
        connection.close()


def test_a_passing_fault_is_tried_again(web: WebStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PAUSES", (0.0, 0.0))
    url = web.script("/f", [Page(status=503), Page(status=429), Page(body=b"x")])
    assert run(url).status == "COMPLETED"


@pytest.mark.parametrize(
    ("url", "code"),
    [("{web}/missing", "communication"), ("http://10.0.0.1/x", "blocked_address"), ("{web}/bomb?mib=2", "too_large")],
)
def test_what_cannot_be_fetched_fails_the_execution(
    web: WebStub, url: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_BYTES", 2**20)
    execution = run(url.format(web=web.url("")))
    assert (execution.status, execution.error["code"]) == ("FAILED", code)
    assert {one.status for one in execution.task_runs.all()} == {"CANCELLED"}
    assert not StoredFile.objects.exists()


def test_until_then_nothing_is_started_and_it_stays_due(web: WebStub) -> None:
    execution = started(echo("a"), inputs=[{"name": "f", "type": "file"}], values={"f": {"url": web.page("/f", b"x")}})
    with pytest.raises(store.FilesMissing):
        store.step(execution.pk, worker="w")
    assert store.look_after(execution.pk)
    execution.refresh_from_db()
    assert (execution.status, execution.task_runs.count()) == ("PENDING", 0)
    assert is_due(execution)


def test_files_that_come_twice_or_late_change_nothing(web: WebStub) -> None:
    execution = run(web.page("/f", b"x"))
    store.give_files(execution.pk, {"f": {"file_id": "fl-other"}})
    assert Execution.objects.get().inputs == execution.inputs


def test_a_file_that_a_definition_gives_by_its_id_has_its_name() -> None:
    with files.creating("table.csv", "text/csv") as writer:
        writer.write(b"a,b\n")
    known = writer.value["file_id"]
    execution = started(
        {"name": "read", "type": "file.read", "inputs": {"file": known}},
        {"name": "pack", "type": "archive.zip", "inputs": {"files": [known, {"file_id": known}]}},
        {"name": "unpack", "type": "archive.unzip", "inputs": {"archive": "{{tasks.pack.outputs.archive}}"}},
    )
    carry(execution)
    outputs = {one.name: one.outputs for one in execution.task_runs.all()}
    assert (outputs["read"]["name"], outputs["read"]["content_type"]) == ("table.csv", "text/csv")
    assert outputs["unpack"]["paths"] == ["table.csv", "table (2).csv"]


def test_a_file_that_is_not_there_is_named() -> None:
    execution = started({"name": "read", "type": "file.read", "inputs": {"file": "fl-nothere"}})
    carry(execution)
    execution.refresh_from_db()
    assert (execution.status, execution.error["message"]) == ("FAILED", "There is no file fl-nothere.")
