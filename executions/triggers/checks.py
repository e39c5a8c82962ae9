"""What a request says of a schedule or a hook, checked: everything that is wrong is reported together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dataflow.lib.errors import ApiProblem, conflict, invalid
from executions.definitions import DefinitionBroken, definition_of
from executions.trigger_models import Missed, SignatureKind
from executions.triggers import mapping
from executions.triggers.timing import MAX_MINUTES, Timing, TimingProblem, simulation, zone_names, zone_of
from workflows.definition import Definition, check_inputs, check_labels
from workflows.definition.problems import Report, at, kind, nearest, shown
from workflows.models import Workflow

SCHEDULE_FIELDS = ("cron", "timezone", "every_minutes", "inputs", "labels", "missed", "enabled")
HOOK_FIELDS = ("name", "inputs", "signature", "secret", "enabled")
MAX_NAME = 100
MAX_SECRET = 512
MIN_SECRET = 8
#: Whether an expression can be read does not depend on when.
_ANY_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
_CRON_HINT = "Such as `0 8 * * MON-FRI`: minute, hour, day of month, month, weekday."
_ZONE_HINT = "Give an IANA name such as `Europe/Berlin`, or leave it out for UTC."


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSettings:
    """What a user says of a schedule."""

    timing: Timing
    inputs: Mapping[str, Any]
    labels: Mapping[str, str]
    missed: str
    enabled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HookSettings:
    """What a user says of a hook. ``secret`` is None when nothing was said of it."""

    name: str
    inputs: Mapping[str, Any] | None
    signature: str
    secret: str | None
    enabled: bool


def checked_schedule(document: Any, workflow: Workflow, *, with_inputs: bool = True) -> ScheduleSettings:
    """The settings in a document. Raises ``ApiProblem`` 400 with all that is wrong.

    ``with_inputs`` holds the inputs to the workflow's current definition. A schedule can be paused, or given another
    time, also when its inputs do not fit any more.
    """
    report = Report()
    given = _object(document, SCHEDULE_FIELDS, report)
    settings = ScheduleSettings(
        timing=_timing(given, report),
        inputs=given.get("inputs", {}),
        labels=given.get("labels", {}),
        missed=_choice(given, "missed", Missed.values, Missed.SKIP, report),
        enabled=_flag(given, "enabled", report),
    )
    if with_inputs:
        report.extend(check_inputs(current_definition(workflow), settings.inputs)[1])
    report.extend(check_labels(settings.labels, "/labels"))
    _refuse(report, "The schedule is not valid.")
    return settings


def checked_hook(document: Any, workflow: Workflow, *, with_inputs: bool = True) -> HookSettings:
    """The settings in a document. Raises ``ApiProblem`` 400 with all that is wrong; see ``checked_schedule``."""
    report = Report()
    given = _object(document, HOOK_FIELDS, report)
    settings = HookSettings(
        name=_name(given, report),
        inputs=given.get("inputs"),
        signature=_choice(given, "signature", [value for value in SignatureKind.values if value], "", report),
        secret=_secret(given, report),
        enabled=_flag(given, "enabled", report),
    )
    if settings.secret is not None and not settings.signature and not report.problems:
        hint = 'Say how requests are signed: `"signature": "standard"` or `"github"`.'
        report.problem("/secret", "conflicting", "`secret` goes with `signature`.", hint)
    if with_inputs and settings.inputs is not None:
        mapping.check(settings.inputs, current_definition(workflow), "/inputs", report)
    _refuse(report, "The hook is not valid.")
    return settings


def current_definition(workflow: Workflow) -> Definition:
    """The definition that new executions use. Raises ``ApiProblem`` 409 when it cannot run here."""
    try:
        return definition_of(workflow.current().pk)
    except DefinitionBroken as broken:
        raise conflict(str(broken), code="cannot_run_here") from broken


def refuse_archived(workflow: Workflow) -> None:
    """Raise ``ApiProblem`` 409 for a workflow that was put away."""
    if workflow.archived_at is not None:
        raise conflict(f"Workflow {workflow.pk} is archived and cannot be executed.", code="archived")


def _refuse(report: Report, detail: str) -> None:
    if report.problems:
        raise invalid(detail, report.problems)


def _object(document: Any, known: tuple[str, ...], report: Report) -> Mapping[str, Any]:
    """The fields that are given; null is as good as nothing."""
    if not isinstance(document, Mapping):
        raise _not_an_object(document, known)
    for name in document:
        if name not in known:
            hint = report.nearest(name, known) or f"There are {', '.join(known)}."
            report.problem(at("", name), "unknown_field", f"There is no field {shown(name)} here.", hint)
    return {name: value for name, value in document.items() if value is not None}


def _not_an_object(document: Any, known: tuple[str, ...]) -> ApiProblem:
    report = Report()
    names = ", ".join(f"`{name}`" for name in known)
    report.problem("", "wrong_type", f"The body must be a JSON object with {names}, not {kind(document)}.")
    return invalid(report.problems[0].detail, report.problems)


def _timing(given: Mapping[str, Any], report: Report) -> Timing:
    if ("cron" in given) == ("every_minutes" in given):
        detail = "Give either `cron` or `every_minutes`, not both." if "cron" in given else "A schedule needs a time."
        hint = "" if "cron" in given else f"Give `cron` ({_CRON_HINT[:-1]}) or `every_minutes`."
        report.problem("/cron", "conflicting" if "cron" in given else "required", detail, hint)
    zone = _zone(given, report)
    if "every_minutes" in given:
        return Timing(every_minutes=_minutes(given["every_minutes"], report), timezone="")
    return Timing(cron=_cron(given["cron"], report) if "cron" in given else "", timezone=zone)


def _minutes(value: Any, report: Report) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_MINUTES:
        detail = f"`every_minutes` is a whole number from 1 to {MAX_MINUTES} (31 days)."
        report.problem("/every_minutes", "out_of_range" if type(value) is int else "wrong_type", detail)
        return 1
    return value


def _zone(given: Mapping[str, Any], report: Report) -> str:
    name = given.get("timezone", "UTC")
    if not isinstance(name, str):
        report.problem("/timezone", "wrong_type", f"`timezone` is text, not {kind(name)}.", _ZONE_HINT)
        return "UTC"
    if "timezone" in given and "every_minutes" in given:
        report.problem("/timezone", "conflicting", "`timezone` goes with `cron`; minutes are the same everywhere.")
    try:
        zone_of(name)
    except TimingProblem:
        hint = nearest(name, zone_names()) or _ZONE_HINT
        report.problem("/timezone", "unknown_timezone", f"There is no time zone {shown(name)}.", hint)
        return "UTC"
    return name


def _cron(value: Any, report: Report) -> str:
    if not isinstance(value, str):
        report.problem("/cron", "wrong_type", f"`cron` is text, not {kind(value)}.", _CRON_HINT)
        return ""
    try:
        simulation(value, _ANY_MOMENT)
    except TimingProblem as problem:
        report.problem("/cron", "invalid_cron", str(problem), _CRON_HINT)
        return ""
    return " ".join(value.split())


def _name(given: Mapping[str, Any], report: Report) -> str:
    name = given.get("name", "Webhook")
    if not isinstance(name, str):
        report.problem("/name", "wrong_type", f"`name` is text, not {kind(name)}.")
    elif not 1 <= len(name.strip()) <= MAX_NAME or not name.isprintable():
        report.problem(
            "/name", "too_long" if name.strip() else "too_short", f"`name` is one line of 1 to {MAX_NAME} characters."
        )
    return name.strip() if isinstance(name, str) else ""


def _secret(given: Mapping[str, Any], report: Report) -> str | None:
    secret = given.get("secret")
    if secret is None:
        return None
    if not isinstance(secret, str):
        report.problem("/secret", "wrong_type", f"`secret` is text, not {kind(secret)}.")
    elif not MIN_SECRET <= len(secret) <= MAX_SECRET:
        detail = f"`secret` has {MIN_SECRET} to {MAX_SECRET} characters."
        hint = "Leave it out to have one made for you."
        report.problem("/secret", "too_short" if len(secret) < MIN_SECRET else "too_long", detail, hint)
    return str(secret)


def _choice(given: Mapping[str, Any], name: str, known: list[str], default: str, report: Report) -> str:
    value = given.get(name, default)
    if name in given and value not in known:
        hint = report.nearest(value, known)
        words = " or ".join(f"`{one}`" for one in known)
        report.problem(at("", name), "not_in_enum", f"`{name}` is {words}, not {shown(value)}.", hint)
        return default
    return str(value)


def _flag(given: Mapping[str, Any], name: str, report: Report) -> bool:
    value = given.get(name, True)
    if not isinstance(value, bool):
        report.problem(at("", name), "wrong_type", f"`{name}` is true or false, not {kind(value)}.")
    return value is True
