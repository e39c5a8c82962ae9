"""Pages of the items of a ``for_each`` task: a table of them, and one with all that is known of it."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from dataflow.api.queries import choices_parameter
from executions.engine.state import TaskStatus
from executions.models import Execution, TaskRun
from executions.pages import ExecutionPageView, execution_or_404
from executions.parts import item_part
from executions.present import describe_items
from executions.verb_pages import run_or_404

#: Rows of the table of items.
ITEMS_A_PAGE = 50
STATUSES = tuple(status.value for status in TaskStatus)


class ItemsPage(ExecutionPageView):
    """The items of a ``for_each`` task, 50 at a time."""

    def get(self, request: HttpRequest, execution_id: str, name: str) -> HttpResponse:
        """``?after=`` an item, ``?status=`` as the API takes it."""
        execution = execution_or_404(execution_id)
        task = run_or_404(execution, name)
        statuses = choices_parameter(request.GET, "status", STATUSES)
        rows = execution.task_runs.filter(item__isnull=False, position=task.position)
        rows = rows.filter(status__in=statuses) if statuses else rows
        after = request.GET.get("after", "")
        if after.isascii() and after.isdigit() and len(after) <= 9:
            rows = rows.filter(item__gt=int(after))
        found = list(rows.order_by("item").defer("inputs", "outputs", "log", "usage")[: ITEMS_A_PAGE + 1])
        context = {
            "rows": found[:ITEMS_A_PAGE],
            "last": found[ITEMS_A_PAGE - 1].item if len(found) > ITEMS_A_PAGE else None,
            "after": after,
            "status": ",".join(statuses),
            "chosen": statuses,
            "statuses": STATUSES,
        }
        return self.render("executions/items.html", _frame(execution, task) | context)


class ItemPage(ExecutionPageView):
    """One item: what was sent, what came back, its error, tries and log; live until it has ended."""

    def get(self, request: HttpRequest, execution_id: str, name: str, item: str) -> HttpResponse:
        """As it stands now."""
        execution = execution_or_404(execution_id)
        task = run_or_404(execution, name)
        begun = (task.items or {}).get("next", 0)
        context = {
            "before": int(item) - 1 if int(item) else None,
            "following": int(item) + 1 if int(item) + 1 < begun else None,
        }
        return self.render("executions/item.html", _frame(execution, task) | _shown(execution, task, item) | context)


class ItemFragment(ExecutionPageView):
    """What an item's page shows of it."""

    def get(self, request: HttpRequest, execution_id: str, name: str, item: str) -> HttpResponseBase:
        """304 when nothing changed."""
        execution = execution_or_404(execution_id)
        task = run_or_404(execution, name)
        context = _frame(execution, task) | _shown(execution, task, item)
        return self.fragment("executions/parts/item.html", context, etag=context["etag"])


def _shown(execution: Execution, task: TaskRun, item: str) -> dict[str, Any]:
    """What the page and its fragment show of an item. Raises ``Http404``."""
    run = execution.task_runs.filter(item=int(item), position=task.position).first()
    if run is None:
        raise Http404(f"There is no item {item} of {task.name} in execution {execution.pk}, or it has not started.")
    (described,) = describe_items(execution, [run])
    part = item_part(execution, described, run.waiting)
    return {"item": run.item, "part": part, "etag": part.digest, "is_live": not TaskStatus(run.status).ended}


def _frame(execution: Execution, task: TaskRun) -> dict[str, Any]:
    return {"execution": execution, "workflow": execution.workflow, "task": task}
