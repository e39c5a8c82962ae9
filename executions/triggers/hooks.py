"""Hooks: making and changing them, and starting an execution for a request that came to one."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import F

from dataflow.lib.errors import ApiProblem, Problem, conflict, invalid, not_found
from dataflow.lib.fields import DatabaseNow
from executions import database, signing, vault
from executions.database import database_now
from executions.models import Execution
from executions.services import MAX_KEY_CHARACTERS, start_execution
from executions.trigger_models import Hook
from executions.triggers import mapping, signatures
from executions.triggers.checks import HookSettings, checked_hook, refuse_archived
from workflows.models import Workflow
from workflows.services import Actor, merge_patch, stored_user

#: Of one workflow.
MAX_HOOKS = 100
_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A hook with what is shown only once: its token, and a secret that was made for it (else empty)."""

    hook: Hook
    token: str = ""
    secret: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A request to a hook: ``headers`` and ``query`` by name (headers in lower case), ``raw`` the bytes of the body."""

    headers: Mapping[str, str]
    query: Mapping[str, str]
    raw: bytes


def create_hook(*, workflow: Workflow, document: Any, user: Actor = None) -> Made:
    """Store a hook. Raises ``ApiProblem``: 400 with all that is wrong, 409 archived or too many."""
    refuse_archived(workflow)
    settings = checked_hook(document, workflow)
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    with database.writing():
        Workflow.objects.select_for_update().get(pk=workflow.pk)
        if workflow.hooks.count() >= MAX_HOOKS:
            raise conflict(f"A workflow has at most {MAX_HOOKS} hooks. Delete one first.", code="too_many")
        hook = Hook(workflow=workflow, token_hash=_hash(token), created_by=stored_user(user), created_at=database_now())
        secret = _take_over(hook, settings)
        hook.save(force_insert=True)
    return Made(hook=hook, token=token, secret=secret)


def patch_hook(*, hook: Hook, patch: Any) -> Made:
    """Apply a JSON merge patch to the settings. Raises ``ApiProblem`` 400.

    A signature that is switched on without a secret gets a new one, shown this once.
    """
    with database.writing():
        row = _locked(hook)
        document = merge_patch(settings_of(row), patch) if isinstance(patch, dict) else patch
        with_inputs = isinstance(patch, dict) and "inputs" in patch
        secret = _take_over(row, checked_hook(document, hook.workflow, with_inputs=with_inputs))
        row.save(update_fields=["name", "inputs", "signature", "secret", "enabled"])
    return Made(hook=row, secret=secret)


def rotate_token(*, hook: Hook) -> Made:
    """Give a hook a new token; the old address is gone at once."""
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    with database.writing():
        row = _locked(hook)
        row.token_hash = _hash(token)
        row.save(update_fields=["token_hash"])
    return Made(hook=row, token=token)


def delete_hook(*, hook: Hook) -> None:
    """Remove a hook; what it started stays."""
    with database.writing():
        Hook.objects.filter(pk=hook.pk).delete()


def get_hook(workflow: Workflow, hook_id: str) -> Hook:
    """A hook of a workflow. Raises ``ApiProblem`` 404."""
    found = Hook.objects.select_related("workflow", "created_by").filter(pk=hook_id, workflow=workflow).first()
    if found is None:
        raise not_found("hook", hook_id)
    return found


def hook_of(token: str) -> Hook:
    """The hook that a token opens. Raises ``ApiProblem`` 404: an unknown one is not told from one that is off."""
    found = Hook.objects.select_related("workflow").filter(token_hash=_hash(token), enabled=True).first()
    if found is None:
        detail = "There is no such hook, or it is switched off."
        raise ApiProblem(status=404, code="not_found", title="Not found", detail=detail)
    return found


def check_signature(*, hook: Hook, received: Received) -> None:
    """Raise ``ApiProblem`` 401 unless the request is signed as the hook wants it; 409 when that cannot be told."""
    if hook.signature:
        try:
            key = vault.decrypt(hook.secret)
        except ValueError as error:
            detail = f"The secret of hook {hook.pk} cannot be read: its encryption key is gone. Give it a new secret."
            raise conflict(detail, code="cannot_run_here") from error
        signatures.check(hook.signature, key, headers=received.headers, body=received.raw, now=database_now())


def start_from(*, hook: Hook, received: Received, body: Any) -> Execution:
    """Start the hook's workflow with the inputs in a request. Raises ``ApiProblem`` as ``start_execution`` does.

    A delivery that its sender names (``webhook-id``, ``X-GitHub-Delivery``) is started once in 24 hours.
    """
    inputs = _inputs(hook, received, body)
    try:
        execution = start_execution(
            workflow=hook.workflow,
            inputs=inputs,
            trigger="hook",
            trigger_ref=hook.pk,
            idempotency_key=_key(hook, received),
        )
    except ApiProblem as problem:
        if hook.inputs is None:  # the body is the inputs: that is where the places are
            problem.errors = tuple(replace(one, pointer=one.pointer.removeprefix("/inputs")) for one in problem.errors)
        raise
    # After the start: the row of a busy hook is locked for as short as can be.
    Hook.objects.filter(pk=hook.pk).update(count=F("count") + 1, last_used_at=DatabaseNow())
    return execution


def settings_of(hook: Hook) -> dict[str, Any]:
    """The settings as a document that would make them, without the secret."""
    document = {"name": hook.name, "inputs": hook.inputs, "signature": hook.signature or None, "enabled": hook.enabled}
    return {name: value for name, value in document.items() if value is not None}


def _inputs(hook: Hook, received: Received, body: Any) -> Any:
    if hook.inputs is None:
        if not isinstance(body, dict):
            detail = "The body must be a JSON object: it is the inputs of the workflow."
            raise invalid(detail, [Problem(pointer="", code="wrong_type", detail=detail)])
        return body
    return mapping.render(hook.inputs, {"body": body, "headers": received.headers, "query": received.query})


def _key(hook: Hook, received: Received) -> str | None:
    """The delivery's id, by hook: two senders may count alike."""
    given = signatures.delivery_id(received.headers)
    key = f"{hook.pk}:{given}"
    # An odd or endless id still tells one delivery from another.
    plain = len(key) <= MAX_KEY_CHARACTERS and key.isascii() and key.isprintable()
    return None if given is None else key if plain else f"{hook.pk}:{_hash(given)}"


def _take_over(hook: Hook, settings: HookSettings) -> str:
    """Write the settings into the row. Returns a secret that was made, to be shown this once."""
    hook.name, hook.inputs, hook.enabled = settings.name, settings.inputs, settings.enabled
    hook.signature = settings.signature
    made = signing.new_secret() if settings.signature and not (hook.secret or settings.secret) else ""
    if not settings.signature:
        hook.secret = ""
    elif given := settings.secret or made:
        hook.secret = vault.encrypt(given)
    return made


def _locked(hook: Hook) -> Hook:
    row = Hook.objects.select_for_update().filter(pk=hook.pk).first()
    if row is None:
        raise not_found("hook", hook.pk)
    return row


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
