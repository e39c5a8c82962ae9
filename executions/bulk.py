"""One verb for many executions, chosen by their ids or by a filter: best effort, each for itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dataflow.lib.errors import ApiProblem, not_found
from executions.engine.state import ExecutionStatus
from executions.filters import HasLabel
from executions.models import ALIVE, Execution, ExecutionQuerySet
from workflows.models import Workflow

#: Executions of one request.
MAX_MANY = 1000
#: What a verb can do something to: a filter that names no statuses means these. ``rerun`` takes any.
ELIGIBLE = {"cancel": ALIVE, "resume": (ExecutionStatus.FAILED, ExecutionStatus.CANCELLED), "rerun": ()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which executions are meant; what is empty or ``None`` does not restrict. ``label`` is a key and its value."""

    statuses: Sequence[str] = ()
    created_after: datetime | None = None
    created_before: datetime | None = None
    workflow: str = ""
    label: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The ids to act on, oldest first, and how many more the filter matches."""

    ids: Sequence[str]
    remaining: int = 0


@dataclass(slots=True, kw_only=True)
class Results:
    """What became of each. ``started`` has the new id by the old one, for ``rerun``."""

    succeeded: list[str] = field(default_factory=list)
    failed: dict[str, ApiProblem] = field(default_factory=dict)
    started: dict[str, str] = field(default_factory=dict)


#: Does a verb to one execution; a rerun gives the new one.
Act = Callable[[Execution], Execution]


def chosen_by_filter(wanted: Filter, *, verb: str, workflow: Workflow | None) -> Chosen:
    """The first executions that a filter matches, of one workflow or of all."""
    rows = _matching(wanted, ELIGIBLE[verb])
    rows = rows if workflow is None else rows.filter(workflow=workflow)
    count = rows.count()
    ids = list(rows.order_by("created_at", "id").values_list("pk", flat=True)[:MAX_MANY])
    return Chosen(ids=ids, remaining=max(0, count - len(ids)))


def act_on_each(ids: Sequence[str], act: Act, *, workflow: Workflow | None) -> Results:
    """Do ``act`` to each execution; what one refuses does not touch the others."""
    results = Results()
    rows: Any = Execution.objects.select_related("workflow", "version")
    rows = rows if workflow is None else rows.filter(workflow=workflow)
    for key in dict.fromkeys(ids):
        try:
            execution = rows.filter(pk=key).first()
            if execution is None:
                raise not_found("execution", key)
            done = act(execution)
        except ApiProblem as problem:
            results.failed[key] = problem
        else:
            results.succeeded.append(key)
            if done.pk != key:
                results.started[key] = done.pk
    return results


def _matching(wanted: Filter, eligible: Sequence[str]) -> ExecutionQuerySet:
    rows: ExecutionQuerySet = Execution.objects.all()
    if statuses := wanted.statuses or eligible:
        rows = rows.filter(status__in=statuses)
    if wanted.created_after is not None:
        rows = rows.filter(created_at__gt=wanted.created_after)
    if wanted.created_before is not None:
        rows = rows.filter(created_at__lt=wanted.created_before)
    if wanted.workflow:
        rows = rows.filter(workflow_id=wanted.workflow)
    return rows if wanted.label is None else rows.filter(HasLabel(*wanted.label))
