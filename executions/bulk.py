"""One verb for many executions, chosen by their ids or by a filter: best effort, each for itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import InterfaceError, OperationalError
from django.db.models import Q

from dataflow.api.pagination import is_key, moment_of, read_cursor, write_cursor
from dataflow.lib.errors import ApiProblem, broken, not_found, unavailable
from executions.database import database_now
from executions.engine.state import ExecutionStatus
from executions.filters import HasLabel
from executions.models import ALIVE, Execution, ExecutionQuerySet
from workflows.models import Workflow

logger = logging.getLogger(__name__)

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
class Place:
    """How far requests by one filter got: past the execution ``key``, created at ``created_at``.

    Oldest first: a parent is cancelled before the child it waits for, not failed by it. What was created from
    ``before`` on, when the first of the requests came, is not reached: a rerun would start what it started itself.
    """

    created_at: datetime
    key: str
    before: datetime

    @classmethod
    def read(cls, cursor: str) -> Place:
        """The place that ``cursor`` told. Raises ``ValueError``."""
        created_at, key, before = read_cursor(cursor, parts=3)
        if not is_key(key):
            raise ValueError(key)
        return cls(created_at=moment_of(created_at), key=key, before=moment_of(before))

    def cursor(self) -> str:
        """An opaque text for the next request."""
        return write_cursor(self.created_at.isoformat(), self.key, self.before.isoformat())

    def following(self) -> Q:
        """What comes after it. The first half alone is what an index can be entered by."""
        after = Q(created_at__gt=self.created_at) | Q(pk__gt=self.key)
        return Q(created_at__gte=self.created_at, created_at__lt=self.before) & after


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The ids to act on, oldest first, how many more the filter matches, and where those begin."""

    ids: Sequence[str]
    remaining: int = 0
    place: Place | None = None


@dataclass(slots=True, kw_only=True)
class Results:
    """What became of each. ``started`` has the new id by the old one, for ``rerun``."""

    succeeded: list[str] = field(default_factory=list)
    failed: dict[str, ApiProblem] = field(default_factory=dict)
    started: dict[str, str] = field(default_factory=dict)


#: Does a verb to one execution; a rerun gives the new one.
Act = Callable[[Execution], Execution]


def chosen_by_filter(wanted: Filter, *, verb: str, workflow: Workflow | None, after: Place | None = None) -> Chosen:
    """The first executions (after a place) that a filter matches, of one workflow or of all."""
    rows = _matching(wanted, verb)
    rows = rows if workflow is None else rows.filter(workflow=workflow)
    rows = rows if after is None else rows.filter(after.following())
    # The order of the lists, backwards: their indexes know it.
    found = list(rows.order_by("created_at", "id").values_list("created_at", "pk")[: MAX_MANY + 1])
    ids = [key for _, key in found[:MAX_MANY]]
    if len(found) <= MAX_MANY:
        return Chosen(ids=ids)
    created_at, key = found[MAX_MANY - 1]
    place = Place(created_at=created_at, key=key, before=database_now() if after is None else after.before)
    return Chosen(ids=ids, remaining=rows.filter(place.following()).count(), place=place)


def existing(ids: Sequence[str], *, workflow: Workflow | None) -> int:
    """How many executions have one of these ids, of one workflow or of all."""
    rows = Execution.objects.filter(pk__in=set(ids))
    return (rows if workflow is None else rows.filter(workflow=workflow)).count()


def act_on_each(ids: Sequence[str], act: Act, *, workflow: Workflow | None) -> Results:
    """Do ``act`` to each execution; what one refuses does not touch the others.

    Where the database goes away in between, what was done is told all the same. Raises its error where nothing was.
    """
    results, left = Results(), list(dict.fromkeys(ids))
    rows: Any = Execution.objects.select_related("workflow", "version")
    rows = rows if workflow is None else rows.filter(workflow=workflow)
    while left:
        key = left.pop(0)
        try:
            done = act(rows.get(pk=key))
        except Execution.DoesNotExist:
            results.failed[key] = not_found("execution", key)
        except ApiProblem as problem:
            results.failed[key] = problem
        except (OperationalError, InterfaceError) as error:
            if not results.succeeded:
                raise
            logger.warning("The database did not answer at execution %s: %s", key, str(error).strip())
            results.failed[key] = unavailable(_UNKNOWN, retry_after=5)
            results.failed.update(dict.fromkeys(left, unavailable(_NOT_TRIED, retry_after=5)))
            break
        except Exception:  # what is wrong with one is told of it, and the others are done all the same
            logger.exception("Execution %s could not be acted on.", key)
            results.failed[key] = broken(_BROKEN)
        else:
            results.succeeded.append(key)
            if done.pk != key:
                results.started[key] = done.pk
    return results


_BROKEN = "Something went wrong on our side with this execution; it was logged."
_UNKNOWN = "The database did not answer. Look whether it was done before you send it again."
_NOT_TRIED = "It was not tried: the database did not answer. Send it again."


def _matching(wanted: Filter, verb: str) -> ExecutionQuerySet:
    rows: ExecutionQuerySet = Execution.objects.all()
    if statuses := wanted.statuses or ELIGIBLE[verb]:
        rows = rows.filter(status__in=statuses)
    if verb == "resume":
        # As `waiting.actions` has it: the parent is resumed, and starts that part anew.
        rows = rows.filter(parent__isnull=True)
    if wanted.created_after is not None:
        rows = rows.filter(created_at__gt=wanted.created_after)
    if wanted.created_before is not None:
        rows = rows.filter(created_at__lt=wanted.created_before)
    if wanted.workflow:
        rows = rows.filter(workflow_id=wanted.workflow)
    return rows if wanted.label is None else rows.filter(HasLabel(*wanted.label))
