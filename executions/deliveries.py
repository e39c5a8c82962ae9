"""Sends webhook deliveries: at least once, in order per execution, every try recorded.

See ../shared/spec/4-execution.md, Webhooks out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from random import uniform

from django.db.models import Exists, F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from dataflow.lib.errors import ApiProblem, TaskError, conflict
from dataflow.lib.failpoints import failpoint
from dataflow.lib.fields import DatabaseNow, StatementNow
from dataflow.lib.jsonvalues import clean_json
from executions import queue, signing
from executions.database import database_now, writing
from executions.models import Delivery, DeliveryAttempt, DeliveryStatus
from executions.webhooks import LEASE
from executions.worker.database import persist

logger = logging.getLogger(__name__)

#: Seconds between tries; after the last one the delivery is EXHAUSTED.
SCHEDULE = (5, 30, 120, 600, 3600, 3 * 3600, 8 * 3600, 24 * 3600)
TIMEOUT_SECONDS = 10.0
KEPT_RESPONSE_BYTES = 4096
#: Deliveries taken at a time.
_BATCH = 500
#: A receiver may ask for at most this much patience.
MAX_RETRY_AFTER = 24 * 3600.0
GONE = 410


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a receiver said: a status, or no status and why."""

    status: int | None
    body: str = ""
    error: str = ""
    retry_after: float | None = None

    @property
    def accepted(self) -> bool:
        """Only a 2xx is success; redirects are not followed."""
        return self.status is not None and 200 <= self.status < 300


#: Posts a body with headers to a URL, within ``TIMEOUT_SECONDS``.
Sender = Callable[[str, bytes, Mapping[str, str]], Answer]


def deliver(execution_id: str, send: Sender) -> None:
    """Send what is due of one execution, in order, until the next one is not due or another worker has it."""
    claimed = _claim_first(execution_id)
    while claimed is not None:
        claimed = _try(claimed, send)


def take_due() -> list[str]:
    """The executions whose oldest unsettled delivery is due: nobody else takes it for a while."""
    due = Delivery.objects.filter(status=DeliveryStatus.PENDING, wake_at__lte=StatementNow())
    heads = _heads_of(due).order_by("wake_at").annotate(now=DatabaseNow())
    taken = []
    for key, execution_id, now in list(heads.values_list("pk", "execution_id", "now")[:_BATCH]):
        if due.filter(pk=key).update(wake_at=now + queue.RING_AGAIN):
            taken.append(execution_id)
    return taken


def seconds_to_next() -> float | None:
    """Seconds until a delivery is due (below 0: it is); ``None`` when none will be."""
    heads = _heads_of(Delivery.objects.filter(status=DeliveryStatus.PENDING))
    found = heads.order_by("wake_at").annotate(now=DatabaseNow()).values_list("wake_at", "now").first()
    return None if found is None else (found[0] - found[1]).total_seconds()


def _heads_of(pending: QuerySet[Delivery]) -> QuerySet[Delivery]:
    """Those that are the oldest unsettled ones of their execution: the others wait for them, however due they are."""
    earlier = Delivery.objects.filter(
        execution=OuterRef("execution"), status=DeliveryStatus.PENDING, sequence__lt=OuterRef("sequence")
    )
    return pending.filter(~Exists(earlier))


def redeliver(*, delivery: Delivery) -> None:
    """Send a delivery again by hand, with the same id, from the first step of the schedule. 409 while it is pending."""
    now = database_now()
    with writing():
        again = Delivery.objects.filter(pk=delivery.pk).exclude(status=DeliveryStatus.PENDING)
        if not again.update(status=DeliveryStatus.PENDING, tries=0, next_attempt_at=now, wake_at=now):
            raise _pending(delivery)
        queue.ring_delivery(delivery.execution_id)


def _pending(delivery: Delivery) -> ApiProblem:
    return conflict(f"Delivery {delivery.id} is still being tried; its next try is at {delivery.next_attempt_at}.")


@dataclass(frozen=True, slots=True)
class _Claimed:
    """A delivery that is this worker's to send, since ``at``; ``number`` is that of this try, over all times."""

    delivery: Delivery
    at: datetime
    number: int
    #: Its execution's own, encrypted; empty for none.
    secret: str


def _claim_first(execution_id: str) -> _Claimed | None:
    with writing():
        return _claim_head(execution_id)


