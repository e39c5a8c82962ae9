"""Schedules and hooks as the API and the pages show them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from executions.hidden import shown_of
from executions.present import url_of
from executions.starting import current_version_id
from executions.trigger_models import Hook, Schedule
from executions.triggers.hooks import Made
from executions.triggers.schedules import timing_of
from executions.triggers.timing import TimingProblem, first_runs

#: Runs that an answer foretells.
NEXT_RUNS = 5


def describe_schedule(schedule: Schedule) -> dict[str, Any]:
    """A schedule with its next runs. Read it with ``for_list``."""
    runs, last = next_runs(schedule), schedule.last_execution
    return {
        "schedule_id": schedule.pk,
        "workflow_id": schedule.workflow_id,
        "cron": schedule.cron or None,
        "timezone": schedule.timezone or None,
        "every_minutes": schedule.every_minutes,
        "inputs": shown_inputs_of(schedule),
        "labels": schedule.labels,
        "missed": schedule.missed,
        "enabled": schedule.enabled,
        "next_run_at": runs[0] if runs else None,
        "next_runs": runs,
        "last_run_at": schedule.last_run_at,
        "last_execution": None
        if last is None
        else {"workflow_execution_id": last.pk, "status": last.status, "url": url_of(last)},
        "last_error": schedule.last_error,
        "created_by": _name(schedule.created_by),
        "created_at": schedule.created_at,
    }


def shown_inputs_of(schedule: Schedule) -> dict[str, Any]:
    """The inputs of a schedule as they may be shown."""
    return shown_of(current_version_id(schedule.workflow), schedule.inputs)


def next_runs(schedule: Schedule, count: int = NEXT_RUNS) -> list[datetime]:
    """The next runs; none while it is paused or its workflow is archived."""
    slot = schedule.next_run_at
    if slot is None or not schedule.enabled or schedule.workflow.archived_at is not None:
        return []
    try:
        return [slot, *first_runs(timing_of(schedule), slot, count - 1, slot=slot)]
    except TimingProblem:
        return [slot]


def describe_hook(hook: Hook) -> dict[str, Any]:
    """A hook, without what is shown only once."""
    return {
        "hook_id": hook.pk,
        "workflow_id": hook.workflow_id,
        "name": hook.name,
        "inputs": hook.inputs,
        "signature": hook.signature or None,
        "enabled": hook.enabled,
        "last_used_at": hook.last_used_at,
        "count": hook.count,
        "created_by": _name(hook.created_by),
        "created_at": hook.created_at,
    }


def describe_made(made: Made, base: str) -> dict[str, Any]:
    """A hook with its token and address, and with the secret that was made for it. ``base`` is the site's address."""
    shown = describe_hook(made.hook)
    if made.token:
        shown |= {"token": made.token, "url": address_of(made.token, base)}
    return shown | ({"secret": made.secret} if made.secret else {})


def address_of(token: str, base: str) -> str:
    """Where to post to."""
    return f"{base.rstrip('/')}/hooks/{token}"


def _name(user: Any) -> str | None:
    return None if user is None else str(user.get_username())
