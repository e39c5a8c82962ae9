"""Webhook deliveries: order, schedule, record, and what a receiver may say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dataflow.lib.errors import ApiProblem
from executions import deliveries, jobs, signing
from executions.database import database_now
from executions.models import Delivery, DeliveryAttempt, Execution
from executions.services import start_execution
from tests.executions_driver import carry, claim, echo, failed, settle, started
from tests.factories import make_workflow
from tests.stubs.web_stub import Page, WebStub

pytestmark = pytest.mark.django_db
OK = Page(body=b"thanks")


@pytest.fixture
def receiver() -> Iterator[WebStub]:
    with WebStub() as stub:
        stub.script("/hook", [OK])
        yield stub


def ended(receiver: WebStub, **webhook: Any) -> Execution:
    """A completed execution whose messages have not been sent."""
    monitoring = {"webhook": {"url": receiver.url("/hook"), **webhook}}
    execution = started(monitoring=monitoring)
    carry(execution)
    return execution


def rows(execution: Execution) -> list[tuple[str, str]]:
    return [(row.type, row.status) for row in Delivery.objects.filter(execution=execution)]


def first_of(execution: Execution) -> Delivery:
    found = Delivery.objects.filter(execution=execution).first()
    assert found is not None
    return found


def come_due(execution: Execution) -> None:
    Delivery.objects.filter(execution=execution).update(next_attempt_at=database_now() - timedelta(seconds=1))


def waiting_for_a_try(receiver: WebStub, *, tries: int = 1) -> tuple[Execution, Any]:
    """An execution whose first message has failed so often, and the claim of its second task."""
    webhook = {"url": receiver.url("/hook"), "events": ["started", "task", "completed"]}
    execution = started(echo("a"), echo("b"), monitoring={"webhook": webhook})
    claimed = claim(execution)
    receiver.script("/hook", [Page(status=500)] * tries + [OK])
    for _ in range(tries):
        come_due(execution)
        jobs.deliver(execution.pk)
    return execution, claimed


# --- what is queued ---
def test_started_and_the_end_by_default_in_order(receiver: WebStub) -> None:
    execution = ended(receiver)
    assert rows(execution) == [("execution.started", "PENDING"), ("execution.completed", "PENDING")]
    assert deliveries.take_due() == [execution.pk]
    assert deliveries.take_due() == []  # it is somebody's now
    jobs.deliver(execution.pk)
    assert [request.path for request in receiver.requests] == ["/hook", "/hook"]
    types = [request.body.split(b'"')[3].decode() for request in receiver.requests]
    assert types == ["execution.started", "execution.completed"]
    assert {status for _, status in rows(execution)} == {"DELIVERED"}


@pytest.mark.parametrize(
    ("events", "types"),
    [
        (["completed"], ["execution.completed"]),
        (["failed", "cancelled"], []),
        (["task"], ["task.started", "task.completed"] * 3),
    ],
)
def test_only_what_is_wanted(receiver: WebStub, events: list[str], types: list[str]) -> None:
    assert [kind for kind, _ in rows(ended(receiver, events=events))] == types


def test_the_definition_may_name_the_webhook_and_the_request_wins(receiver: WebStub) -> None:
    own = {"monitoring": {"webhook_url": receiver.url("/own")}}
    workflow = make_workflow(**own)
    urls = []
    for given in (None, {"webhook_url": receiver.url("/hook")}):
        execution = start_execution(workflow=workflow, inputs={"text": "a"}, monitoring=given)
        carry(execution)
        urls.append(first_of(execution).url)
    assert urls == [receiver.url("/own"), receiver.url("/hook")]


def test_a_job_too_many_sends_nothing(receiver: WebStub) -> None:
    execution = ended(receiver)
    for _ in range(3):
        jobs.deliver(execution.pk)
    assert len(receiver.requests) == 2


def test_whoever_dies_while_it_sends_has_it_for_a_minute(receiver: WebStub) -> None:
    execution = ended(receiver)

    def die(*_: object) -> deliveries.Answer:
        raise SystemExit

    with pytest.raises(SystemExit):
        deliveries.deliver(execution.pk, die)
    first = first_of(execution)
    assert (first.status, first.tries, first.wake_at) == ("PENDING", 1, first.next_attempt_at)
    assert 55 < (first.next_attempt_at - database_now()).total_seconds() <= 60
    jobs.deliver(execution.pk)
    assert receiver.requests == []
    come_due(execution)
    jobs.deliver(execution.pk)
    assert [status for _, status in rows(execution)] == ["DELIVERED", "DELIVERED"]
    assert receiver.requests[0].headers["webhook-id"] == first.pk


def test_a_webhook_costs_one_transaction_and_five_statements(receiver: WebStub) -> None:
    """Its try is noted, it is settled, and the next one is taken; and there are the keys that sign it."""
    signing.installation_keys()  # the first use makes one
    counts = []
    for events in (["started"], ["started", "task"]):
        execution = ended(receiver, events=events)
        with CaptureQueriesContext(connection) as seen:
            jobs.deliver(execution.pk)
        said = [query["sql"] for query in seen]
        begins = sum(one.startswith("SAVEPOINT") for one in said)  # the test itself is a transaction
        counts.append((begins, len([one for one in said if "SAVEPOINT" not in one])))
    assert len(receiver.requests) == 1 + 7
    assert counts[1][0] - counts[0][0] == 6
    assert counts[1][1] - counts[0][1] == 6 * 5


# --- what a receiver says ---
def test_a_failure_holds_back_what_follows_and_is_tried_again_with_the_same_bytes(receiver: WebStub) -> None:
    receiver.script("/hook", [Page(status=500, body=b"broken"), OK])
    execution = ended(receiver)
    jobs.deliver(execution.pk)
    first = first_of(execution)
    assert rows(execution) == [("execution.started", "PENDING"), ("execution.completed", "PENDING")]
    assert len(receiver.requests) == 1
    assert 4 < (first.next_attempt_at - database_now()).total_seconds() < 6
    assert first.wake_at == first.next_attempt_at
    come_due(execution)
    jobs.deliver(execution.pk)
    assert {status for _, status in rows(execution)} == {"DELIVERED"}
    one, two, other = receiver.requests
    assert one.body == two.body == first.body.encode()
    assert one.headers["webhook-id"] == two.headers["webhook-id"] == first.pk != other.headers["webhook-id"]
    assert [(a.number, a.status_code, a.response, a.error) for a in first.attempts.all()] == [
        (1, 500, "broken", ""),
        (2, 200, "thanks", ""),
    ]


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 429, 500, 503])
def test_all_but_2xx_and_410_is_tried_again(receiver: WebStub, status: int) -> None:
    elsewhere = {"Location": receiver.url("/elsewhere")}
    receiver.script("/hook", [Page(status=status, headers=elsewhere)])
    execution = ended(receiver)
    jobs.deliver(execution.pk)
    assert [request.path for request in receiver.requests] == ["/hook"]
    assert first_of(execution).status == "PENDING"
    assert DeliveryAttempt.objects.get().status_code == status


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_2xx_is_success(receiver: WebStub, status: int) -> None:
    receiver.script("/hook", [Page(status=status)])
    execution = ended(receiver)
    jobs.deliver(execution.pk)
    assert {status for _, status in rows(execution)} == {"DELIVERED"}


def test_410_ends_the_subscription(receiver: WebStub) -> None:
    """Also for what has not happened yet."""
    receiver.script("/hook", [Page(status=410)])
    execution = started(monitoring={"webhook_url": receiver.url("/hook")})
    first = claim(execution)
    jobs.deliver(execution.pk)
    assert rows(execution) == [("execution.started", "STOPPED")]
    settle(first, failed(retryable=False))
    jobs.deliver(execution.pk)
    assert rows(execution) == [("execution.started", "STOPPED"), ("execution.failed", "STOPPED")]
    assert deliveries.take_due() == []
    assert len(receiver.requests) == 1


def test_an_unreachable_receiver_is_recorded() -> None:
    with WebStub() as gone:
        url = gone.url("/hook")
    execution = started(echo("a"), monitoring={"webhook_url": url})
    claim(execution)
    jobs.deliver(execution.pk)
    attempt = DeliveryAttempt.objects.get()
    assert attempt.status_code is None
    assert attempt.error.startswith("communication: ")
    assert first_of(execution).status == "PENDING"


def test_the_first_4_kib_of_an_answer_are_kept(receiver: WebStub) -> None:
    receiver.script("/hook", [Page(body=b"\0" + b"x" * 10_000_000)])
    jobs.deliver(ended(receiver).pk)
    kept = DeliveryAttempt.objects.filter(number=1).first()
    assert kept is not None
    assert kept.response == "\ufffd" + "x" * 4095


def test_retry_after_is_heeded(receiver: WebStub) -> None:
    receiver.script("/hook", [Page(status=503, headers={"Retry-After": "77"})])
    execution = ended(receiver)
    jobs.deliver(execution.pk)
    assert 75 < (first_of(execution).next_attempt_at - database_now()).total_seconds() <= 77


def test_an_exhausted_delivery_lets_the_next_go(receiver: WebStub) -> None:
    receiver.script("/hook", [Page(status=500), OK])
    execution = ended(receiver)
    Delivery.objects.filter(pk=first_of(execution).pk).update(tries=len(deliveries.SCHEDULE))
    jobs.deliver(execution.pk)
    assert rows(execution) == [("execution.started", "EXHAUSTED"), ("execution.completed", "DELIVERED")]


# --- the schedule ---
@pytest.mark.parametrize(
    ("tries", "seconds"), [(1, 5), (2, 30), (3, 120), (4, 600), (5, 3600), (6, 10_800), (7, 28_800), (8, 86_400)]
)
def test_schedule(tries: int, seconds: float) -> None:
    now = database_now()
    for jitter, factor in ((-1.0, 0.9), (0.0, 1.0), (1.0, 1.1)):
        due = deliveries.next_try(now, tries=tries, retry_after=None, jitter=jitter)
        assert due is not None
        assert (due - now).total_seconds() == pytest.approx(seconds * factor)


@pytest.mark.parametrize(("retry_after", "seconds"), [(3, 30), (100, 100), (1e9, 86_400)])
def test_a_longer_retry_after_wins_up_to_a_day(retry_after: float, seconds: float) -> None:
    now = database_now()
    due = deliveries.next_try(now, tries=2, retry_after=retry_after, jitter=0)
    assert due == now + timedelta(seconds=seconds)


def test_the_schedule_ends() -> None:
    assert deliveries.next_try(database_now(), tries=9, retry_after=None, jitter=0) is None


# --- again by hand, and by another worker ---
def test_redeliver(receiver: WebStub) -> None:
    execution = ended(receiver)
    jobs.deliver(execution.pk)
    delivery = first_of(execution)
    deliveries.redeliver(delivery=delivery)
    assert deliveries.take_due() == [execution.pk]
    jobs.deliver(execution.pk)
    ids = [request.headers["webhook-id"] for request in receiver.requests]
    assert (len(ids), ids[2]) == (3, ids[0])
    assert receiver.requests[2].body == receiver.requests[0].body
    assert [attempt.number for attempt in delivery.attempts.all()] == [1, 2]


def test_redeliver_is_refused_while_it_is_pending(receiver: WebStub) -> None:
    delivery = first_of(ended(receiver))
    with pytest.raises(ApiProblem) as refused:
        deliveries.redeliver(delivery=delivery)
    assert refused.value.status == 409


def test_what_another_worker_sends_now_is_left_to_it(receiver: WebStub) -> None:
    execution = ended(receiver)
    seen = []

    def send(url: str, body: bytes, headers: Any) -> deliveries.Answer:
        seen.append(headers["webhook-id"])
        if len(seen) == 1:
            deliveries.deliver(execution.pk, send)  # a second worker comes while the first one waits for the answer
        return deliveries.Answer(status=200)

    deliveries.deliver(execution.pk, send)
    assert seen == [row.pk for row in Delivery.objects.filter(execution=execution)]


def test_what_a_dead_worker_was_sending_comes_due_again(receiver: WebStub) -> None:
    execution = ended(receiver)

    def die(url: str, body: bytes, headers: Any) -> deliveries.Answer:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        deliveries.deliver(execution.pk, die)
    jobs.deliver(execution.pk)
    assert receiver.requests == []  # its lease
    come_due(execution)
    jobs.deliver(execution.pk)
    assert {status for _, status in rows(execution)} == {"DELIVERED"}
    # Nobody knows what the first one gave.
    assert [attempt.number for attempt in first_of(execution).attempts.all()] == [2]


# --- what is behind one that waits ---
@pytest.mark.parametrize("tries", [2, 6])
def test_a_new_event_behind_one_that_waits_is_not_due(receiver: WebStub, tries: int) -> None:
    """Else each worker would ask for what is due again and again until then."""
    execution, claimed = waiting_for_a_try(receiver, tries=tries)
    before = deliveries.seconds_to_next()
    settle(claimed)
    assert deliveries.take_due() == []
    after = deliveries.seconds_to_next()
    assert before is not None
    assert after is not None
    assert 0 < after <= before
    waiting = Delivery.objects.filter(execution=execution).order_by("sequence")
    far = tries > 2
    assert (len({row.wake_at for row in waiting}) == 1) is far  # one that is far away is not being sent meanwhile
    come_due(execution)
    jobs.deliver(execution.pk)
    sent = [json.loads(request.body)["sequence"] for request in receiver.requests[tries:]]
    assert sent == sorted(row.sequence for row in waiting)
    assert deliveries.seconds_to_next() is None


def test_what_is_behind_one_that_is_being_sent_is_not_due(receiver: WebStub) -> None:
    execution = ended(receiver)
    assert deliveries.take_due() == [execution.pk]
    seconds = deliveries.seconds_to_next()
    assert seconds is not None
    assert seconds > 5


def test_a_new_event_is_due_at_once_once_nothing_waits(receiver: WebStub) -> None:
    execution, claimed = waiting_for_a_try(receiver)
    come_due(execution)
    jobs.deliver(execution.pk)
    settle(claimed)
    seconds = deliveries.seconds_to_next()
    assert seconds is not None
    assert seconds < 0
    assert deliveries.take_due() == [execution.pk]
