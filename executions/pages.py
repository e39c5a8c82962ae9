"""Pages of executions: one execution with its live parts, starting one, and what can be done to one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect

from dataflow.api.html import PageView, quoted
from dataflow.lib.errors import ApiProblem
from dataflow.lib.fields import dump_json
from executions import services
from executions.hidden import fillable, shown_inputs
from executions.models import Delivery, Execution
from executions.parts import Part, changed_since, etag_of, parts_of, poll_every, stamp_of
from executions.present import describe_execution, describe_items
from workflows.forms import RunForm, is_upload
from workflows.models import Workflow
from workflows.pages import pretty, shell_quoted, workflow_or_404


def execution_or_404(execution_id: str, workflow_id: str | None = None) -> Execution:
    """The execution with its workflow and version. Raises ``Http404``."""
    rows = Execution.objects.select_related("workflow", "version").filter(pk=execution_id)
    execution = (rows.filter(workflow=workflow_id) if workflow_id else rows).first()
    if execution is None:
        raise Http404(f"There is no execution {execution_id}.")
    return execution


class ExecutionPageView(PageView):
    """What the pages of executions share."""

    here = "executions"


class ExecutionPage(ExecutionPageView):
    """One execution: status, what went wrong, outputs, timeline, tasks, webhooks; live while it can change."""

    def get(self, request: HttpRequest, workflow_id: str, execution_id: str) -> HttpResponse:
        """The whole page."""
        stamp = stamp_of(execution_id) or ""
        execution = execution_or_404(execution_id, workflow_id)
        described = describe_execution(execution)
        parts = parts_of(execution, described)
        context = {
            "execution": execution,
            "workflow": execution.workflow,
            "inputs": described["inputs"],
            "status_part": parts[0],
            "outputs_part": parts[1],
            "timeline_part": parts[2],
            "task_parts": parts[3:-2],
            "usage_part": parts[-2],
            "deliveries_part": parts[-1],
            "call": start_call(request, execution),
        }
        return self.render("executions/execution.html", context | live_context(execution, stamp, parts))


class ExecutionFragment(ExecutionPageView):
    """What changed of an execution's page since the state that the page names in ``If-None-Match``."""

    def get(self, request: HttpRequest, execution_id: str) -> HttpResponseBase:
        """304 when nothing changed."""
        stamp = stamp_of(execution_id)
        if stamp is None:
            raise Http404(f"There is no execution {execution_id}.")
        known = request.headers.get("If-None-Match", "").strip('"')
        if known.startswith(stamp):
            return self.fragment("executions/parts/live.html", {}, etag=known)
        # The stamp was taken first: what changes meanwhile is news again at the next poll.
        execution = execution_or_404(execution_id)
        parts = parts_of(execution, describe_execution(execution))
        context = live_context(execution, stamp, parts)
        context |= {"changed": changed_since(parts, known), "execution": execution}
        return self.fragment("executions/parts/live.html", context, etag=etag_of(stamp, parts))


class RunPage(ExecutionPageView):
    """The run form of a workflow; ``?from=`` an execution fills it in ("run again")."""

    here = "workflows"

    def get(self, request: HttpRequest, workflow_id: str) -> HttpResponse:
        """The form."""
        workflow = workflow_or_404(workflow_id)
        source = request.GET.get("from", "")
        before = execution_or_404(source, workflow_id) if source else None
        values = fillable(before, workflow.current().pk) if before else None
        form = RunForm(_inputs(workflow), values=values)
        return self._page(workflow, form, before=before)

    def post(self, request: HttpRequest, workflow_id: str) -> HttpResponse:
        """Start an execution and go to its page, or show the form again with what is wrong."""
        workflow = workflow_or_404(workflow_id)
        form = RunForm(_inputs(workflow), request.POST, request.FILES)
        if not form.is_valid():
            return self._page(workflow, form, status=400)
        try:
            execution = start(request, workflow, form)
        except ApiProblem as problem:
            form.show_problem(problem)
            return self._page(workflow, form, status=problem.status)
        return redirect(f"/workflows/{workflow.pk}/executions/{execution.pk}")

    def _page(
        self, workflow: Workflow, form: RunForm, *, before: Execution | None = None, status: int = 200
    ) -> HttpResponse:
        context = {"workflow": workflow, "form": form, "before": before}
        return self.render("workflows/run.html", context, status=status)


