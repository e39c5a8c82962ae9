"""The jobs of the queue. Our workers map them to their own threads; a stock ``manage.py qcluster`` calls them here.

Retries, timeouts and lost work are found by the sweeper, which is part of ``manage.py worker``: a stock cluster can add
to one, not replace it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cache

from dataflow.lib.egress import Response
from dataflow.lib.errors import TaskError
from executions import deliveries
from executions.models import Delivery, DeliveryStatus
from executions.outside import egress
from executions.worker.carrier import Carrier
from executions.worker.database import release_connection
from executions.worker.node import Node

#: Only the beginning of an answer is read, however long it says it is.
_ANY_SIZE = 2**62


def advance(execution_id: str) -> None:
    """Take an execution as far as it can go without waiting. Finds nothing to do when it is called once too often."""
    _carrier_of_this_process().carry(execution_id)


def deliver(execution_id: str) -> None:
    """Send what is due of an execution's webhook deliveries."""
    deliveries.deliver(execution_id, send)


def receiver_of(execution_id: str) -> str:
    """Where an execution's next delivery goes, without the query; empty when there is none.

    Two hooks on one host are two receivers: one that hangs must not hold up the other.
    """
    waiting = Delivery.objects.filter(execution_id=execution_id, status=DeliveryStatus.PENDING)
    url = waiting.order_by("sequence").values_list("url", flat=True).first() or ""
    return url.partition("?")[0]


def send(url: str, body: bytes, headers: Mapping[str, str]) -> deliveries.Answer:
    """POST a webhook under the address rules: no redirects, ten seconds for everything."""
    release_connection()  # a receiver may take its time: others need the connection
    wanted = {**headers, "accept-encoding": "identity"}
    try:
        with egress().request(
            "POST",
            url,
            data=body,
            headers=wanted,
            timeout=deliveries.TIMEOUT_SECONDS,
            max_bytes=_ANY_SIZE,
            follow_redirects=0,
        ) as answer:
            return deliveries.Answer(status=answer.status, body=_beginning(answer), retry_after=answer.retry_after)
    except TaskError as error:
        return deliveries.failed(error)


def _beginning(answer: Response) -> str:
    """The first 4 KiB as text that any database takes. The status decides: a body that breaks off changes nothing."""
    kept = b""
    with suppress(TaskError):
        for chunk in answer.iter_bytes(deliveries.KEPT_RESPONSE_BYTES):
            kept += chunk
            if len(kept) >= deliveries.KEPT_RESPONSE_BYTES:
                break
    return kept[: deliveries.KEPT_RESPONSE_BYTES].decode("utf-8", "replace").replace("\0", "\ufffd")


@cache
def _carrier_of_this_process() -> Carrier:
    """The carrier of a process that django-q2 runs by itself: one job at a time, with a heartbeat of its own."""
    node = Node(threads=1)
    node.start()
    return Carrier(node.id, run=node.run, holding=node.holding, fetch=node.fetches.fetch)
