"""Workflows as the API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Count

from dataflow.lib.errors import Problem
from workflows.masking import masked
from workflows.models import Workflow, WorkflowVersion


def describe_saved(version: WorkflowVersion, warnings: Sequence[Problem]) -> dict[str, Any]:
    """The answer to a create or a change."""
    return {
        "workflow_id": version.workflow_id,
        "workflow_version": version.number,
        "title": version.definition["title"],
        "url": f"/workflows/{version.workflow_id}",
        "warnings": [warning.as_json() for warning in warnings],
    }


def describe_in_list(workflow: Workflow) -> dict[str, Any]:
    """One entry of a list of workflows."""
    return {
        "workflow_id": workflow.pk,
        "workflow_version": workflow.current_version,
        "title": workflow.title,
        "description": workflow.description,
        "created_at": workflow.created_at,
        "updated_at": workflow.updated_at,
        "archived_at": workflow.archived_at,
        "url": f"/workflows/{workflow.pk}",
    }


def describe_workflow(workflow: Workflow) -> dict[str, Any]:
    """A workflow with its current definition and what became of its executions."""
    counts = workflow.executions.order_by().values_list("status").annotate(number=Count("pk"))
    last = workflow.executions.values("id", "status", "created_at").first()
    return describe_in_list(workflow) | {
        "definition": masked(workflow.current().definition),
        "executions": dict(counts),
        "last_execution": last
        and {"workflow_execution_id": last["id"], "status": last["status"], "created_at": last["created_at"]},
    }


def describe_version(version: WorkflowVersion) -> dict[str, Any]:
    """One entry of the history."""
    return {
        "workflow_id": version.workflow_id,
        "workflow_version": version.number,
        "hash": version.hash,
        "restored_from": version.restored_from,
        "created_at": version.created_at,
        "created_by": version.created_by.get_username() if version.created_by else None,
    }
