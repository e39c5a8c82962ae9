"""The HTTP API of executions and files (../shared/spec/2-api.md). Views parse, call a service, and render."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.http.response import HttpResponseBase
from rest_framework.exceptions import APIException
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from dataflow.api.pagination import next_link, page_of
from dataflow.api.parsers import StrictJsonParser
from dataflow.api.queries import number_parameter
from dataflow.lib.errors import ApiProblem, Problem, invalid, not_found, unavailable
from executions import files, remembered, services, store
from executions.downloads import download
from executions.engine.state import ExecutionStatus
from executions.filters import filtered
from executions.models import Execution, ExecutionQuerySet, StoredFile
from executions.present import LISTED, describe_execution, describe_in_list, describe_started, url_of
from executions.reading import read, read_execution, read_shown
from executions.start_body import object_with, openai_key, start_body
from executions.waiters import ENDS
from workflows.models import Workflow
from workflows.services import get_workflow

MAX_WAIT_SECONDS = 60.0
#: What multipart adds to a file, generously.
_ENVELOPE_BYTES = 1024 * 1024


class ExecutionsView(APIView):
    """``/workflows/{id}/executions``."""

    parser_classes = [StrictJsonParser, MultiPartParser]

    def get(self, request: Request, workflow_id: str) -> Response:
        """The executions of a workflow, newest first."""
        workflow = get_workflow(workflow_id)
        return _listed(request, workflow.executions.all())

    def post(self, request: Request, workflow_id: str) -> Response:
        """Start an execution: 201, committed; with ``?wait=`` the answer comes when it has ended."""
        known = _remembered(request, workflow_id)
        workflow = known or _workflow(workflow_id)
        try:
            wait = number_parameter(request.query_params, "wait", maximum=MAX_WAIT_SECONDS)
            with start_body(request) as body:
                execution = _start(request, body, workflow, is_remembered=known is not None, flushed=not wait)
        except (ApiProblem, APIException):
            if known is not None:
                # That there is no such workflow any more is told before whatever else is wrong.
                _workflow(workflow_id)
            raise
        headers = {"Location": url_of(execution)}
        if wait:
            return Response(_waited(execution, wait), status=201, headers=headers)
        # A repeated request gets the first answer again, whatever became of the execution.
        started = describe_started(execution) | {"status": ExecutionStatus.PENDING}
        return Response(started, status=201, headers=headers)


class AllExecutionsView(APIView):
    """``/executions``."""

    def get(self, request: Request) -> Response:
        """The executions of all workflows, newest first."""
        return _listed(request, Execution.objects.all())


class ExecutionView(APIView):
    """``/workflows/{id}/executions/{eid}``."""

    def get(self, request: Request, workflow_id: str, execution_id: str) -> Response:
        """Everything about one execution."""
        return Response(_shown(workflow_id, execution_id))


class CancelView(APIView):
    """``…/{eid}/cancel``."""

    def post(self, request: Request, workflow_id: str, execution_id: str) -> Response:
        """Cancel: 202, also for one that was cancelled before; 409 for one that ended otherwise."""
        execution = get_execution(workflow_id, execution_id)
        reason = _reason(request.data)
        cancelled = services.cancel_execution(execution=execution, reason=reason, user=request.user)
        return Response(describe_execution(cancelled), status=202)


class FilesView(APIView):
    """``/files``."""

    parser_classes = [MultiPartParser]

    def post(self, request: Request) -> Response:
        """Upload one file by multipart, in a part of any name: 201 with the file value."""
        _refuse_too_large(request)
        uploads = [upload for _, several in request.FILES.lists() for upload in several]
        if len(uploads) != 1:
            detail = f"Send exactly one file as multipart/form-data; there were {len(uploads)}."
            raise invalid(detail, [Problem(pointer="/file", code="required", detail=detail)])
        stored = services.save_upload(upload=uploads[0])
        return Response(files.describe(stored), status=201, headers={"Location": f"/files/{stored.pk}"})


def _refuse_too_large(request: Request) -> None:
    """Before anything of it is read, let alone written to the disk."""
    length = request.headers.get("Content-Length") or "0"
    if length.isdigit() and int(length[:18]) > files.MAX_BYTES + _ENVELOPE_BYTES:
        detail = f"A file may have at most {files.MAX_BYTES // 1024 // 1024} MiB."
        raise ApiProblem(status=413, code="too_large", title="Content too large", detail=detail)


class FileView(APIView):
    """``/files/{id}``."""

    def get(self, request: Request, file_id: str) -> Response:
        """Describe a file."""
        return Response(files.describe(get_file(file_id)))


class AsItIs(BaseContentNegotiation):
    """A download answers whatever ``Accept`` says: the file has the type it has."""

    def select_parser(self, request: Request, parsers: Any) -> BaseParser | None:
        """Downloads have no body."""
        return None

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """Only errors are rendered, as JSON."""
        return JSONRenderer(), "application/json"


class FileContentView(APIView):
    """``/files/{id}/content``."""

    content_negotiation_class = AsItIs

    def get(self, request: Request, file_id: str) -> HttpResponseBase:
        """The file itself, or the part that ``Range`` asks for."""
        return download(get_file(file_id), request.headers)


def get_execution(workflow_id: str, execution_id: str) -> Execution:
    """An execution of a workflow. Raises ``ApiProblem`` 404."""
    found = read_execution(workflow_id, execution_id)
    if found is None:
        raise not_found("execution", execution_id)
    return found


def get_file(file_id: str) -> StoredFile:
    """A stored file. Raises ``ApiProblem`` 404."""
    found = StoredFile.objects.select_related("execution", "blob").filter(pk=file_id).first()
    if found is None:
        raise not_found("file", file_id)
    return found


def _listed(request: Request, rows: ExecutionQuerySet) -> Response:
    page = page_of(filtered(request.query_params, rows).only(*LISTED), request.query_params)
    links = next_link(request.path, request.query_params, page.next_cursor)
    shown = [describe_in_list(execution) for execution in page.rows]
    return Response({"executions": shown, "next_cursor": page.next_cursor}, headers=links)


def _reason(data: Any) -> str:
    reason = object_with(data, ("reason",)).get("reason", "")
    if not isinstance(reason, str) or len(reason) > 500:
        detail = "`reason` is a text of at most 500 characters."
        raise invalid(detail, [Problem(pointer="/reason", code="wrong_type", detail=detail)])
    return reason


def _version(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 10**9:
        detail = "`workflow_version` is the number of a version."
        raise invalid(detail, [Problem(pointer="/workflow_version", code="wrong_type", detail=detail)])
    return value


def _workflow(workflow_id: str) -> Workflow:
    found = read(Workflow, "id = {0}", [workflow_id])
    if not found:
        raise not_found("workflow", workflow_id)
    remembered.WORKFLOWS.keep(found[0])
    return found[0]


def _remembered(request: Request, workflow_id: str) -> Workflow | None:
    """The workflow as it was once, for a request of which nothing is done twice when it is tried twice."""
    is_json = request.content_type.startswith("application/json")
    return remembered.WORKFLOWS.get(workflow_id) if is_json and "Idempotency-Key" not in request.headers else None


def _start(
    request: Request, body: Mapping[str, Any], workflow: Workflow, *, is_remembered: bool, flushed: bool
) -> Execution:
    """Start what ``body`` asks for. Nothing is refused by a remembered workflow: it is read, and asked again."""
    start = partial(
        services.start_execution,
        inputs=body.get("inputs"),
        monitoring=body.get("monitoring"),
        labels=body.get("labels"),
        version=_version(body.get("workflow_version")),
        priority=body.get("priority"),
        delay=body.get("delay"),
        start_at=body.get("start_at"),
        openai_key=openai_key(request),
        user=request.user,
        idempotency_key=request.headers.get("Idempotency-Key"),
        flushed=flushed,
    )
    if is_remembered:
        # Not there: the version of a workflow that was deleted by hand.
        with suppress(ApiProblem, ObjectDoesNotExist, store.ReadFirst):
            return start(workflow=workflow, is_remembered=True)
        workflow = _workflow(workflow.pk)
    return start(workflow=workflow)


def _waited(execution: Execution, seconds: float) -> dict[str, Any]:
    """The execution when it has ended, or as it stands after ``seconds``; it may be accepted unflushed."""
    if not ExecutionStatus(execution.status).ended:
        ENDS.wait(execution.pk, seconds)
    found = read_shown(execution.workflow_id, execution.pk)
    if found is None:
        detail = "The database crashed before it had kept this start, and nothing of it ran. Start it again."
        raise unavailable(detail, retry_after=1)
    if not ExecutionStatus(found[0].status).ended:
        store.flush()
    return describe_execution(*found)


def _shown(workflow_id: str, execution_id: str) -> dict[str, Any]:
    found = read_shown(workflow_id, execution_id)
    if found is None:
        raise not_found("execution", execution_id)
    return describe_execution(*found)
