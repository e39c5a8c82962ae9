"""What the requests of the verbs hold, read and checked. Every function raises ``ApiProblem`` 400 with all problems."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from django.utils.dateparse import parse_datetime

from dataflow.lib.errors import ApiProblem, Problem, invalid
from executions.bulk import MAX_MANY, Filter, Place
from executions.engine.state import ExecutionStatus
from executions.start_body import object_with
from executions.start_options import check_options
from executions.verbs import LATEST, Rerun
from workflows.definition.monitoring import check_labels, check_monitoring
from workflows.definition.problems import Report, at, kind, nearest, shown

_RERUN = ("workflow_version", "inputs", "from_task", "labels", "monitoring", "priority")
_FILTER = ("status", "created_after", "created_before", "workflow", "label")
_STATUSES = tuple(status.value for status in ExecutionStatus)
MAX_REASON = 500
_LONGEST_ID = 40
_LONGEST_CURSOR = 400

First = TypeVar("First")
Second = TypeVar("Second")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which executions a bulk request means: by ids, or by a filter, there from ``after`` a place on."""

    ids: Sequence[str] = ()
    filter: Filter | None = None
    after: Place | None = None
    dry_run: bool = False


def nothing(data: Any) -> None:
    """A request that says all by its address: no body, or an empty object."""
    if data:
        detail = "This request takes no body, or an empty object."
        raise invalid(detail, [Problem(pointer="", code="unknown_field", detail=detail)])


def reason_of(body: Mapping[str, Any]) -> str:
    """``reason``, empty where there is none."""
    reason = body.get("reason", "")
    if not isinstance(reason, str) or len(reason) > MAX_REASON:
        detail = f"`reason` is a text of at most {MAX_REASON} characters."
        raise invalid(detail, [Problem(pointer="/reason", code="wrong_type", detail=detail)])
    return reason


def decision_of(data: Any) -> tuple[Any, str]:
    """``values`` (checked later, against the form) and ``comment`` of an approval."""
    body = object_with(data, ("values", "comment"))
    comment = body.get("comment", "")
    if not isinstance(comment, str):
        detail = f"`comment` must be text, not {kind(comment)}."
        raise invalid(detail, [Problem(pointer="/comment", code="wrong_type", detail=detail)])
    return body.get("values"), comment


def rerun_of(data: Any, *, many: bool = False) -> Rerun:
    """What a rerun changes. Inputs, labels and monitoring are checked where every execution starts.

    For ``many`` the last two are checked here: what is wrong for each is refused before any of them starts.
    """
    body, report = object_with(data, _RERUN), Report()
    changes = Rerun(
        version=_version(body.get("workflow_version"), report),
        inputs=_object(body.get("inputs"), "inputs", report),
        from_task=_text(body.get("from_task"), "/from_task", report) or None,
        labels=body.get("labels"),
        monitoring=body.get("monitoring"),
        priority=body.get("priority"),
    )
    report.extend(check_options(priority=changes.priority)[1])
    if many and changes.labels is not None:
        report.extend(check_labels(changes.labels, "/labels"))
    if many and changes.monitoring is not None:
        report.extend(check_monitoring(changes.monitoring, "/monitoring"))
    _refuse(report)
    return changes


def both(first: Callable[[], First], second: Callable[[], Second]) -> tuple[First, Second]:
    """What two readers of one request give. Raises the problems of both together."""
    try:
        found = first()
    except ApiProblem as problem:
        report = Report()
        report.extend(problem.errors)
        try:
            second()
        except ApiProblem as another:
            report.extend(another.errors)
        raise invalid(problem.detail, report.problems) from problem
    return found, second()


def selection_of(body: Mapping[str, Any], *, everywhere: bool) -> Selection:
    """``ids`` or ``filter``, exactly one. ``everywhere``: an empty filter would mean every execution there is."""
    report = Report()
    ids, wanted = body.get("ids"), body.get("filter")
    dry_run = body.get("dry_run", False)
    if not isinstance(dry_run, bool):
        report.problem("/dry_run", "wrong_type", f"`dry_run` must be true or false, not {kind(dry_run)}.")
    if (ids is None) == (wanted is None):
        report.problem("", "required", "Give exactly one of `ids` and `filter`.")
    elif ids is not None:
        _check_ids(ids, report)
    found = _filter(wanted, report, everywhere=everywhere) if ids is None and wanted is not None else None
    after = _place(body.get("cursor"), report, by_filter=ids is None)
    _refuse(report)
    return Selection(ids=ids or (), filter=found, after=after, dry_run=dry_run)


