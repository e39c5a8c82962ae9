"""The pages of schedules and hooks, and the sections of a workflow's page that show them."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from dataflow.api.html import PageView
from dataflow.lib.errors import ApiProblem
from executions.triggers import hooks, schedules
from executions.triggers.forms import HookForm, ScheduleForm, example_inputs, hook_form, schedule_form
from executions.triggers.hooks import Made
from executions.triggers.present import address_of, next_runs
from workflows.models import Workflow, WorkflowVersion
from workflows.pages import shell_quoted, workflow_or_404

#: Next runs that a page shows.
_SHOWN_RUNS = 3


class TriggerPageView(PageView):
    """What these pages share."""

    here = "workflows"


class SchedulesPage(TriggerPageView):
    """The schedules of a workflow, with the form for another one."""

    def get(self, request: HttpRequest, workflow_id: str) -> HttpResponse:
        """All of them."""
        workflow = workflow_or_404(workflow_id)
        return self.render("executions/triggers/schedules.html", schedules_section(workflow))

    def post(self, request: HttpRequest, workflow_id: str) -> HttpResponse:
        """Make one, or show the form again with what is wrong."""
        workflow = workflow_or_404(workflow_id)
        form = schedule_form(workflow.current(), request.POST)
        status = 400
        if form.is_valid():
            try:
                schedules.create_schedule(workflow=workflow, document=form.document(), user=request.user)
            except ApiProblem as problem:
                form.show_problem(problem)
                status = problem.status
            else:
                messages.success(request, "The schedule is set.")
                return redirect(_back(workflow, "schedules"))
        return self.render("executions/triggers/schedules.html", schedules_section(workflow, form), status=status)


class ScheduleActionPage(TriggerPageView):
    """Pauses, resumes or deletes a schedule."""

    def post(self, request: HttpRequest, workflow_id: str, schedule_id: str, action: str) -> HttpResponse:
        """Back to the workflow's page."""
        workflow = workflow_or_404(workflow_id)
        schedule = schedules.get_schedule(workflow, schedule_id)
        if action == "delete":
            schedules.delete_schedule(schedule=schedule)
        else:
            schedules.patch_schedule(schedule=schedule, patch={"enabled": action == "resume"})
        done = {"delete": "deleted", "pause": "paused", "resume": "on again"}[action]
        messages.success(request, f"The schedule is {done}.")
        return redirect(_back(workflow, "schedules"))


class HooksPage(TriggerPageView):
    """The hooks of a workflow, with the form for another one."""

    def get(self, request: HttpRequest, workflow_id: str) -> HttpResponse:
        """All of them."""
        return self.render("executions/triggers/hooks.html", hooks_section(workflow_or_404(workflow_id)))

    def post(self, request: HttpRequest, workflow_id: str) -> HttpResponse:
        """Make one and show its address, this once; or show the form again with what is wrong."""
        workflow = workflow_or_404(workflow_id)
        form = hook_form(request.POST)
        status = 400
        if form.is_valid():
            try:
                made = hooks.create_hook(workflow=workflow, document=form.document(), user=request.user)
            except ApiProblem as problem:
                form.show_problem(problem)
                status = problem.status
            else:
                return _shown_once(self, workflow, made)
        return self.render("executions/triggers/hooks.html", hooks_section(workflow, form), status=status)


class HookActionPage(TriggerPageView):
    """Switches a hook on or off, gives it a new address, or deletes it."""

    def post(self, request: HttpRequest, workflow_id: str, hook_id: str, action: str) -> HttpResponse:
        """Back to the workflow's page; a new address is shown first, this once."""
        workflow = workflow_or_404(workflow_id)
        hook = hooks.get_hook(workflow, hook_id)
        if action == "rotate":
            return _shown_once(self, workflow, hooks.rotate_token(hook=hook))
        if action == "delete":
            hooks.delete_hook(hook=hook)
        else:
            hooks.patch_hook(hook=hook, patch={"enabled": action == "on"})
        done = {"delete": "deleted", "off": "switched off", "on": "switched on"}[action]
        messages.success(request, f"“{hook.name}” is {done}.")
        return redirect(_back(workflow, "hooks"))


def schedules_section(
    workflow: Workflow, form: ScheduleForm | None = None, *, version: WorkflowVersion | None = None
) -> dict[str, Any]:
    """What the section of schedules shows; ``form`` is one that was refused, ``version`` the current one if at hand."""
    rows = list(workflow.schedules.all().for_list()[: schedules.MAX_SCHEDULES])
    return {
        "workflow": workflow,
        "schedules": [{"row": row, "runs": next_runs(row, _SHOWN_RUNS)} for row in rows],
        "form": form or schedule_form(version or workflow.current()),
        "refused": form is not None,
    }


def hooks_section(workflow: Workflow, form: HookForm | None = None) -> dict[str, Any]:
    """What the section of hooks shows; ``form`` is one that was refused."""
    rows = list(workflow.hooks.all()[: hooks.MAX_HOOKS])
    return {"workflow": workflow, "hooks": rows, "form": form or hook_form(), "refused": form is not None}


def _shown_once(page: PageView, workflow: Workflow, made: Made) -> HttpResponse:
    """The page with a new address. It is not redirected to: then the token would have to be kept somewhere."""
    address = address_of(made.token, page.request.build_absolute_uri("/"))
    body = "{}" if made.hook.inputs is not None else json.dumps(example_inputs(workflow.current()), ensure_ascii=False)
    call = f"curl -X POST {address} \\\n  -H 'Content-Type: application/json' \\\n  -d {shell_quoted(body)}"
    context = {"workflow": workflow, "made": made, "address": address, "call": call}
    response = page.render("executions/triggers/address.html", context)
    response.headers["Cache-Control"] = "no-store"
    return response


def _back(workflow: Workflow, section: str) -> str:
    return f"/workflows/{workflow.pk}#{section}"
