"""Pages of workflows: the list, one workflow with its run form, its versions, and a plain editor."""

from __future__ import annotations

import difflib
import json
from typing import Any

from django.contrib import messages
from django.db.models import Count, OuterRef, Subquery
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from dataflow.api.html import PageView, list_page
from dataflow.lib.errors import ApiProblem, Problem, invalid
from dataflow.lib.jsonvalues import JsonError, parse_json
from tasks_lib import registry
from workflows import services
from workflows.advice import warnings_of
from workflows.definition import check
from workflows.forms import DefinitionForm, RunForm
from workflows.graph import drawing_of
from workflows.masking import masked
from workflows.models import Workflow, WorkflowVersion

#: Warnings that are told after a definition was saved.
_TOLD_WARNINGS = 5
_EMPTY_DOCUMENT = {
    "title": "",
    "description": "",
    "inputs": [{"name": "text", "type": "text", "description": ""}],
    "tasks": [{"name": "reverse", "type": "text.reverse", "inputs": {"text": "{{inputs.text}}"}}],
    "outputs": [{"name": "text", "type": "text", "value": "{{tasks.reverse.outputs.text}}"}],
}


def workflow_or_404(workflow_id: str) -> Workflow:
    """The workflow, archived or not. Raises ``Http404``."""
    workflow = Workflow.objects.filter(pk=workflow_id).first()
    if workflow is None:
        raise Http404(f"There is no workflow {workflow_id}.")
    return workflow


def pretty(document: Any) -> str:
    """A definition as its authors read it."""
    return json.dumps(document, ensure_ascii=False, indent=2)


class WorkflowPageView(PageView):
    """What the pages of workflows share."""

    here = "workflows"


