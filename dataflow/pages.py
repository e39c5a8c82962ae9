"""The overview."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.templatetags.static import static

from dataflow.api.html import PageView, digest
from executions.database import database_now
from executions.engine.state import ExecutionStatus
from executions.models import ALIVE, Execution, Worker
from executions.waiting import WORKER_SILENCE
from workflows.models import Workflow

#: "Today" for a reader in any zone: the last 24 hours.
_RECENT = timedelta(hours=24)
_SHOWN = 8
#: Tries of a worker that are told one by one.
_NAMED = 10


class HomePage(PageView):
    """What runs now, what failed lately, and who works."""

    here = "overview"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """The whole page; with nothing run yet, the workflows to try."""
        context = overview()
        if not context["latest"]:
            context["examples"] = list(Workflow.objects.live()[:3])
        return self.render("overview.html", context)


class HomeFragment(PageView):
    """The figures and lists of the overview alone, for it to renew itself."""

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """304 when nothing changed."""
        context = overview()
        return self.fragment("parts/overview.html", context, etag=context["etag"])


def favicon(_request: HttpRequest) -> HttpResponse:
    """Pages that name no icon of their own (the admin) make browsers ask here."""
    return redirect(static("icon.svg"), permanent=True)


def overview() -> dict[str, Any]:
    """What the overview shows, with its entity tag."""
    now = database_now()
    # A whole minute, which an address can say: the lists behind the figures show what these count.
    since = (now - _RECENT).replace(second=0, microsecond=0)
    rows = Execution.objects.for_list()
    running, latest = list(rows.alive()[:_SHOWN]), list(rows[:_SHOWN])
    failed = list(rows.filter(status=ExecutionStatus.FAILED, created_at__gt=since)[:_SHOWN])
    workers = [_described(worker, now) for worker in Worker.objects.all()]
    figures = {
        "alive": Execution.objects.alive().count(),
        "completed": Execution.objects.filter(status=ExecutionStatus.COMPLETED, created_at__gt=since).count(),
        "failed": Execution.objects.filter(status=ExecutionStatus.FAILED, created_at__gt=since).count(),
        "workers": sum(worker["live"] for worker in workers),
    }
    facts = [[row.pk, row.status] for row in (*running, *failed, *latest)]
    at_work = [[entry["worker"].pk, entry["worker"].heartbeat_at, entry["live"]] for entry in workers]
    lists = {"running": running, "failed": failed, "latest": latest, "workers": workers, "figures": figures}
    lists |= {"since": f"{since:%Y-%m-%dT%H:%MZ}", "alive": ",".join(ALIVE)}
    return lists | {"etag": digest([facts, figures, at_work])}


def _described(worker: Worker, now: datetime) -> Mapping[str, Any]:
    live = worker.heartbeat_at >= now - WORKER_SILENCE
    named = [one for one in worker.doing if one.get("execution")][:_NAMED]
    return {"worker": worker, "live": live, "doing": named, "more": max(0, worker.busy - len(named))}
