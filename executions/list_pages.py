"""The list of executions: what its address asks for, as the API reads it, and a form that makes such addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from django.http import HttpRequest, QueryDict
from django.http.response import HttpResponseBase

from dataflow.api.html import digest, list_page
from dataflow.api.queries import choices_parameter, time_parameter
from dataflow.lib.errors import ApiProblem
from executions.engine.state import ExecutionStatus
from executions.filters import MAX_LABELS, filtered
from executions.models import Execution
from executions.pages import ExecutionPageView
from workflows.models import Workflow
from workflows.pages import workflow_or_404

STATUSES = tuple(status.value for status in ExecutionStatus)
#: Workflows to choose from.
_WORKFLOWS = 200
_TIMES = ("created_after", "created_before")
#: What a field for a time sends: no zone. The form says that it is UTC.
_WITHOUT_ZONE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?")
#: What the form has no field for, in words.
_OTHERS = {"trigger": "started by", "trigger_ref": "started by the one with id", "parent": "part of"}
#: What does not choose among executions.
_OF_THE_PAGE = frozenset({"cursor", "limit"})


class ExecutionListPage(ExecutionPageView):
    """Executions, of all workflows or of one, newest first. The first page renews itself."""

    def get(self, request: HttpRequest, workflow_id: str = "") -> HttpResponseBase:
        """Every filter is in the address, as the API takes it; one that cannot be read is said above the form."""
        query = asked_for(request.GET)
        context = self.form_context(query, workflow_id)
        context["workflows"] = list(Workflow.objects.live().order_by("title", "pk").only("id", "title")[:_WORKFLOWS])
        try:
            context |= self.list_context(query, context["workflow"])
        except ApiProblem as problem:
            return self.render("executions/list.html", context | {"problem": problem}, status=problem.status)
        return self.render("executions/list.html", context)

    def form_context(self, query: QueryDict, workflow_id: str) -> dict[str, Any]:
        """What stands above the table. Raises ``Http404`` for an unknown workflow."""
        chosen = workflow_id or query.get("workflow", "")
        workflow = workflow_or_404(chosen) if chosen and "\0" not in chosen else None
        return {
            "search": query.get("search", ""),
            "limit": query.get("limit", ""),
            "asked": query.urlencode(),
            "workflow": workflow,
            "fixed": bool(workflow_id),
            "address": f"/workflows/{workflow_id}/executions" if workflow_id else "/executions",
            "filters": {name for name in query if name not in _OF_THE_PAGE},
            "statuses": list(_pills(query)),
            "status": _statuses(query),
            "labels": [*query.getlist("label")[:MAX_LABELS], ""][:MAX_LABELS],
            "times": {name: _field_time(query, name) for name in _TIMES},
            "others": [
                {"name": name, "words": words, "value": query[name], "without": _changed(query, name).urlencode()}
                for name, words in _OTHERS.items()
                if name in query
            ],
        }

    def list_context(self, query: QueryDict, workflow: Workflow | None) -> dict[str, Any]:
        """What the table shows, with the entity tag of it. Raises ``ApiProblem`` 400 for what cannot be read."""
        rows = filtered(query, Execution.objects.for_list())
        page = list_page(rows.filter(workflow=workflow) if workflow else rows, query)
        facts = [[row.pk, row.status, str(row.completed_at)] for row in page.rows]
        every = 0 if page.first_query else 1 if any(_alive(row) for row in page.rows) else 3
        return {"page": page, "every": every, "etag": digest([facts, page.next_query])}


class ExecutionListFragment(ExecutionListPage):
    """The table of the list alone, for its page to renew itself."""

    def get(self, request: HttpRequest, workflow_id: str = "") -> HttpResponseBase:
        """304 when nothing changed."""
        query = asked_for(request.GET)
        context = self.form_context(query, workflow_id)
        context |= self.list_context(query, context["workflow"])
        return self.fragment("executions/parts/list.html", context, etag=context["etag"])


def asked_for(given: QueryDict) -> QueryDict:
    """The query as the API takes it: nothing empty, times with their zone, ``workflow_id`` of old links by its name."""
    query = QueryDict(mutable=True)
    for name, values in given.lists():
        if kept := [_with_zone(name, value) for value in values if value]:
            query.setlist(name, kept)
    for value in query.pop("workflow_id", []):
        query.setdefault("workflow", value)
    return query


def _with_zone(name: str, value: str) -> str:
    return f"{value}Z" if name in _TIMES and _WITHOUT_ZONE.fullmatch(value) else value


def _changed(query: QueryDict, name: str, value: str = "") -> QueryDict:
    """The query with another value of one parameter, or without it, from the newest on."""
    changed = query.copy()
    for one in (name, "cursor"):
        changed.pop(one, None)
    if value:
        changed[name] = value
    return changed


def _pills(query: QueryDict) -> Iterator[Mapping[str, Any]]:
    chosen = _statuses(query)
    yield {"name": "All", "query": _changed(query, "status").urlencode(), "chosen": not chosen}
    for name in STATUSES:
        yield {"name": name, "query": _changed(query, "status", name).urlencode(), "chosen": name in chosen}


def _statuses(query: QueryDict) -> list[str]:
    """The statuses that are asked for; none where they cannot be read, which ``filtered`` tells."""
    try:
        return choices_parameter(query, "status", STATUSES)
    except ApiProblem:
        return []


def _field_time(query: QueryDict, name: str) -> str:
    """A time as a field of a form takes it, in UTC; empty where it cannot be read."""
    try:
        moment = time_parameter(query, name)
    except ApiProblem:
        return ""
    if moment is None:
        return ""
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds" if moment.microsecond else "seconds")


def _alive(row: Execution) -> bool:
    return not ExecutionStatus(row.status).ended
