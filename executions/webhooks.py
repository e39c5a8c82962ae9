"""Which events go to a webhook, and what they say. Stored with the state change; ``deliveries`` sends them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from django.db.models import Count, Max, Q

from dataflow.lib.failpoints import shortened
from dataflow.lib.fields import dump_json
from dataflow.lib.times import rfc3339
from executions import files, queue
from executions.engine.outcomes import shown_error
from executions.engine.run import Run
from executions.engine.state import Logged
from executions.models import Delivery, DeliveryStatus
from executions.redaction import NOTHING, Redactor


class Row(Protocol):
    """What is told of an execution: its columns, as ``executions.models.Execution`` names them."""

    id: str
    workflow_id: str
    workflow_version: int
    status: str
    monitoring: Mapping[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    outputs: Mapping[str, Any] | None
    stored: Mapping[str, Any]
    error: Mapping[str, Any] | None


#: While it is being sent a delivery belongs to one worker for so long.
LEASE = timedelta(seconds=shortened(60.0, "DATAFLOW_TEST_DELIVERY_LEASE_SECONDS"))
#: What a subscription without ``events`` gets.
DEFAULT_EVENTS = ("started", "completed", "failed", "cancelled")
_ENDS = ("execution.completed", "execution.failed", "execution.cancelled")
#: A body stays under this many bytes (4-execution.md, Webhooks out).
MAX_BODY_BYTES = 20_000


def subscription_of(monitoring: Mapping[str, Any] | None) -> tuple[dict[str, Any] | None, str]:
    """A checked ``monitoring`` as ``({"url", "events"} or None, secret)``."""
    if not monitoring:
        return None, ""
    webhook = monitoring.get("webhook") or {"url": monitoring.get("webhook_url")}
    if not webhook.get("url"):
        return None, ""
    events = list(webhook.get("events") or DEFAULT_EVENTS)
    return {"url": webhook["url"], "events": events}, webhook.get("secret") or ""


def wanted_of(row: Row, events: Iterable[Logged]) -> list[Logged]:
    """The events that the execution's webhook wants."""
    if not row.monitoring:
        return []
    return [event for event in events if _topic(event) in row.monitoring["events"]]


def queue_deliveries(row: Row, run: Run, wanted: Sequence[Logged], redactor: Redactor = NOTHING) -> None:
    """Store a delivery for each event that the webhook wants, in the caller's transaction.

    ``redactor`` masks what the outputs must not show.
    """
    if not wanted or not row.monitoring:
        return
    ended, wake_at = _standing(row.id, run.now)
    deliveries = [
        Delivery(
            execution_id=row.id,
            status=DeliveryStatus.STOPPED if ended else DeliveryStatus.PENDING,
            sequence=event.sequence,
            type=event.type,
            url=row.monitoring["url"],
            body=body_of(row, run, event, redactor),
            next_attempt_at=run.now,
            wake_at=wake_at,
        )
        for event in wanted
    ]
    Delivery.objects.bulk_create(deliveries)
    if not ended:
        queue.ring_delivery(row.id)


def _standing(execution_id: str, now: datetime) -> tuple[bool, datetime]:
    """Whether the subscription has ended, and from when to look at a new delivery.

    After a 410 what comes later is kept to be seen, and not sent. Behind one that waits for its next try, there is
    nothing to look at before; one that is further away than a lease is not being sent just now.
    """
    found = Delivery.objects.filter(execution_id=execution_id).aggregate(
        stopped=Count("pk", filter=Q(status=DeliveryStatus.STOPPED)),
        last=Max("wake_at", filter=Q(status=DeliveryStatus.PENDING)),
    )
    waits = found["last"] is not None and found["last"] > now + LEASE
    return bool(found["stopped"]), found["last"] if waits else now


def body_of(execution: Row, run: Run, event: Logged, redactor: Redactor = NOTHING) -> str:
    """The JSON text of an event, under 20 kB: large outputs by reference, then fewer tasks."""
    failed = (execution.error or {}).get("task")
    data: dict[str, Any] = {
        "workflow_execution_id": execution.id,
        "workflow_id": execution.workflow_id,
        "workflow_version": execution.workflow_version,
        "status": execution.status,
        "created_at": timestamp(execution.created_at),
        "started_at": timestamp(execution.started_at),
        "completed_at": timestamp(execution.completed_at),
        "tasks": [{"name": task.name, "status": state.status.value} for task, state in run.states()],
        "outputs": redactor.value(files.shown_outputs(execution.outputs, execution.stored) or {}),
        "error": shown_error(execution.error, run.place_of(failed) if failed else None),
    }
    if event.type not in _ENDS:
        # Of that moment, also where the same step brought the end, which is its last event.
        status = "PENDING" if execution.started_at is None else "RUNNING"
        data |= {"status": status, "completed_at": None, "outputs": {}, "error": None}
    if event.task:
        data["task"] = {"name": event.task, "attempt": event.attempt, **event.data}
    message = {"type": event.type, "timestamp": timestamp(event.at), "sequence": event.sequence, "data": data}
    return _bounded(message, f"/workflows/{execution.workflow_id}/executions/{execution.id}")


def timestamp(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC with ``Z``."""
    return None if moment is None else rfc3339(moment)


def _topic(event: Logged) -> str:
    kind, _, name = event.type.partition(".")
    return "task" if kind == "task" else name


def _bounded(message: dict[str, Any], url: str) -> str:
    """``message`` as JSON under the limit, with ``url`` where a value had to be left out."""
    data = message["data"]
    for shorten in (_outputs_by_reference, _error_cut, _tasks_cut):
        text = dump_json(message)
        if len(text.encode()) < MAX_BODY_BYTES:
            return text
        shorten(data, url)
    return dump_json(message)


def _outputs_by_reference(data: dict[str, Any], url: str) -> None:
    data["outputs"] = {name: _by_reference(value, url) for name, value in data["outputs"].items()}


def _by_reference(value: Any, url: str) -> Any:
    size = len(dump_json(value).encode())
    return value if size <= 512 else {"url": url, "size": size}


def _error_cut(data: dict[str, Any], url: str) -> None:
    for holder in (data, data.get("task") or {}):
        if (error := holder.get("error")) is not None:
            holder["error"] = {"code": error["code"], "detail": error["message"][:500], "url": url}


def _tasks_cut(data: dict[str, Any], url: str) -> None:
    """So many tasks that their names alone are too long: those at work or failed first, the rest at ``tasks_url``."""
    telling = [task for task in data["tasks"] if task["status"] in ("RUNNING", "FAILED", "WAITING")]
    data["tasks"], data["tasks_url"] = telling[:100], url
    data["outputs"] = {} if len(dump_json(data["outputs"]).encode()) > 4000 else data["outputs"]