class WorkflowListPage(WorkflowPageView):
    """All workflows, newest first, each with its last execution."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """``?search=`` looks in titles, descriptions and ids; ``?archived=1`` shows those put away."""
        search, archived = request.GET.get("search", "").strip(), request.GET.get("archived") == "1"
        workflows = Workflow.objects.filter(archived_at__isnull=not archived).search(search.replace("\0", ""))
        executions: Any = Workflow.executions.rel.related_model  # named from here: this layer does not know it
        last = executions.objects.filter(workflow=OuterRef("pk")).order_by("-created_at")
        shown = workflows.annotate(
            runs=Count("executions"),
            last_id=Subquery(last.values("id")[:1]),
            last_status=Subquery(last.values("status")[:1]),
            last_at=Subquery(last.values("created_at")[:1]),
        )
        context = {"page": list_page(shown, request.GET), "search": search, "archived": archived}
        return self.render("workflows/list.html", context)


class WorkflowPage(WorkflowPageView):
    """One workflow: what it is, a form to run it, its tasks, executions, versions and definition."""

    def get(self, request: HttpRequest, workflow_id: str) -> HttpResponse:
        """The page of the current version."""
        workflow = workflow_or_404(workflow_id)
        version = workflow.current()
        inputs = version.definition.get("inputs", [])
        context = {
            "workflow": workflow,
            "version": version,
            "form": RunForm(inputs),
            "graph": drawing_of(version.definition),
            "executions": list(workflow.executions.all().for_list()[:10]),
            "versions": list(workflow.versions.defer("definition").select_related("created_by")[:10]),
            "definition": pretty(masked(version.definition)),
            "call": run_call(request, workflow, inputs),
        }
        return self.render("workflows/workflow.html", context)


class VersionListPage(WorkflowPageView):
    """The versions of a workflow."""

    def get(self, request: HttpRequest, workflow_id: str) -> HttpResponse:
        """Newest first."""
        workflow = workflow_or_404(workflow_id)
        versions = workflow.versions.defer("definition").select_related("created_by").annotate(runs=Count("executions"))
        return self.render("workflows/versions.html", {"workflow": workflow, "versions": list(versions[:500])})


class VersionPage(WorkflowPageView):
    """One frozen version: its definition, and what it changed against another."""

    def get(self, request: HttpRequest, workflow_id: str, number: str) -> HttpResponse:
        """``?against=N`` compares with version N, without it with the one before."""
        workflow = workflow_or_404(workflow_id)
        version = _version_or_404(workflow, int(number))
        against = request.GET.get("against", "")
        base = int(against) if against.isascii() and against.isdigit() and len(against) < 9 else version.number - 1
        other = workflow.versions.filter(number=base).first()
        context = {
            "workflow": workflow,
            "version": version,
            "other": other,
            "lines": difference(masked(other.definition), masked(version.definition)) if other else [],
            "definition": pretty(masked(version.definition)),
            "graph": drawing_of(version.definition),
        }
        return self.render("workflows/version.html", context)


class RestorePage(WorkflowPageView):
    """Makes an old version the current one again, as a new version."""

    def post(self, request: HttpRequest, workflow_id: str, number: str) -> HttpResponse:
        """Back to the workflow."""
        workflow = workflow_or_404(workflow_id)
        made = services.restore_version(workflow=workflow, number=int(number), user=request.user)
        messages.success(request, f"Version {number} is in force again, as version {made.number}.")
        return redirect(f"/workflows/{workflow.pk}")


class ArchivePage(WorkflowPageView):
    """Puts a workflow away: it cannot be run any more, its executions stay."""

    def post(self, request: HttpRequest, workflow_id: str) -> HttpResponse:
        """Back to the list."""
        workflow = workflow_or_404(workflow_id)
        services.archive_workflow(workflow=workflow)
        messages.success(request, f"“{workflow.title}” is archived.")
        return redirect("/workflows")


class EditPage(WorkflowPageView):
    """The definition as text, of a new workflow or of a new version, checked by the same validation as the API."""

    def get(self, request: HttpRequest, workflow_id: str = "") -> HttpResponse:
        """The form, with the current definition or one to start from."""
        workflow = workflow_or_404(workflow_id) if workflow_id else None
        document = masked(workflow.current().definition) if workflow else _EMPTY_DOCUMENT
        number = workflow.current_version if workflow else None
        form = DefinitionForm(initial={"document": pretty(document), "expected_version": number})
        return self._page(workflow, form)

    def post(self, request: HttpRequest, workflow_id: str = "") -> HttpResponse:
        """Save, or show the form again with everything that is wrong."""
        workflow = workflow_or_404(workflow_id) if workflow_id else None
        form = DefinitionForm(request.POST)
        if not form.is_valid():
            return self._page(workflow, form, problem=None, status=400)
        try:
            saved = self._save(request, workflow, form.cleaned_data)
        except ApiProblem as problem:
            return self._page(workflow, form, problem=problem, status=problem.status)
        messages.success(request, f"Saved. Version {saved.number} is current.")
        for warning in warnings_of(check(saved.definition, registry))[:_TOLD_WARNINGS]:
            messages.warning(request, f"{warning.pointer}: {warning.detail} {warning.hint}".strip())
        return redirect(f"/workflows/{saved.workflow_id}")

    def _save(self, request: HttpRequest, workflow: Workflow | None, cleaned: dict[str, Any]) -> WorkflowVersion:
        document = parse_document(cleaned["document"])
        if workflow is None:
            return services.create_workflow(document=document, user=request.user)
        expected = cleaned["expected_version"]
        return services.update_workflow(
            workflow=workflow, document=document, expected_version=expected, user=request.user
        )

    def _page(
        self, workflow: Workflow | None, form: DefinitionForm, *, problem: ApiProblem | None = None, status: int = 200
    ) -> HttpResponse:
        context = {"workflow": workflow, "form": form, "problem": problem}
        return self.render("workflows/edit.html", context, status=status)


def difference(old: Any, new: Any) -> list[dict[str, str]]:
    """The lines of a unified diff of two definitions, each with its kind: added, removed, place or same."""
    kinds = {"+": "added", "-": "removed", "@": "place"}
    lines = difflib.unified_diff(pretty(old).splitlines(), pretty(new).splitlines(), lineterm="", n=4)
    return [{"text": line, "kind": kinds.get(line[:1], "same")} for line in lines if line[:4] not in {"--- ", "+++ "}]


def run_call(request: HttpRequest, workflow: Workflow, inputs: list[dict[str, Any]]) -> str:
    """The curl call that starts the workflow, with an example for each input that must be given."""
    needed = [declared for declared in inputs if declared.get("required", True) and "default" not in declared]
    body = json.dumps({"inputs": {declared["name"]: example_of(declared) for declared in needed}}, ensure_ascii=False)
    address = request.build_absolute_uri(f"/workflows/{workflow.pk}/executions")
    return f"curl -X POST {address} \\\n  -H 'Content-Type: application/json' \\\n  -d {shell_quoted(body)}"


def example_of(declared: dict[str, Any]) -> Any:
    """A value that would do for an input."""
    examples = {"number": 1, "boolean": True, "file": "fl-…", "object": {}, "list": []}
    if declared.get("enum"):
        return declared["enum"][0]
    return declared.get("example", examples.get(declared["type"], "…"))


def shell_quoted(text: str) -> str:
    """Text in single quotes, safe for a POSIX shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def _version_or_404(workflow: Workflow, number: int) -> WorkflowVersion:
    version = workflow.versions.select_related("created_by").filter(number=number).first()
    if version is None:
        raise Http404(f"Workflow {workflow.pk} has no version {number}.")
    return version


def parse_document(text: str) -> Any:
    """The JSON of a form, read as strictly as the API does. Raises ``ApiProblem`` that says where it is wrong."""
    try:
        return parse_json(text.encode())
    except JsonError as error:
        raise invalid(error.detail, [Problem(pointer=error.pointer, code=error.code, detail=error.detail)]) from error
