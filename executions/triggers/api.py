"""The HTTP API of schedules and hooks. Views parse, call a service, and render."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from django.http import QueryDict
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from dataflow.api.pagination import next_link, page_of
from dataflow.api.parsers import MergePatchParser, StrictJsonParser
from dataflow.lib.jsonvalues import clean_json
from executions.api import AsItIs
from executions.engine.state import ExecutionStatus
from executions.present import describe_started, url_of
from executions.triggers import hooks, schedules
from executions.triggers.hooks import Received
from executions.triggers.present import describe_hook, describe_made, describe_schedule
from workflows.services import get_workflow

_FORM = "application/x-www-form-urlencoded"
#: A sender's credentials for somebody else are none of a mapping's business.
_NOT_SHOWN = frozenset({"authorization", "cookie", "proxy-authorization"})


class SchedulesView(APIView):
    """``/workflows/{id}/schedules``."""

    def get(self, request: Request, workflow_id: str) -> Response:
        """The schedules of a workflow, newest first."""
        page = page_of(get_workflow(workflow_id).schedules.all().for_list(), request.query_params)
        links = next_link(request.path, request.query_params, page.next_cursor)
        shown = [describe_schedule(row) for row in page.rows]
        return Response({"schedules": shown, "next_cursor": page.next_cursor}, headers=links)

    def post(self, request: Request, workflow_id: str) -> Response:
        """Make a schedule: 201, or 400 with everything that is wrong."""
        workflow = get_workflow(workflow_id)
        row = schedules.create_schedule(workflow=workflow, document=request.data, user=request.user)
        headers = {"Location": f"/workflows/{workflow.pk}/schedules/{row.pk}"}
        return Response(describe_schedule(row), status=201, headers=headers)


class ScheduleView(APIView):
    """``/workflows/{id}/schedules/{sc}``."""

    parser_classes = [StrictJsonParser, MergePatchParser]

    def get(self, request: Request, workflow_id: str, schedule_id: str) -> Response:
        """One schedule with its next runs."""
        return Response(describe_schedule(schedules.get_schedule(get_workflow(workflow_id), schedule_id)))

    def put(self, request: Request, workflow_id: str, schedule_id: str) -> Response:
        """Replace its settings."""
        found = schedules.get_schedule(get_workflow(workflow_id), schedule_id)
        schedules.replace_schedule(schedule=found, document=request.data)
        return self.get(request, workflow_id, schedule_id)

    def patch(self, request: Request, workflow_id: str, schedule_id: str) -> Response:
        """Change some of its settings, by a JSON merge patch."""
        found = schedules.get_schedule(get_workflow(workflow_id), schedule_id)
        schedules.patch_schedule(schedule=found, patch=request.data)
        return self.get(request, workflow_id, schedule_id)

    def delete(self, request: Request, workflow_id: str, schedule_id: str) -> Response:
        """Remove it; what it started stays."""
        schedules.delete_schedule(schedule=schedules.get_schedule(get_workflow(workflow_id), schedule_id))
        return Response(status=204)


class HooksView(APIView):
    """``/workflows/{id}/hooks``."""

    def get(self, request: Request, workflow_id: str) -> Response:
        """The hooks of a workflow, newest first. Their tokens are not known any more."""
        page = page_of(get_workflow(workflow_id).hooks.select_related("created_by"), request.query_params)
        links = next_link(request.path, request.query_params, page.next_cursor)
        shown = [describe_hook(row) for row in page.rows]
        return Response({"hooks": shown, "next_cursor": page.next_cursor}, headers=links)

    def post(self, request: Request, workflow_id: str) -> Response:
        """Make a hook: 201 with its ``token`` and ``url``, this once; or 400 with everything that is wrong."""
        workflow = get_workflow(workflow_id)
        made = hooks.create_hook(workflow=workflow, document=request.data, user=request.user)
        headers = {"Location": f"/workflows/{workflow.pk}/hooks/{made.hook.pk}"}
        return _once(describe_made(made, _site(request)), status=201, headers=headers)


class HookView(APIView):
    """``/workflows/{id}/hooks/{hk}``."""

    parser_classes = [StrictJsonParser, MergePatchParser]

    def get(self, request: Request, workflow_id: str, hook_id: str) -> Response:
        """One hook."""
        return Response(describe_hook(hooks.get_hook(get_workflow(workflow_id), hook_id)))

    def patch(self, request: Request, workflow_id: str, hook_id: str) -> Response:
        """Change some of its settings, by a JSON merge patch."""
        hook = hooks.get_hook(get_workflow(workflow_id), hook_id)
        return _once(describe_made(hooks.patch_hook(hook=hook, patch=request.data), _site(request)))

    def delete(self, request: Request, workflow_id: str, hook_id: str) -> Response:
        """Remove it; what it started stays."""
        hooks.delete_hook(hook=hooks.get_hook(get_workflow(workflow_id), hook_id))
        return Response(status=204)


class RotateView(APIView):
    """``/workflows/{id}/hooks/{hk}/rotate``."""

    def post(self, request: Request, workflow_id: str, hook_id: str) -> Response:
        """A new token and address, this once; the old address is gone."""
        hook = hooks.get_hook(get_workflow(workflow_id), hook_id)
        return _once(describe_made(hooks.rotate_token(hook=hook), _site(request)))


class HookCallView(APIView):
    """``/hooks/{token}``. The token is the right to call it: no account, no session, no CSRF."""

    authentication_classes = ()
    permission_classes = ()
    # Senders ask for what they like; the answer is JSON.
    content_negotiation_class = AsItIs

    def post(self, request: Request, token: str) -> Response:
        """Start an execution: 201 as a start answers, with JSON, a form or nothing as the body."""
        hook = hooks.hook_of(token)
        received = _received(request)
        hooks.check_signature(hook=hook, received=received)
        body = _body(request.content_type or "", received.raw)
        execution = hooks.start_from(hook=hook, received=received, body=body)
        # A repeated delivery gets the first answer again, whatever became of the execution.
        started = describe_started(execution) | {"status": ExecutionStatus.PENDING}
        return Response(started, status=201, headers={"Location": url_of(execution)})


def _received(request: Request) -> Received:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Received(
        headers=clean_json({name: value for name, value in headers.items() if name not in _NOT_SHOWN}),
        query=clean_json(request.query_params.dict()),
        raw=request.body,
    )


def _body(content_type: str, raw: bytes) -> Any:
    """The body as a JSON value. Raises ``ApiProblem`` 400 and ``UnsupportedMediaType``."""
    if not raw:
        return {}
    kind = content_type.partition(";")[0].strip().lower()
    if kind == _FORM:
        return clean_json({name: _one_or_all(values) for name, values in QueryDict(raw).lists()})
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise UnsupportedMediaType(content_type)
    return StrictJsonParser().parse(BytesIO(raw), content_type)


def _one_or_all(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def _once(shown: dict[str, Any], *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer that may hold what is shown once: nobody keeps a copy."""
    return Response(shown, status=status, headers={"Cache-Control": "no-store", **(headers or {})})


def _site(request: Request) -> str:
    return request.build_absolute_uri("/")