def _place(value: Any, report: Report, *, by_filter: bool) -> Place | None:
    if value is None:
        return None
    if not by_filter:
        report.problem("/cursor", "conflicting", "`cursor` goes with `filter`: of `ids`, each is done.")
        return None
    try:
        return Place.read(value if isinstance(value, str) and len(value) <= _LONGEST_CURSOR else "")
    except ValueError:
        detail = "`cursor` is not one that such a request gave as `next_cursor`."
        report.problem("/cursor", "wrong_type" if not isinstance(value, str) else "invalid_parameter", detail)
        return None


def _check_ids(ids: Any, report: Report) -> None:
    if not isinstance(ids, list):
        report.problem("/ids", "wrong_type", f"`ids` must be a list, not {kind(ids)}.")
        return
    if not 1 <= len(ids) <= MAX_MANY:
        report.problem("/ids", "too_many" if ids else "too_short", f"`ids` has 1 to {MAX_MANY} ids, not {len(ids)}.")
        return
    for index, key in enumerate(ids):
        if not isinstance(key, str) or not 1 <= len(key) <= _LONGEST_ID:
            report.problem(at("/ids", index), "wrong_type", "An id is a text such as `we-…`.")


def _filter(wanted: Any, report: Report, *, everywhere: bool) -> Filter | None:
    if not isinstance(wanted, dict):
        report.problem("/filter", "wrong_type", f"`filter` must be an object, not {kind(wanted)}.")
        return None
    before = len(report.problems)
    for name in [name for name in wanted if name not in _FILTER][:20]:
        hint = nearest(name, _FILTER) or f"A filter has {', '.join(_FILTER)}."
        report.problem(at("/filter", name), "unknown_field", f"A filter has no field {shown(name)}.", hint)
    found = Filter(
        statuses=_statuses(wanted.get("status"), report),
        created_after=_moment(wanted.get("created_after"), "/filter/created_after", report),
        created_before=_moment(wanted.get("created_before"), "/filter/created_before", report),
        workflow=_workflow(wanted.get("workflow"), report),
        label=_label(wanted.get("label"), report),
    )
    # By what was understood, not by what was sent: a field of null restricts nothing.
    if everywhere and found == Filter() and len(report.problems) == before:
        detail = "An empty filter would mean every execution there is. Say which: by status, time, workflow or label."
        report.problem("/filter", "required", detail)
    return found


def _statuses(value: Any, report: Report) -> tuple[str, ...]:
    given = [value] if isinstance(value, str) else ([] if value is None else value)
    if not isinstance(given, list):
        report.problem("/filter/status", "wrong_type", f"`status` must be a list, not {kind(value)}.")
        return ()
    if not given and value is not None:
        hint = "Leave it out to mean all that can be acted on."
        report.problem("/filter/status", "too_short", "`status` names at least one status.", hint)
    for index, status in enumerate(given):
        if status not in _STATUSES:
            hint = f"One of {', '.join(_STATUSES)}."
            place = at("/filter/status", index) if isinstance(value, list) else "/filter/status"
            report.problem(place, "not_in_enum", f"There is no status {shown(status)}.", hint)
    return tuple(status for status in given if isinstance(status, str))


def _moment(value: Any, pointer: str, report: Report) -> datetime | None:
    if value is None:
        return None
    try:
        moment = parse_datetime(value) if isinstance(value, str) else None
        # Times at the very ends of the calendar have no equal in UTC.
        moment = moment.astimezone(UTC) if moment is not None and moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        report.problem(pointer, "wrong_type", "It must be a time with its zone, such as 2026-11-23T08:00:00Z.")
    return moment


def _label(value: Any, report: Report) -> tuple[str, str] | None:
    """``key:value``, as in the query of a list."""
    if value is None:
        return None
    key, colon, text = value.partition(":") if isinstance(value, str) else ("", "", "")
    if not key or not colon:
        report.problem("/filter/label", "wrong_type", "`label` is a text: the key, a colon, and the value.")
        return None
    return key, text


def _workflow(value: Any, report: Report) -> str:
    if value == "":
        detail = "`workflow` is the id of a workflow, not an empty text."
        report.problem("/filter/workflow", "too_short", detail, "Leave it out to mean any workflow.")
    return _text(value, "/filter/workflow", report)


def _version(value: Any, report: Report) -> int | str | None:
    if value is None or value == LATEST:
        return LATEST if value == LATEST else None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 10**9:
        detail = "`workflow_version` is the number of a version, or `latest`."
        report.problem("/workflow_version", "wrong_type", detail)
        return None
    return value


def _object(value: Any, name: str, report: Report) -> Mapping[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        report.problem(f"/{name}", "wrong_type", f"`{name}` must be an object, not {kind(value)}.")
        return None
    return value


def _text(value: Any, pointer: str, report: Report) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 200 or "\0" in value:
        report.problem(pointer, "wrong_type", f"It must be a text of at most 200 characters, not {kind(value)}.")
        return ""
    return value


def _refuse(report: Report) -> None:
    if report.problems:
        raise invalid("The request is not valid: nothing was done.", report.problems)