class CancelPage(ExecutionPageView):
    """Asks an execution to stop."""

    def post(self, request: HttpRequest, execution_id: str) -> HttpResponse:
        """Back to its page, which shows when it has stopped."""
        execution = execution_or_404(execution_id)
        reason = request.POST.get("reason", "").replace("\0", "").strip() or "Cancelled on its page."
        services.cancel_execution(execution=execution, reason=reason, user=request.user)
        return redirect(f"/workflows/{execution.workflow_id}/executions/{execution.pk}")


class RedeliverPage(ExecutionPageView):
    """Sends a webhook delivery again."""

    def post(self, request: HttpRequest, delivery_id: str) -> HttpResponse:
        """Back to the page of its execution."""
        delivery = Delivery.objects.select_related("execution").filter(pk=delivery_id).first()
        if delivery is None:
            raise Http404(f"There is no delivery {delivery_id}.")
        services.redeliver(delivery=delivery)
        messages.success(request, f"{delivery.type} is sent again.")
        execution = delivery.execution
        return redirect(f"/workflows/{execution.workflow_id}/executions/{execution.pk}#deliveries")


class ValuePage(ExecutionPageView):
    """The whole of one value as plain text: what a page cuts at 64 KiB."""

    def get(self, request: HttpRequest, execution_id: str) -> HttpResponse:
        """``?kind=inputs`` or ``outputs`` and ``?name=``, of ``?task=`` (or an item) or of the execution itself."""
        execution = execution_or_404(execution_id)
        kind, name, task = (request.GET.get(key, "") for key in ("kind", "name", "task"))
        described = _item(execution, task) if "[" in task else describe_execution(execution)
        if task and "[" not in task:
            described = next((found for found in described["tasks"] if found["name"] == task), {})
        values = described.get(kind) if kind in {"inputs", "outputs"} else None
        if not isinstance(values, Mapping) or name not in values:
            raise Http404("There is no such value.")
        value = values[name]
        text = value if isinstance(value, str) else pretty(value)
        return HttpResponse(
            text.encode(errors="replace"),
            content_type="text/plain; charset=utf-8",
            headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-store"},
        )


def stored_inputs(form: RunForm) -> dict[str, Any]:
    """The inputs of a run form, its files stored. Raises ``ApiProblem`` for one that is too large."""
    given = form.values()
    uploads = {name: services.save_upload(upload=value) for name, value in given.items() if is_upload(value)}
    return given | {name: {"file_id": stored.pk} for name, stored in uploads.items()}


def start(
    request: HttpRequest, workflow: Workflow, form: RunForm, inputs: Mapping[str, Any] | None = None
) -> Execution:
    """Start the execution of a run form; its inputs are stored first unless they were. Raises ``ApiProblem``."""
    webhook_url = form.cleaned_data["webhook_url"]
    return services.start_execution(
        workflow=workflow,
        inputs=stored_inputs(form) if inputs is None else dict(inputs),
        monitoring={"webhook_url": webhook_url} if webhook_url else None,
        openai_key=form.cleaned_data["openai_key"] or None,
        user=request.user,
        trigger="page",
    )


def start_call(request: HttpRequest, execution: Execution) -> str:
    """The curl calls that start such an execution and read this one."""
    base = request.build_absolute_uri(f"/workflows/{execution.workflow_id}/executions")
    given = {name: value for name, value in shown_inputs(execution).items() if value is not None}
    body = dump_json({"inputs": given})
    shown = body if len(body) <= 4096 else '{"inputs": …}'
    start_it = f"curl -X POST {base} \\\n  -H 'Content-Type: application/json' \\\n  -d {shell_quoted(shown)}"
    return f"{start_it}\n\ncurl {base}/{execution.pk}"


def live_context(execution: Execution, stamp: str, parts: list[Part]) -> dict[str, Any]:
    """What the polling element of an execution's page needs."""
    etag = etag_of(stamp, parts)
    headers = dump_json({"If-None-Match": quoted(etag)})
    return {"etag": etag, "poll_headers": headers, "every": poll_every(execution, parts)}


def _item(execution: Execution, name: str) -> Mapping[str, Any]:
    """An item of a list as it is described; nothing for one that is not known."""
    runs = execution.task_runs.filter(item__isnull=False, name=name.replace("\0", ""))
    return next(iter(describe_items(execution, list(runs))), {})


def _inputs(workflow: Workflow) -> list[dict[str, Any]]:
    inputs: list[dict[str, Any]] = workflow.current().definition.get("inputs", [])
    return inputs