def _claim_head(execution_id: str) -> _Claimed | None:
    """The oldest unsettled delivery, if it is due and nobody else took it. Within a transaction."""
    head = Delivery.objects.filter(execution_id=execution_id, status=DeliveryStatus.PENDING).order_by("sequence")
    last = DeliveryAttempt.objects.filter(delivery=OuterRef("pk")).order_by("-number").values("number")[:1]
    known = head.annotate(
        now=DatabaseNow(), last=Coalesce(Subquery(last), 0), own_secret=F("execution__webhook_secret")
    )
    delivery = known.first()
    if delivery is None or delivery.next_attempt_at > delivery.now:
        return None
    until = delivery.now + LEASE
    mine = Delivery.objects.filter(
        pk=delivery.pk, status=DeliveryStatus.PENDING, tries=delivery.tries, next_attempt_at=delivery.next_attempt_at
    )
    if not mine.update(tries=delivery.tries + 1, next_attempt_at=until, wake_at=until):
        return None
    # A try that nobody noted, as its worker died or is late, has its number too.
    number = max(delivery.last, delivery.tries) + 1
    delivery.tries += 1
    return _Claimed(delivery, at=delivery.now, number=number, secret=delivery.own_secret)


def _try(claimed: _Claimed, send: Sender) -> _Claimed | None:
    """One try; the next delivery, when this one is settled and that is due."""
    started = time.monotonic()
    failpoint("delivery.before_post")
    answer = _answer(claimed, send)
    failpoint("delivery.after_post")
    duration = int((time.monotonic() - started) * 1000)
    return persist(partial(_record, claimed, answer, duration=duration))


def _answer(claimed: _Claimed, send: Sender) -> Answer:
    delivery = claimed.delivery
    try:
        keys = signing.keys_for(claimed.secret, at=claimed.at)
    except ValueError as error:  # its secret cannot be opened any more; the operator may bring the key back
        return Answer(status=None, error=f"It cannot be signed: {error}")
    headers = signing.headers_for(message_id=delivery.id, body=delivery.body, keys=keys, at=claimed.at)
    return send(delivery.url, delivery.body.encode(), headers | {"content-type": "application/json"})


def _record(claimed: _Claimed, answer: Answer, *, duration: int) -> _Claimed | None:
    """Note the try, settle the delivery, and take the next one: one commit for each webhook."""
    delivery = claimed.delivery
    with writing():
        DeliveryAttempt.objects.create(
            delivery=delivery, number=claimed.number, at=claimed.at, duration_ms=duration, status_code=answer.status,
            error=answer.error[:1000], response=answer.body,
        )  # fmt: skip
        return _claim_head(delivery.execution_id) if _settle(delivery, answer) else None


def _settle(delivery: Delivery, answer: Answer) -> bool:
    mine = Delivery.objects.filter(pk=delivery.pk, tries=delivery.tries, status=DeliveryStatus.PENDING)
    if answer.accepted:
        mine.update(status=DeliveryStatus.DELIVERED, delivered_at=DatabaseNow())
        return True
    if answer.status == GONE:
        waiting = Delivery.objects.filter(execution_id=delivery.execution_id, status=DeliveryStatus.PENDING)
        waiting.update(status=DeliveryStatus.STOPPED)
        return False
    jitter = uniform(-1, 1)  # noqa: S311 - spreads tries, hides nothing
    due = next_try(database_now(), tries=delivery.tries, retry_after=answer.retry_after, jitter=jitter)
    if due is None:
        mine.update(status=DeliveryStatus.EXHAUSTED)
        return True
    if mine.update(next_attempt_at=due):
        # Those behind it wait for it, and are not to be looked at before.
        waiting = Delivery.objects.filter(execution_id=delivery.execution_id, status=DeliveryStatus.PENDING)
        waiting.update(wake_at=due)
    return False


def next_try(now: datetime, *, tries: int, retry_after: float | None, jitter: float) -> datetime | None:
    """When to try again after ``tries`` failed ones, ``None`` when the schedule is over. ``jitter`` is in −1…1."""
    if tries > len(SCHEDULE):
        return None
    delay = SCHEDULE[tries - 1] * (1 + 0.1 * jitter)
    return now + timedelta(seconds=max(delay, min(retry_after or 0.0, MAX_RETRY_AFTER)))


def failed(error: TaskError) -> Answer:
    """The answer of a receiver that could not be reached."""
    message: str = clean_json(f"{error.code}: {error.message}")
    return Answer(status=None, error=message, retry_after=error.retry_after)
