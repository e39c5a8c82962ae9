"""The live parts of an execution's page: what each shows, and a digest that says whether it changed.

The entity tag of the page is a stamp of the state and the digests of all parts in order, so that a poll is answered
with 304 or with exactly the parts that are new, and open viewers and players in the others stay as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django.db.models import Q

from dataflow.api.html import digest
from executions.advice import advice_for
from executions.database import database_now
from executions.definitions import DefinitionBroken, definition_of
from executions.engine.state import ExecutionStatus, TaskStatus, task_of
from executions.hidden import mask_of
from executions.models import UNENDED, Delivery, DeliveryStatus, Event, Execution, StoredFile, TaskRun
from executions.present import has_live_worker
from executions.prices import current as current_prices
from executions.timeline import timeline_of
from executions.usage_table import dollars, shown_usage
from executions.waiting import MAX_UNDER_WAY

_DIGEST_LENGTH = 8
#: Approvals that a page tells one by one; it counts them all.
_MAX_ASKED = 20
#: What starts executions and stands on the page of its workflow.
_HAVE_A_PLACE = frozenset({"schedule", "hook"})
#: They differ with every look at something that runs; app.js lets them tick instead.
_TICKING = frozenset({"duration", "now"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One replaceable piece of the page. ``id`` is its element's, ``data`` what its template shows."""

    id: str
    template: str
    data: Mapping[str, Any]
    digest: str


def parts_of(execution: Execution, described: Mapping[str, Any]) -> list[Part]:
    """All live parts of an execution as ``describe_execution`` tells it."""
    files = _file_metadata(described)
    waits = _waits(execution, described)
    return [
        _part("part-status", "executions/parts/status.html", _status(execution, described, waits)),
        _part("part-outputs", "executions/parts/outputs.html", _outputs(execution, described, files)),
        _timeline(execution, described),
        *_tasks(execution, described, files, waits),
        _part("part-usage", "executions/parts/usage.html", shown_usage(described["usage"], current_prices().as_of)),
        _part(
            "part-deliveries",
            "executions/parts/deliveries.html",
            {"deliveries": described["deliveries"], "subscribed": bool(execution.monitoring)},
        ),
    ]


def stamp_of(execution_id: str) -> str | None:
    """What a poll looks at first: it changes with anything that a page shows, and costs no large column.

    ``None`` where there is no such execution.
    """
    execution = Execution.objects.filter(pk=execution_id).values_list("sequence", "status").first()
    if execution is None:
        return None
    # Of the items of a list only those under way: the rest are counted in the progress of their task.
    current = Q(item__isnull=True) | Q(status__in=UNENDED)
    tasks = TaskRun.objects.filter(current, execution=execution_id).order_by("position", "item")
    seen = tasks.values_list("name", "status", "progress", "progress_message")
    deliveries = Delivery.objects.filter(execution=execution_id).values_list("pk", "status", "tries", "next_attempt_at")
    watched = not ExecutionStatus(execution[1]).ended and has_live_worker(database_now())
    return digest([execution, list(seen), list(deliveries), watched])


def etag_of(stamp: str, parts: Sequence[Part]) -> str:
    """The entity tag of all parts together, with the stamp in front."""
    return f"{stamp}{''.join(part.digest for part in parts)}"


def changed_since(parts: Sequence[Part], etag: str) -> list[Part]:
    """The parts that differ from what a page with ``etag`` shows; all of them when that tag is not of this page."""
    etag = etag[_DIGEST_LENGTH:]
    known = [etag[at : at + _DIGEST_LENGTH] for at in range(0, len(etag), _DIGEST_LENGTH)]
    if len(known) != len(parts):
        return list(parts)
    return [part for part, before in zip(parts, known, strict=True) if part.digest != before]


def poll_every(execution: Execution, parts: Sequence[Part]) -> int:
    """Seconds between polls: 1 while it is alive, 2 while webhooks are on their way, 0 when nothing can change."""
    if not ExecutionStatus(execution.status).ended:
        return 1
    deliveries = parts[-1].data["deliveries"]
    return 2 if any(delivery["status"] == DeliveryStatus.PENDING for delivery in deliveries) else 0


