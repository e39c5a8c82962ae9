"""The HTTP API of workflows (../shared/spec/2-api.md). Views parse, call a service, and render."""

from __future__ import annotations

import re

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from dataflow.api.pagination import next_link, page_of
from dataflow.api.parsers import MergePatchParser, StrictJsonParser
from dataflow.api.queries import text_parameter
from dataflow.lib.errors import ApiProblem
from tasks_lib import registry
from workflows import services
from workflows.advice import warnings_of
from workflows.definition import check, plan_of
from workflows.masking import masked
from workflows.models import Workflow, WorkflowVersion
from workflows.present import describe_in_list, describe_saved, describe_version, describe_workflow

_TAG = re.compile(r'(?:W/)?"?v?(\d{1,9})"?')


class WorkflowsView(APIView):
    """``/workflows``."""

    def get(self, request: Request) -> Response:
        """The workflows, newest first; ``?search=`` in title and description."""
        found = Workflow.objects.live().search(text_parameter(request.query_params, "search"))
        page = page_of(found, request.query_params)
        shown = [describe_in_list(workflow) for workflow in page.rows]
        links = next_link("/workflows", request.query_params, page.next_cursor)
        return Response({"workflows": shown, "next_cursor": page.next_cursor}, headers=links)

    def post(self, request: Request) -> Response:
        """Create a workflow: 201, or 400 with everything that is wrong."""
        version = services.create_workflow(document=request.data, user=request.user)
        return _saved(version, status=201)


class ValidateView(APIView):
    """``/workflows/validate``."""

    def post(self, request: Request) -> Response:
        """Check a definition as create does; stores nothing."""
        checked = services.check_document(request.data)
        assert checked.definition is not None
        warnings = [warning.as_json() for warning in warnings_of(checked)]
        return Response({"valid": True, "plan": plan_of(checked.definition), "warnings": warnings})


class WorkflowView(APIView):
    """``/workflows/{id}``."""

    parser_classes = [StrictJsonParser, MergePatchParser]

    def get(self, request: Request, workflow_id: str) -> Response:
        """The current definition, its version, counts by status, the last execution."""
        workflow = services.get_workflow(workflow_id)
        return Response(describe_workflow(workflow), headers={"ETag": f'"{workflow.current_version}"'})

    def put(self, request: Request, workflow_id: str) -> Response:
        """Replace the definition: a new version, unless nothing changed."""
        workflow = services.get_workflow(workflow_id)
        expected = _expected_version(request, workflow)
        version = services.update_workflow(
            workflow=workflow, document=request.data, expected_version=expected, user=request.user
        )
        return _saved(version)

    def patch(self, request: Request, workflow_id: str) -> Response:
        """Apply a JSON merge patch to the definition."""
        workflow = services.get_workflow(workflow_id)
        expected = _expected_version(request, workflow)
        version = services.patch_workflow(
            workflow=workflow, patch=request.data, expected_version=expected, user=request.user
        )
        return _saved(version)

    def delete(self, request: Request, workflow_id: str) -> Response:
        """Archive it."""
        services.archive_workflow(workflow=services.get_workflow(workflow_id))
        return Response(status=204)


class VersionsView(APIView):
    """``/workflows/{id}/versions``."""

    def get(self, request: Request, workflow_id: str) -> Response:
        """The history, newest first."""
        workflow = services.get_workflow(workflow_id)
        versions = workflow.versions.select_related("created_by").defer("definition").order_by("-created_at", "-id")
        page = page_of(versions, request.query_params)
        links = next_link(f"/workflows/{workflow_id}/versions", request.query_params, page.next_cursor)
        shown = [describe_version(version) for version in page.rows]
        return Response({"versions": shown, "next_cursor": page.next_cursor}, headers=links)


class VersionView(APIView):
    """``/workflows/{id}/versions/{n}``."""

    def get(self, request: Request, workflow_id: str, number: int) -> Response:
        """One frozen definition."""
        version = services.version_of(services.get_workflow(workflow_id), number)
        return Response(describe_version(version) | {"definition": masked(version.definition)})


class RestoreView(APIView):
    """``/workflows/{id}/versions/{n}/restore``."""

    def post(self, request: Request, workflow_id: str, number: int) -> Response:
        """Make an earlier version current again, as a new version."""
        workflow = services.get_workflow(workflow_id)
        return _saved(services.restore_version(workflow=workflow, number=number, user=request.user))


def _saved(version: WorkflowVersion, *, status: int = 200) -> Response:
    # Not `services.check_document`: it is stored, whatever became of the workflows it runs in the meantime.
    checked = check(version.definition, registry)
    headers = {"Location": f"/workflows/{version.workflow_id}", "ETag": f'"{version.number}"'}
    return Response(describe_saved(version, warnings_of(checked)), status=status, headers=headers)


def _expected_version(request: Request, workflow: Workflow) -> int | None:
    """The version in ``If-Match``; ``*`` is any. What cannot be a version of ours does not match."""
    given = request.headers.get("If-Match")
    if given is None or given.strip() == "*":
        return None
    if (tag := _TAG.fullmatch(given.strip())) is None:
        detail = f'`If-Match` is the version you read, such as "{workflow.current_version}".'
        raise ApiProblem(status=412, code="version_changed", title="Precondition failed", detail=detail)
    return int(tag[1])
