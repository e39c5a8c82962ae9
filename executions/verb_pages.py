"""Pages of the verbs: resume, run again, decide an approval, several executions at once."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme

from dataflow.api.html import PageView
from dataflow.lib.errors import ApiProblem
from executions import bulk, services, verbs
from executions.engine.state import task_of
from executions.forms import DecisionForm, RerunForm, ResumeForm
from executions.hidden import fillable, mask_of
from executions.models import Execution, TaskRun
from executions.pages import execution_or_404
from executions.present import url_of
from executions.waiting import waits_for_approval
from workflows.forms import is_upload
from workflows.models import WorkflowVersion

#: Versions to choose from, the newest first.
_VERSIONS = 100
#: Refusals that are told one by one.
_TOLD = 5
_DONE = {"cancel": "Cancelled", "resume": "Resumed", "rerun": "Started again"}


class VerbPage(PageView):
    """What these pages share."""

    here = "executions"


class ResumePage(VerbPage):
    """Lets an execution go on from what did not complete."""

    def get(self, request: HttpRequest, execution_id: str) -> HttpResponse:
        """A form with room for a key."""
        return self._page(execution_or_404(execution_id), ResumeForm())

    def post(self, request: HttpRequest, execution_id: str) -> HttpResponse:
        """Back to its page; or the form, where something is missing."""
        execution, form = execution_or_404(execution_id), ResumeForm(request.POST)
        key = (form.cleaned_data["openai_key"] if form.is_valid() else "") or None
        try:
            verbs.resume_execution(execution=execution, openai_key=key, user=request.user)
        except ApiProblem as problem:
            if problem.status != 400:
                raise
            return self._page(execution, form, problem=problem)
        return redirect(url_of(execution))

    def _page(self, execution: Execution, form: ResumeForm, problem: ApiProblem | None = None) -> HttpResponse:
        context = {"execution": execution, "workflow": execution.workflow, "form": form, "problem": problem}
        return self.render("executions/resume.html", context, status=400 if problem else 200)


class RerunPage(VerbPage):
    """The start form filled in with an execution's inputs, for any version, from any task."""

    def get(self, request: HttpRequest, execution_id: str) -> HttpResponse:
        """``?version=`` is a number or ``latest``; without it the one that ran. ``?from_task=`` is chosen."""
        execution = execution_or_404(execution_id)
        version = _version_or_404(execution, request.GET.get("version", ""))
        form = _rerun_form(version, values=fillable(execution, version.pk))
        form.fields["from_task"].initial = request.GET.get("from_task", "")
        return self._page(execution, version, form)

    def post(self, request: HttpRequest, execution_id: str) -> HttpResponse:
        """Start it and go to its page, or show the form again with what is wrong."""
        execution = execution_or_404(execution_id)
        version = _version_or_404(execution, request.POST.get("version", ""))
        form = _rerun_form(version, request.POST, request.FILES)
        if not form.is_valid():
            return self._page(execution, version, form, status=400)
        try:
            made = _rerun(request, execution, version, form)
        except ApiProblem as problem:
            form.show_problem(problem)
            return self._page(execution, version, form, status=problem.status)
        if made.reused:
            messages.success(request, f"Reused: {', '.join(made.reused[:20])}.")
        return redirect(url_of(made.execution))

    def _page(
        self, execution: Execution, version: WorkflowVersion, form: RerunForm, *, status: int = 200
    ) -> HttpResponse:
        numbers = execution.workflow.versions.values_list("number", flat=True)[:_VERSIONS]
        context = {
            "execution": execution,
            "workflow": execution.workflow,
            "version": version,
            "versions": list(numbers),
            "form": form,
        }
        return self.render("executions/rerun.html", context, status=status)


class DecisionPage(VerbPage):
    """Approves or rejects what waits for a person."""

    def get(self, request: HttpRequest, execution_id: str, name: str) -> HttpResponse:
        """The question with its form; 409 where nobody is asked."""
        execution = execution_or_404(execution_id)
        run = _asked_or_404(execution, name)
        if not waits_for_approval(run):
            raise verbs.not_asked(name, run)
        return self._page(execution, run, DecisionForm(run.waiting or {}))

    def post(self, request: HttpRequest, execution_id: str, name: str) -> HttpResponse:
        """Back to the execution; or the form, with what is wrong."""
        execution = execution_or_404(execution_id)
        run = _asked_or_404(execution, name)
        form = DecisionForm(run.waiting or {}, request.POST, request.FILES)
        approved = request.POST.get("decision") == "approve"
        if not form.is_valid() or request.POST.get("decision") not in ("approve", "reject"):
            return self._page(execution, run, form, status=400)
        try:
            verbs.decide_approval(
                execution=execution,
                task=name,
                approved=approved,
                values=_with_uploads(form.values()),
                comment=form.cleaned_data["comment"],
                user=request.user,
            )
        except ApiProblem as problem:
            if problem.status != 400:
                raise
            form.show_problem(problem)
            return self._page(execution, run, form, status=400)
        messages.success(request, f"{name} was {'approved' if approved else 'rejected'}.")
        return redirect(f"{url_of(execution)}#task-{task_of(name)}")

    def _page(self, execution: Execution, run: TaskRun, form: DecisionForm, *, status: int = 200) -> HttpResponse:
        context = {"execution": execution, "workflow": execution.workflow, "run": run, "form": form}
        return self.render("executions/decide.html", context, status=status)


