"""Schedules: making and changing them, and starting what is due.

A slot is claimed in the transaction that starts its execution: two sweepers never start the same slot, and what dies in
between leaves the slot as it was. Time is the database's.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Min

from dataflow.lib.errors import ApiProblem, conflict, not_found
from dataflow.lib.failpoints import failpoint
from dataflow.lib.times import rfc3339
from executions import database
from executions.database import database_now
from executions.hidden import is_masked, sensitive_names
from executions.services import start_execution
from executions.starting import current_version_id
from executions.trigger_models import Missed, Schedule
from executions.triggers.checks import ScheduleSettings, checked_schedule, refuse_archived
from executions.triggers.timing import Timing, TimingProblem, Turn, turn_of
from workflows.models import Workflow
from workflows.services import Actor, merge_patch, stored_user

logger = logging.getLogger(__name__)

#: Of one workflow.
MAX_SCHEDULES = 100
#: Slots that one call of ``run_due`` takes; the next call goes on.
_BATCH = 200


def create_schedule(*, workflow: Workflow, document: Any, user: Actor = None) -> Schedule:
    """Store a schedule. Raises ``ApiProblem``: 400 with all that is wrong, 409 archived or too many."""
    refuse_archived(workflow)
    settings = checked_schedule(document, workflow)
    with database.writing():
        # Locked, so that two requests at the same time do not pass the bound together.
        Workflow.objects.select_for_update().get(pk=workflow.pk)
        if workflow.schedules.count() >= MAX_SCHEDULES:
            raise conflict(f"A workflow has at most {MAX_SCHEDULES} schedules. Delete one first.", code="too_many")
        row = Schedule(workflow=workflow, created_by=stored_user(user), created_at=database_now())
        _take_over(row, settings)
        row.save(force_insert=True)
    return row


def replace_schedule(*, schedule: Schedule, document: Any) -> Schedule:
    """Put other settings in the place of all that there are. Raises ``ApiProblem`` 400."""
    settings = checked_schedule(_with_kept(document, schedule), schedule.workflow)
    with database.writing():
        row = _locked(schedule)
        _take_over(row, settings)
        row.save(update_fields=_SETTINGS)
    return row


def patch_schedule(*, schedule: Schedule, patch: Any) -> Schedule:
    """Apply a JSON merge patch to the settings. Raises ``ApiProblem`` 400.

    Inputs are held to the workflow only when the patch has some: what does not fit any more can still be paused.
    """
    with database.writing():
        row = _locked(schedule)
        document = _patched(row, patch) if isinstance(patch, dict) else patch
        with_inputs = isinstance(patch, dict) and "inputs" in patch
        _take_over(row, checked_schedule(document, schedule.workflow, with_inputs=with_inputs))
        row.save(update_fields=_SETTINGS)
    return row


def _patched(row: Schedule, patch: dict[str, Any]) -> dict[str, Any]:
    """The settings with a patch. The stored zone is part of the cron expression, and goes with it."""
    document: dict[str, Any] = merge_patch(settings_of(row), _with_kept(patch, row))
    if "cron" not in document and "timezone" not in patch:
        document.pop("timezone", None)
    return document


def _with_kept(document: Any, row: Schedule) -> Any:
    """``document`` with the stored value of each sensitive input that comes back as it was shown."""
    inputs = document.get("inputs") if isinstance(document, dict) else None
    if not isinstance(inputs, dict):
        return document
    names = sensitive_names(current_version_id(row.workflow))
    kept = {name: row.inputs[name] for name in names if name in row.inputs and is_masked(inputs.get(name))}
    return {**document, "inputs": {**inputs, **kept}}


def delete_schedule(*, schedule: Schedule) -> None:
    """Remove a schedule; what it started stays."""
    with database.writing():
        Schedule.objects.filter(pk=schedule.pk).delete()


def get_schedule(workflow: Workflow, schedule_id: str) -> Schedule:
    """A schedule of a workflow. Raises ``ApiProblem`` 404."""
    found = Schedule.objects.for_list().filter(pk=schedule_id, workflow=workflow).first()
    if found is None:
        raise not_found("schedule", schedule_id)
    return found


def settings_of(schedule: Schedule) -> dict[str, Any]:
    """The settings as a document that would make them."""
    document = {
        "cron": schedule.cron or None,
        "timezone": schedule.timezone or None,
        "every_minutes": schedule.every_minutes,
        "inputs": schedule.inputs,
        "labels": schedule.labels,
        "missed": schedule.missed,
        "enabled": schedule.enabled,
    }
    return {name: value for name, value in document.items() if value is not None}


def timing_of(schedule: Schedule) -> Timing:
    """When it runs."""
    return Timing(cron=schedule.cron, timezone=schedule.timezone, every_minutes=schedule.every_minutes)


def run_due(now: datetime | None = None) -> int:
    """Start what is due at ``now``, by default the database's clock. Returns how many executions were started.

    One query when nothing is due. A schedule that cannot run says so in its ``last_error`` and stops no other.
    """
    started = 0
    for key, slot in list(Schedule.objects.due(now).values_list("pk", "next_run_at")[:_BATCH]):
        assert slot is not None
        try:
            started += _run(key, slot, now)
        except (OperationalError, InterfaceError):
            raise  # the database is away: nothing is changed, and the next call comes soon
        except Exception as error:
            logger.exception("Schedule %s could not run.", key)
            _give_up(key, slot, error)
    return started


def next_due() -> datetime | None:
    """When the next schedule is due; may lie in the past. ``None`` when there is none."""
    found: datetime | None = Schedule.objects.active().aggregate(at=Min("next_run_at"))["at"]
    return found


def _run(key: str, slot: datetime, now: datetime | None) -> int:
    """Claim a slot and start its execution, in one transaction. Returns how many were started: 0 or 1."""
    with database.writing():
        due = Schedule.objects.filter(pk=key, next_run_at=slot, enabled=True)
        # Who else looks at it at the moment is running it.
        row = due.select_for_update(skip_locked=True).first()
        if row is None:
            return 0
        now = now or database_now()
        turn = _turn(row, slot, now)
        claimed = due.update(next_run_at=turn.following)
        if not claimed or not turn.start:
            return 0
        started = _start(row, slot, now)
        failpoint("schedule.before_commit")
    failpoint("schedule.after_commit")
    return started


def _turn(row: Schedule, slot: datetime, now: datetime) -> Turn:
    try:
        return turn_of(timing_of(row), slot, now, run_missed=row.missed == Missed.RUN_ONCE)
    except TimingProblem as problem:
        # Such as a zone that a newer list of zones does not have: it never runs again before somebody changes it.
        _note(row, now, error=_error("invalid_cron", str(problem)))
        return Turn(start=False, following=None)


def _start(row: Schedule, slot: datetime, now: datetime) -> int:
    try:
        with transaction.atomic():
            execution = start_execution(
                workflow=row.workflow, inputs=row.inputs, labels=row.labels, trigger="schedule", trigger_ref=row.pk
            )
    except ApiProblem as problem:
        _note(
            row,
            now,
            error=_error(problem.code, problem.detail, [error.as_json() for error in problem.errors]),
            last_run_at=slot,
        )
        return 0
    _note(row, now, error=None, last_run_at=slot, last_execution=execution)
    return 1


def _give_up(key: str, slot: datetime, error: Exception) -> None:
    """Let a slot go that met a defect, so that it does not come again each second."""
    with database.writing():
        row = Schedule.objects.filter(pk=key, next_run_at=slot).first()
        if row is not None:
            now = database_now()
            turn = _turn(row, slot, now)
            detail = f"Something went wrong on our side ({type(error).__name__}); it was logged."
            _note(row, now, error=_error("runtime", detail), last_run_at=slot, next_run_at=turn.following)


def _note(row: Schedule, now: datetime, *, error: dict[str, Any] | None, **changes: Any) -> None:
    shown = None if error is None else {"at": rfc3339(now)} | error
    Schedule.objects.filter(pk=row.pk).update(last_error=shown, **changes)


def _error(code: str, detail: str, errors: list[dict[str, str]] | None = None) -> dict[str, Any]:
    return {"code": code, "detail": detail, "errors": (errors or [])[:20]}


_SETTINGS = [
    "cron", "timezone", "every_minutes", "inputs", "labels", "missed", "enabled", "next_run_at", "last_error",
]  # fmt: skip


def _take_over(row: Schedule, settings: ScheduleSettings) -> None:
    """Write the settings into the row. The rhythm goes on when neither the time nor the pause changed."""
    before, was_enabled = timing_of(row), row.enabled and row.next_run_at is not None
    timing = settings.timing
    row.cron, row.timezone, row.every_minutes = timing.cron, timing.timezone, timing.every_minutes
    row.inputs, row.labels = dict(settings.inputs), dict(settings.labels)
    row.missed, row.enabled, row.last_error = settings.missed, settings.enabled, None
    if not settings.enabled:
        row.next_run_at = None
    elif not was_enabled or before != timing:
        row.next_run_at = timing.next_after(database_now())


def _locked(schedule: Schedule) -> Schedule:
    row = Schedule.objects.select_for_update().filter(pk=schedule.pk).first()
    if row is None:
        raise not_found("schedule", schedule.pk)
    return row