def value_address(execution: Execution, kind: str, name: str, task: str = "") -> str:
    """Where the whole of one value is."""
    return f"/pages/executions/{execution.pk}/value?{urlencode({'kind': kind, 'task': task, 'name': name})}"


def _part(element: str, template: str, data: Mapping[str, Any]) -> Part:
    return Part(id=element, template=template, data=data, digest=digest(_steady(data)))


def _steady(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _steady(entry) for key, entry in value.items() if key not in _TICKING}
    return [_steady(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def _waits(execution: Execution, described: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What tasks and items wait for, by name; where none can be waiting that costs no query."""
    under_way = any(task["status"] == TaskStatus.WAITING or task.get("items") for task in described["tasks"])
    if not under_way or ExecutionStatus(execution.status).ended:
        return {}
    found = TaskRun.objects.filter(execution=execution, status=TaskStatus.WAITING).order_by("position", "item")
    mask = mask_of(execution)
    return {name: mask.value(waiting or {}) for name, waiting in found.values_list("name", "waiting")[:MAX_UNDER_WAY]}


def _asked(waits: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The approvals that somebody should decide: how many, the first of them, and of which tasks the others are."""
    asked: list[dict[str, Any]] = [
        {"name": name, "title": waiting.get("title"), "is_item": "[" in name}
        for name, waiting in waits.items()
        if waiting.get("for") == "approval"
    ]
    rest = Counter((task_of(one["name"]), one["is_item"]) for one in asked[_MAX_ASKED:])
    return {
        "count": len(asked),
        "is_all": len(waits) < MAX_UNDER_WAY,
        "first": asked[:_MAX_ASKED],
        "rest": [{"task": task, "is_item": is_item, "count": count} for (task, is_item), count in rest.items()],
    }


def _status(
    execution: Execution, described: Mapping[str, Any], waits: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    alive = not ExecutionStatus(execution.status).ended
    error = described.get("error")
    failed = [task for task in described["tasks"] if task["status"] == "FAILED"]
    types = {task["name"]: task["type"] for task in described["tasks"]}
    return {
        "id": execution.pk,
        "workflow_id": execution.workflow_id,
        "status": described["status"],
        "created_at": described["created_at"],
        "started_at": described["started_at"],
        "completed_at": described["completed_at"],
        "version": execution.workflow_version,
        "trigger": execution.trigger,
        "trigger_ref": execution.trigger_ref if execution.trigger in _HAVE_A_PLACE else "",
        "labels": execution.labels,
        "alive": alive,
        "archived": execution.workflow.archived_at is not None,
        "no_worker": alive and not has_live_worker(database_now()),
        "waiting_for": described.get("waiting_for") if alive else None,
        "actions": described["actions"],
        "asked": _asked(waits),
        "parent": execution.parent_id,
        "parent_task": execution.parent_task,
        "rerun_of": execution.rerun_of_id,
        "error": error,
        "advice": advice_for(error, types.get((execution.error or {}).get("task"), "")),
        "failed": [
            {"name": task["name"], "error": task.get("error"), "attempt": task.get("attempt")} for task in failed
        ],
    }


def _outputs(execution: Execution, described: Mapping[str, Any], files: Mapping[str, Any]) -> dict[str, Any]:
    declared = {output["name"]: output for output in execution.version.definition.get("outputs", [])}
    shown = [
        {
            "name": name,
            "description": declared.get(name, {}).get("description", ""),
            "value": value,
            "whole": value_address(execution, "outputs", name),
        }
        for name, value in (described.get("outputs") or {}).items()
    ]
    return {"status": described["status"], "shown": shown, "files": files, "declared": len(declared)}


def _timeline(execution: Execution, described: Mapping[str, Any]) -> Part:
    start = execution.started_at or execution.created_at
    end = execution.completed_at or datetime.now(UTC)
    growing = execution.started_at is not None and execution.completed_at is None
    drawn = timeline_of(described["tasks"], start=start, end=end, growing=growing, resumed=_resumed(execution))
    data = {"timeline": drawn, "started": execution.started_at is not None}
    facts = [
        [task["status"], [[a["started_at"], a["completed_at"], a["status"]] for a in task["attempts"]]]
        for task in described["tasks"]
    ]
    changes = digest([facts, growing, data["started"]])
    return Part(id="part-timeline", template="executions/parts/timeline.html", data=data, digest=changes)


def _resumed(execution: Execution) -> list[datetime]:
    """When it was resumed, each time; where it never was that costs no query."""
    if execution.resumed_at is None:
        return []
    return list(Event.objects.filter(execution=execution, type="execution.resumed").values_list("at", flat=True))


def _tasks(
    execution: Execution,
    described: Mapping[str, Any],
    files: Mapping[str, Any],
    waits: Mapping[str, Mapping[str, Any]],
) -> Iterator[Part]:
    templates = _templates(execution)
    again = ExecutionStatus(execution.status).ended and execution.workflow.archived_at is None
    for task in described["tasks"]:
        data = _task(execution, task, templates.get(task["name"], {}), waits.get(task["name"], {}))
        data |= {"files": files, "rerun": again}
        yield _part(f"task-{task['name']}", "executions/parts/task.html", data)


def item_part(execution: Execution, described: Mapping[str, Any], waiting: Mapping[str, Any] | None) -> Part:
    """An item of a list (``describe_items``) as tasks are shown, open; ``waiting`` is for what it waits."""
    name = described["name"]
    waiting = mask_of(execution).value(waiting or {})
    data = _task(execution, described, _templates(execution).get(task_of(name), {}), waiting)
    data |= {"files": _file_metadata({"tasks": [described]}), "rerun": False, "open": True}
    return _part(f"task-{name}", "executions/parts/task.html", data)


def _task(
    execution: Execution, task: Mapping[str, Any], written: Mapping[str, Any], waiting: Mapping[str, Any]
) -> dict[str, Any]:
    """What is shown of a task or an item; ``written`` is what the definition says its inputs are."""
    name, sent = task["name"], task["inputs"] or {}
    inputs = [
        {
            "name": key,
            "template": template,
            "sent": key in sent,
            "value": sent.get(key),
            "whole": value_address(execution, "inputs", key, name),
        }
        for key, template in written.items()
    ]
    outputs = [
        {"name": key, "value": value, "whole": value_address(execution, "outputs", key, name)}
        for key, value in (task.get("outputs") or {}).items()
    ]
    return {
        "task": task,
        "inputs": inputs,
        "defaults": [{"name": key, "value": sent[key]} for key in sent if key not in written],
        "outputs": outputs,
        "tries": _told_tries(task),
        "cost": dollars(task["cost"]),
        "open": task["status"] == "FAILED" or waiting.get("for") == "approval",
        "execution_id": execution.pk,
        "waiting": waiting,
        "items": task.get("items"),
        "child": task.get("child") or waiting.get("execution_id"),
        # Of what failed the execution, the top of the page says it already.
        "advice": "" if execution.error else advice_for(task["error"], task["type"]),
    }


def _told_tries(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The tries worth a line each: a single one that went well is told by the task itself."""
    tries: list[Mapping[str, Any]] = task["attempts"]
    return tries if len(tries) > 1 or any(attempt["error"] for attempt in tries) else []


def _templates(execution: Execution) -> dict[str, dict[str, Any]]:
    """What the definition says each input is, by task and current input name; nothing for what cannot be read."""
    try:
        definition = definition_of(execution.version_id)
    except DefinitionBroken:
        return {}
    return {task.name: {name: template.literal for name, template in task.inputs.items()} for task in definition.tasks}


def _file_metadata(described: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata of every stored file that is named in inputs and outputs, in one query."""
    places = [described.get("inputs"), described.get("outputs")]
    places += [task.get(key) for task in described["tasks"] for key in ("inputs", "outputs")]
    if not (ids := set(_file_ids(places))):
        return {}
    return dict(StoredFile.objects.filter(pk__in=list(ids)[:500]).values_list("pk", "metadata"))


def _file_ids(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(file_id := value.get("file_id"), str):
            yield file_id
        for entry in value.values():
            yield from _file_ids(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _file_ids(entry)