class OpenPage(VerbPage):
    """The way to an execution of which only the id is known."""

    def get(self, request: HttpRequest, execution_id: str) -> HttpResponse:
        """To its page."""
        execution = Execution.objects.filter(pk=execution_id).only("id", "workflow_id").first()
        if execution is None:
            raise Http404(f"There is no execution {execution_id}.")
        return redirect(url_of(execution))


class BulkPage(VerbPage):
    """Cancels, resumes or runs again the executions that were ticked in a list."""

    def post(self, request: HttpRequest) -> HttpResponse:
        """Back to the list, which says how it went."""
        verb, ids = request.POST.get("verb", ""), [key.replace("\0", "") for key in request.POST.getlist("ids")]
        if verb not in _DONE:
            raise Http404("There is no such verb.")
        results = bulk.act_on_each(ids[: bulk.MAX_MANY], _act(request, verb), workflow=None)
        if not ids:
            messages.error(request, "Nothing was ticked.")
        for key, problem in list(results.failed.items())[:_TOLD]:
            messages.error(request, f"{key}: {problem.detail}" if key not in problem.detail else problem.detail)
        if results.succeeded:
            messages.success(request, f"{_DONE[verb]}: {len(results.succeeded)} of {len(ids)}.")
        back = request.POST.get("back", "")
        allowed = url_has_allowed_host_and_scheme(back, allowed_hosts=None)
        return redirect(back if allowed else "/executions")


def _act(request: HttpRequest, verb: str) -> bulk.Act:
    def act(execution: Execution) -> Execution:
        if verb == "cancel":
            return services.cancel_execution(execution=execution, reason="Cancelled in the list.", user=request.user)
        if verb == "resume":
            return verbs.resume_execution(execution=execution, user=request.user)
        return verbs.rerun_execution(execution=execution, user=request.user).execution

    return act


def run_or_404(execution: Execution, name: str) -> TaskRun:
    """What is known of a task or an item. Raises ``Http404``."""
    run = execution.task_runs.filter(name=name).first()
    if run is None:
        raise Http404(f"Nothing is known of task {name} in execution {execution.pk}.")
    return run


def _asked_or_404(execution: Execution, name: str) -> TaskRun:
    """The task run with its question as it may be shown."""
    run = run_or_404(execution, name)
    run.waiting = mask_of(execution).value(run.waiting)
    return run


def _version_or_404(execution: Execution, wanted: str) -> WorkflowVersion:
    if not wanted:
        return execution.version
    number = execution.workflow.current_version if wanted == verbs.LATEST else 0
    if wanted.isascii() and wanted.isdigit() and len(wanted) <= 9:
        number = int(wanted)
    version = execution.workflow.versions.filter(number=number).first()
    if version is None:
        raise Http404(f"Workflow {execution.workflow_id} has no version {wanted[:20]}.")
    return version


def _rerun_form(version: WorkflowVersion, data: Any = None, files: Any = None, *, values: Any = None) -> RerunForm:
    definition = version.definition
    names = [task["name"] for task in definition["tasks"]]
    return RerunForm(definition.get("inputs", []), data, files, values=values, tasks=names, version=version.number)


def _rerun(request: HttpRequest, execution: Execution, version: WorkflowVersion, form: RerunForm) -> verbs.Rerunning:
    cleaned = form.cleaned_data
    changes = verbs.Rerun(
        version=version.number,
        inputs=_with_uploads(form.changed_values()),
        from_task=cleaned["from_task"] or None,
        monitoring={"webhook_url": cleaned["webhook_url"]} if cleaned["webhook_url"] else None,
    )
    key = cleaned["openai_key"] or None
    return verbs.rerun_execution(execution=execution, changes=changes, openai_key=key, user=request.user)


def _with_uploads(given: dict[str, Any]) -> dict[str, Any]:
    """Values of a form with the files that were sent with it stored, by their ids."""
    uploads = {name: services.save_upload(upload=value) for name, value in given.items() if is_upload(value)}
    return given | {name: {"file_id": stored.pk} for name, stored in uploads.items()}
