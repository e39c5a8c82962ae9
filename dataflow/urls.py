"""Every address. Paths work with and without a trailing slash, with no redirect."""

from __future__ import annotations

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, URLResolver, include, path, re_path
from django.views.decorators.csrf import csrf_exempt

from dataflow import catalogue
from dataflow.api import errors
from dataflow.api.negotiation import by_accept, wants_page
from dataflow.health import HealthView, ReadyView
from dataflow.lib.errors import ApiProblem, not_found
from dataflow.task_types import TaskTypesView, TaskTypeView
from executions import api as executions
from executions import list_pages, secret_api, secret_pages
from executions import log_api as logs
from executions import pages as execution_pages
from executions import verbs_api as verbs
from executions.triggers import api as triggers
from executions.triggers import pages as trigger_pages
from workflows import api as workflows
from workflows import pages as workflow_pages

_WORKFLOW = r"workflows/(?P<workflow_id>wf-[a-z0-9]{1,37})"
_EXECUTION = rf"{_WORKFLOW}/executions/(?P<execution_id>we-[a-z0-9]{{1,37}})"
_VERSION = rf"{_WORKFLOW}/versions/(?P<number>[0-9]{{1,9}})"
_SCHEDULE = rf"{_WORKFLOW}/schedules/(?P<schedule_id>sc-[a-z0-9]{{1,37}})"
_HOOK = rf"{_WORKFLOW}/hooks/(?P<hook_id>hk-[a-z0-9]{{1,37}})"
_TASK_RUN = r"(?P<name>[A-Za-z_][A-Za-z0-9_]{0,63}(?:\[[0-9]{1,9}\])?)"
_VERB = r"(?P<verb>cancel|resume|rerun)"
_FILE = r"files/(?P<file_id>fl-[a-z0-9]{1,37})"

#: Addresses that people and programs share: ``(pattern, API, page)``.
_SHARED = (
    (r"workflows", workflows.WorkflowsView, workflow_pages.WorkflowListPage),
    (_WORKFLOW, workflows.WorkflowView, workflow_pages.WorkflowPage),
    (rf"{_WORKFLOW}/versions", workflows.VersionsView, workflow_pages.VersionListPage),
    (_VERSION, workflows.VersionView, workflow_pages.VersionPage),
    (rf"{_WORKFLOW}/executions", executions.ExecutionsView, list_pages.ExecutionListPage),
    (_EXECUTION, executions.ExecutionView, execution_pages.ExecutionPage),
    (rf"{_WORKFLOW}/schedules", triggers.SchedulesView, trigger_pages.SchedulesPage),
    (rf"{_WORKFLOW}/hooks", triggers.HooksView, trigger_pages.HooksPage),
    (r"executions", executions.AllExecutionsView, list_pages.ExecutionListPage),
    (r"secrets", secret_api.SecretsView, secret_pages.SecretsPage),
    (r"secrets/(?P<name>[A-Za-z0-9_.-]{1,200})", secret_api.SecretView, secret_pages.SecretPage),
    (r"connections", secret_api.ConnectionsView, secret_pages.ConnectionsPage),
    (r"connections/(?P<name>[A-Za-z0-9_.-]{1,200})", secret_api.ConnectionView, secret_pages.ConnectionPage),
    (r"task-types", TaskTypesView, catalogue.TaskTypeListPage),
    (r"task-types/(?P<name>[A-Za-z0-9._-]{1,100})", TaskTypeView, catalogue.TaskTypePage),
)

#: Addresses that only programs use.
_API = (
    (r"workflows/validate", workflows.ValidateView),
    (rf"{_VERSION}/restore", workflows.RestoreView),
    (rf"{_EXECUTION}/cancel", executions.CancelView),
    (rf"{_EXECUTION}/events", logs.EventsView),
    (rf"{_EXECUTION}/logs", logs.LogsView),
    (rf"{_EXECUTION}/tasks/(?P<task>[A-Za-z_][A-Za-z0-9_]{{0,63}})/items", logs.ItemsView),
    (rf"{_EXECUTION}/resume", verbs.ResumeView),
    (rf"{_EXECUTION}/rerun", verbs.RerunView),
    (rf"{_EXECUTION}/tasks/{_TASK_RUN}/(?P<verb>approve|reject)", verbs.DecisionView),
    (rf"{_WORKFLOW}/executions/{_VERB}", verbs.BulkView),
    (rf"executions/{_VERB}", verbs.BulkView),
    (_SCHEDULE, triggers.ScheduleView),
    (_HOOK, triggers.HookView),
    (rf"{_HOOK}/rotate", triggers.RotateView),
    (r"hooks/(?P<token>[A-Za-z0-9_-]{1,200})", triggers.HookCallView),
    (r"files", executions.FilesView),
    (_FILE, executions.FileView),
    (rf"{_FILE}/content", executions.FileContentView),
    (r"healthz", HealthView),
    (r"readyz", ReadyView),
)


@csrf_exempt  # there is nothing here to protect
def nothing_here(request: HttpRequest) -> HttpResponse:
    """Every other address. In development Django would answer with a page of its own, to programs too."""
    return handler404(request, Http404())


urlpatterns: list[URLPattern | URLResolver] = [
    # What programs ask for most comes first: each address is compared with those before it.
    *(re_path(rf"^{pattern}/?$", by_accept(api=api.as_view(), page=page.as_view())) for pattern, api, page in _SHARED),
    *(re_path(rf"^{pattern}/?$", view.as_view()) for pattern, view in _API),
    path("", include("dataflow.pages_urls")),
    path("admin/", admin.site.urls),
    re_path(r"", nothing_here),
]


def handler400(_request: HttpRequest, exception: Exception) -> HttpResponse:
    """What cannot be read as a request."""
    return errors.bad_request(exception)


def handler403(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Who may not."""
    problem = errors.as_problem(exception)
    if wants_page(request) and problem is not None:
        return _page(request, problem)
    return errors.forbidden()


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - Django gives it by this name
    """No such address."""
    if wants_page(request):
        return _page(request, not_found("page", request.path[:200]))
    return errors.not_found_at(request)


def handler500(request: HttpRequest) -> HttpResponse:
    """A defect of ours; it is in the log."""
    return render(request, "500.html", status=500) if wants_page(request) else errors.server_error()


def _page(request: HttpRequest, problem: ApiProblem) -> HttpResponse:
    return render(request, "problem.html", {"problem": problem, "back": "/"}, status=problem.status)
