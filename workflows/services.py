"""Changes to workflows: each is one transaction, after the definition was checked to the last reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import transaction

from dataflow.lib.errors import ApiProblem, Problem, conflict, invalid, not_found
from dataflow.lib.fields import DatabaseNow
from tasks_lib import registry
from workflows.calls import check_calls
from workflows.definition import Checked, check, definition_hash
from workflows.masking import unmasked
from workflows.models import Workflow, WorkflowVersion, new_workflow_id

Actor = AbstractBaseUser | AnonymousUser | None


def check_document(document: object, *, workflow: Workflow | None = None) -> Checked:
    """The checked definition, the next one of ``workflow`` if there is one already.

    The workflows it runs are looked up too. Raises ``ApiProblem`` 400 with everything that is wrong with it.
    """
    checked = check(document, registry)
    problems = checked.problems or check_calls(document, None if workflow is None else workflow.pk)
    if problems:
        count = len(problems)
        raise invalid(f"The workflow is not valid: {count} problem{'s' if count != 1 else ''}.", problems)
    return checked


def create_workflow(*, document: Any, user: Actor = None, workflow_id: str | None = None) -> WorkflowVersion:
    """Store a new workflow with its version 1. Raises ``ApiProblem`` 400; then nothing is stored.

    ``workflow_id`` is an id that it must have, for the samples; anything else gets a new one.
    """
    check_document(unmasked(document, None))
    with transaction.atomic():
        workflow = Workflow.objects.create(
            id=workflow_id or new_workflow_id(),
            title=document["title"],
            description=document.get("description") or "",
            created_by=stored_user(user),
        )
        return _add_version(workflow, document, number=1, user=user)


def update_workflow(
    *,
    workflow: Workflow,
    document: Any,
    expected_version: int | None = None,
    user: Actor = None,
    restored_from: int | None = None,
) -> WorkflowVersion:
    """Make ``document`` the current version; an unchanged one makes no new version.

    ``expected_version`` is what the caller believes to be current: 412 when it is not. 409 when it is archived.
    """
    check_document(document, workflow=workflow)
    with transaction.atomic():
        locked = _lock(workflow, expected_version)
        current = locked.current()
        document = unmasked(document, current.definition)
        if current.hash == definition_hash(document):
            return current
        number = locked.current_version + 1
        version = _add_version(locked, document, number=number, user=user, restored_from=restored_from)
        Workflow.objects.filter(pk=locked.pk).update(
            title=document["title"],
            description=document.get("description") or "",
            current_version=number,
            updated_at=DatabaseNow(),
        )
        return version


def patch_workflow(
    *, workflow: Workflow, patch: Any, expected_version: int | None = None, user: Actor = None
) -> WorkflowVersion:
    """Apply a JSON merge patch (RFC 7396) to the current definition. Errors as ``update_workflow``."""
    if not isinstance(patch, Mapping):
        detail = "A merge patch is a JSON object with the fields to change."
        raise invalid(detail, [Problem(pointer="", code="wrong_type", detail=detail)])
    with transaction.atomic():
        # Locked first, so that two patches at the same time both count.
        current = _lock(workflow, expected_version).current()
        document = merge_patch(current.definition, patch)
        return update_workflow(workflow=workflow, document=document, user=user)


def restore_version(*, workflow: Workflow, number: int, user: Actor = None) -> WorkflowVersion:
    """Make an earlier version current again, as a new version. 404 when there is none of that number."""
    old = version_of(workflow, number)
    return update_workflow(workflow=workflow, document=old.definition, user=user, restored_from=number)


def archive_workflow(*, workflow: Workflow) -> None:
    """Take a workflow out of use; its executions stay readable. Archiving twice changes nothing."""
    Workflow.objects.filter(pk=workflow.pk, archived_at=None).update(archived_at=DatabaseNow())


def get_workflow(workflow_id: str) -> Workflow:
    """The workflow of that id. Raises ``ApiProblem`` 404."""
    workflow = Workflow.objects.filter(pk=workflow_id).first()
    if workflow is None:
        raise not_found("workflow", workflow_id)
    return workflow


def version_of(workflow: Workflow, number: int) -> WorkflowVersion:
    """A version of a workflow. Raises ``ApiProblem`` 404."""
    version = workflow.versions.filter(number=number).first()
    if version is None:
        raise not_found(f"version {number} of workflow", workflow.pk)
    return version


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396: objects merge, ``null`` removes, all else replaces. Depth is bounded by the parser."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def _lock(workflow: Workflow, expected_version: int | None) -> Workflow:
    locked = Workflow.objects.select_for_update().get(pk=workflow.pk)
    if locked.archived_at is not None:
        raise conflict(f"Workflow {locked.pk} is archived and cannot be changed.", code="archived")
    if expected_version is not None and expected_version != locked.current_version:
        raise ApiProblem(
            status=412,
            code="version_changed",
            title="Precondition failed",
            detail=f"The current version is {locked.current_version}, not {expected_version}. "
            "Read it, apply your change to it, and send that with its version.",
        )
    return locked


def _add_version(
    workflow: Workflow, document: Any, *, number: int, user: Actor, restored_from: int | None = None
) -> WorkflowVersion:
    version = WorkflowVersion(
        workflow=workflow,
        number=number,
        definition=document,
        hash=definition_hash(document),
        restored_from=restored_from,
        created_by=stored_user(user),
    )
    version.save(force_insert=True)
    return version


def stored_user(user: Actor) -> Any:
    """The user as a foreign key takes it: nobody in particular is null."""
    return user if user is not None and user.is_authenticated else None
