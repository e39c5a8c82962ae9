"""The bell: heard by who waits at it, whatever the broker; what is in a message is never called."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.signing import SignedPackage
from django_q.tasks import async_task

from executions import queue, store
from executions.engine.state import ExecutionStatus, TaskStatus
from executions.models import Execution
from tests.executions_driver import WORKER, at_once, carry, claim, echo, started, taken

PATIENCE = 5.0


@pytest.fixture
def bell() -> Iterator[queue.Doorbell]:
    """Its connection for notifications (on PostgreSQL) ends with the test, not with the process."""
    made = queue.Doorbell()
    yield made
    if (listening := getattr(made._broker, "_listening", None)) is not None:
        listening.close()


@pytest.mark.django_db(transaction=True)
def test_an_accepted_execution_is_heard_of(bell: queue.Doorbell) -> None:
    assert bell.wait(0)  # what came before it listened
    assert not bell.wait(0)
    at_once(lambda: started(echo("a")))
    assert bell.wait(PATIENCE)
    assert not bell.wait(0)


@pytest.mark.django_db(transaction=True)
def test_what_is_ready_besides_what_was_claimed_is_heard_of(bell: queue.Doorbell) -> None:
    execution = started(echo("a", depends_on=[]), echo("b", depends_on=[]))
    bell.wait(0)
    at_once(lambda: claim(execution))
    assert bell.wait(PATIENCE)
    assert taken() == [execution.pk]


@pytest.mark.django_db(transaction=True)
def test_the_brokers_of_the_database_leave_no_rows() -> None:
    execution = started(echo("a"), monitoring={"webhook_url": "https://example.com/hook"})
    carry(execution)
    queue.ring(execution.pk)
    queue.ring_delivery(execution.pk)
    assert not OrmQ.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_bells_too_many_run_nothing_twice() -> None:
    execution = started()
    for _ in range(3):
        queue.ring(execution.pk)
        carry(execution)
    row = Execution.objects.get(pk=execution.pk)
    assert row.status == ExecutionStatus.COMPLETED
    assert [(run.status, run.attempt) for run in row.task_runs.all()] == [(TaskStatus.COMPLETED, 1)] * 3
    assert store.step(execution.pk, worker=WORKER) is None


# --- another broker ---
@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> queue.Doorbell:
    """A door with a broker that carries messages: django-q2's own."""
    monkeypatch.setattr(Conf, "BROKER_CLASS", "django_q.brokers.orm.ORM")
    return queue.Doorbell()


@pytest.mark.django_db(transaction=True)
def test_a_message_holds_an_id_and_nothing_else(other: queue.Doorbell) -> None:
    execution = started()
    message = SignedPackage.loads(OrmQ.objects.get().payload)
    assert (message["func"], message["args"], message["kwargs"]) == (queue.ADVANCE, (execution.pk,), {})


@pytest.mark.django_db(transaction=True)
def test_a_message_is_heard_once_and_gone(other: queue.Doorbell) -> None:
    execution = started()
    assert other.wait(0)
    assert not other.wait(0)
    assert not OrmQ.objects.exists()
    assert taken() == [execution.pk]


@pytest.mark.django_db(transaction=True)
def test_deliveries_have_a_queue_of_their_own(other: queue.Doorbell) -> None:
    claim(started(echo("a"), monitoring={"webhook_url": "https://example.com/hook"}))
    assert set(OrmQ.objects.values_list("key", flat=True)) == {"dataflow", queue.DELIVERIES}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("function", "arguments"), [("os.abort", ()), (queue.ADVANCE, (1,)), (queue.ADVANCE, ())])
def test_what_is_in_a_message_is_never_called(
    other: queue.Doorbell, function: str, arguments: tuple[object, ...]
) -> None:
    async_task(function, *arguments)
    assert other.wait(0)  # this process still lives
    assert not OrmQ.objects.exists()
    assert taken() == []


@pytest.mark.django_db(transaction=True)
def test_a_message_signed_with_another_key_is_only_a_bell(other: queue.Doorbell) -> None:
    execution = started()
    OrmQ.objects.update(payload="forged")
    assert other.wait(0)
    assert not OrmQ.objects.exists()
    assert taken() == [execution.pk]
