"""The HTTP API of the verbs: resume, rerun, approve and reject, and the bulk forms. Views parse, call, render."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from dataflow.api.errors import problem_json
from dataflow.lib.errors import ApiProblem
from executions import bulk, services, verbs
from executions.api import get_execution
from executions.models import Execution
from executions.present import describe_execution, describe_started, url_of
from executions.start_body import object_with, openai_key
from executions.verbs_body import Selection, both, decision_of, nothing, reason_of, rerun_of, selection_of
from workflows.models import Workflow
from workflows.services import get_workflow


class ResumeView(APIView):
    """``…/{eid}/resume``."""

    def post(self, request: Request, workflow_id: str, execution_id: str) -> Response:
        """Go on with a FAILED or CANCELLED execution: 202; 409 for any other."""
        execution = get_execution(workflow_id, execution_id)
        nothing(request.data)
        resumed = verbs.resume_execution(execution=execution, openai_key=openai_key(request), user=request.user)
        return Response(describe_execution(resumed), status=202)


class RerunView(APIView):
    """``…/{eid}/rerun``."""

    def post(self, request: Request, workflow_id: str, execution_id: str) -> Response:
        """Start a new execution like this one: 201, with what it reuses and what it will run."""
        execution = get_execution(workflow_id, execution_id)
        changes = rerun_of(request.data)
        made = verbs.rerun_execution(
            execution=execution, changes=changes, openai_key=openai_key(request), user=request.user
        )
        shown = describe_started(made.execution) | {
            "rerun_of": execution.pk,
            "reused": made.reused,
            "will_run": made.will_run,
        }
        return Response(shown, status=201, headers={"Location": url_of(made.execution)})


class DecisionView(APIView):
    """``…/{eid}/tasks/{name}/approve`` and ``/reject``."""

    def post(self, request: Request, workflow_id: str, execution_id: str, name: str, verb: str) -> Response:
        """Decide an approval: 202; 409 when nobody is asked."""
        execution = get_execution(workflow_id, execution_id)
        values, comment = decision_of(request.data)
        decided = verbs.decide_approval(
            execution=execution,
            task=name,
            approved=verb == "approve",
            values=values,
            comment=comment,
            user=request.user,
        )
        return Response(describe_execution(decided), status=202)


class BulkView(APIView):
    """``/workflows/{id}/executions/{verb}`` and ``/executions/{verb}``: cancel, resume or rerun many."""

    def post(self, request: Request, verb: str, workflow_id: str = "") -> Response:
        """Best effort: 200 with what went well and why the rest did not; ``dry_run`` only counts."""
        workflow = get_workflow(workflow_id) if workflow_id else None
        body = object_with(request.data, _BULK_FIELDS[verb])
        selection, act = both(
            lambda: selection_of(body, everywhere=workflow is None), lambda: _ACTS[verb](request, body)
        )
        if selection.filter is None:
            chosen = bulk.Chosen(ids=selection.ids)
        else:
            chosen = bulk.chosen_by_filter(selection.filter, verb=verb, workflow=workflow, after=selection.after)
        if selection.dry_run:
            return Response({"matched": _matched(selection, chosen, workflow)} | _left(chosen))
        results = bulk.act_on_each(chosen.ids, act, workflow=workflow)
        return Response(_described(results, verb) | _left(chosen))


def _matched(selection: Selection, chosen: bulk.Chosen, workflow: Workflow | None) -> int:
    if selection.filter is None:
        return bulk.existing(selection.ids, workflow=workflow)
    return len(chosen.ids) + chosen.remaining


def _left(chosen: bulk.Chosen) -> dict[str, Any]:
    """What the filter matches besides, and the way to it."""
    return {"remaining": chosen.remaining, "next_cursor": chosen.place.cursor() if chosen.place else None}


def _described(results: bulk.Results, verb: str) -> dict[str, Any]:
    failed = {key: _problem(problem) for key, problem in results.failed.items()}
    shown = {"succeeded": results.succeeded, "failed": failed}
    return shown | ({"started": results.started} if verb == "rerun" else {})


def _problem(problem: ApiProblem) -> dict[str, Any]:
    return problem_json(
        status=problem.status, code=problem.code, title=problem.title, detail=problem.detail, errors=problem.errors
    )


def _cancelling(request: Request, body: Mapping[str, Any]) -> bulk.Act:
    reason = reason_of(body)
    return lambda execution: services.cancel_execution(execution=execution, reason=reason, user=request.user)


def _resuming(request: Request, _body: Mapping[str, Any]) -> bulk.Act:
    key = openai_key(request)
    return lambda execution: verbs.resume_execution(execution=execution, openai_key=key, user=request.user)


def _rerunning(request: Request, body: Mapping[str, Any]) -> bulk.Act:
    key, changes = openai_key(request), rerun_of({name: body[name] for name in _RERUN if name in body}, many=True)

    def act(execution: Execution) -> Execution:
        return verbs.rerun_execution(execution=execution, changes=changes, openai_key=key, user=request.user).execution

    return act


_CHOICE = ("ids", "filter", "cursor", "dry_run")
#: What a rerun of many may change: the same for each.
_RERUN = ("workflow_version", "inputs", "labels", "monitoring", "priority")
_BULK_FIELDS = {"cancel": (*_CHOICE, "reason"), "resume": _CHOICE, "rerun": (*_CHOICE, *_RERUN)}
_ACTS: Mapping[str, Callable[[Request, Mapping[str, Any]], bulk.Act]] = {
    "cancel": _cancelling,
    "resume": _resuming,
    "rerun": _rerunning,
}
