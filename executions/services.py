"""What callers can ask of executions: start, cancel, send a delivery again, give a file."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.db import IntegrityError

from dataflow.lib.errors import ApiProblem, Problem, TaskError, conflict, invalid
from executions import database, files, store, vault
from executions.definitions import DefinitionBroken, definition_of
from executions.deliveries import redeliver
from executions.engine.state import ExecutionStatus
from executions.models import Execution, IdempotencyKey, StoredFile
from executions.outside import OPENAI_KEY, Provider, provider_for, seal
from executions.webhooks import subscription_of
from tasks_lib import registry
from workflows.definition import Definition, check_inputs, check_labels, check_monitoring, definition_hash
from workflows.models import Workflow, WorkflowVersion
from workflows.services import Actor, stored_user, version_of

__all__ = ["cancel_execution", "redeliver", "save_upload", "start_execution"]

UNKNOWN_TYPE = "application/octet-stream"
MAX_KEY_CHARACTERS = 255
_KEY_LIFE = timedelta(hours=24)


def start_execution(  # noqa: PLR0913 - the parts of one request, each by name
    *,
    workflow: Workflow,
    inputs: Any,
    monitoring: Any = None,
    labels: Any = None,
    version: int | None = None,
    openai_key: str | None = None,
    user: Actor = None,
    trigger: str = "api",
    idempotency_key: str | None = None,
) -> Execution:
    """Accept an execution: when this returns it is committed, and will end in one of the three ended states.

    Raises ``ApiProblem``: 400 for wrong inputs (all at once) or a missing key, 409 for an archived workflow, 422 for an
    ``idempotency_key`` that came with another request. Then nothing is queued.
    """
    key = _scoped(workflow, idempotency_key)
    request_hash = definition_hash([workflow.pk, version, inputs, monitoring, labels])
    # First of all: a repeated request gets its answer even where it would be refused today.
    if key and (first := _first_answer(key, request_hash)) is not None:
        return first
    if workflow.archived_at is not None:
        raise conflict(f"Workflow {workflow.pk} is archived and cannot be executed.", code="archived")
    frozen = version_of(workflow, version or workflow.current_version)
    definition = _definition(frozen)
    values = _checked(definition, inputs, monitoring, labels)
    _require_keys(definition, openai_key)
    row = _row(frozen, definition, values, monitoring, labels or {}, openai_key)
    row.trigger = trigger
    row.created_by = stored_user(user)
    return _insert(row, key, request_hash)


def cancel_execution(*, execution: Execution, reason: str = "", user: Actor = None) -> Execution:
    """Cancel an execution. A cancelled one stays so (idempotent); 409 for a COMPLETED or FAILED one."""
    known = stored_user(user)
    by = known.get_username() if known is not None else "api"
    status = store.cancel(execution.pk, reason=reason[:500], by=by)
    if status is not ExecutionStatus.CANCELLED:
        raise conflict(f"Execution {execution.pk} has ended ({status}); it cannot be cancelled.", code="already_ended")
    return Execution.objects.get(pk=execution.pk)


def save_upload(*, upload: UploadedFile[bytes]) -> StoredFile:
    """Keep an uploaded file, as a stream. Raises ``ApiProblem`` 413 over 512 MiB."""
    name = upload.name or "file"
    content_type = upload.content_type or UNKNOWN_TYPE
    if content_type == UNKNOWN_TYPE or not (content_type.isascii() and content_type.isprintable()):
        content_type = files.guess_type(name)
    try:
        with files.creating(name, content_type) as writer:
            for chunk in upload.chunks():
                writer.write(chunk)
    except TaskError as error:
        raise ApiProblem(status=413, code=error.code, title="Content too large", detail=error.message) from error
    return StoredFile.objects.get(pk=writer.value["file_id"])


def discard_upload(*, stored: StoredFile) -> None:
    """Remove an uploaded file that nothing came to use."""
    stored.delete()
    stored.content.delete(save=False)


def _definition(version: WorkflowVersion) -> Definition:
    try:
        return definition_of(version.pk)
    except DefinitionBroken as broken:
        raise conflict(str(broken), code="cannot_run_here") from broken


def _checked(definition: Definition, inputs: Any, monitoring: Any, labels: Any) -> dict[str, Any]:
    """The values of the inputs, or one 400 with all that is wrong in the request."""
    values, problems = check_inputs(definition, {} if inputs is None else inputs)
    if monitoring is not None:
        problems = [*problems, *check_monitoring(monitoring, "/monitoring")]
    if labels is not None:
        problems = [*problems, *check_labels(labels, "/labels")]
    if not problems:
        problems = _resolve_files(definition, values)
    if problems:
        raise invalid("The execution was not started: its request is not valid.", problems)
    return values


def _resolve_files(definition: Definition, values: dict[str, Any]) -> list[Problem]:
    """Replace ids of stored files by full file values; a URL stays, to be fetched at run time."""
    problems = []
    for given in definition.inputs:
        value = values.get(given.name)
        if given.type != "file" or value is None:
            continue
        file_id = value if isinstance(value, str) else value.get("file_id")
        if file_id is None:
            continue
        stored = StoredFile.objects.filter(pk=file_id).first()
        if stored is None:
            detail = f"There is no file {file_id}. Upload it with POST /files."
            problems.append(Problem(pointer=f"/inputs/{given.name}", code="unknown_file", detail=detail))
        else:
            values[given.name] = stored.as_value()
    return problems


def _require_keys(definition: Definition, openai_key: str | None) -> None:
    """Refuse what would fail for want of a key before it is queued (3-task-types.md)."""
    provider = provider_for(openai_key)
    lacking = [
        Problem(pointer=f"/tasks/{place}", code="missing_key", detail=_needs_key(task.name, type_name, provider))
        for place, task in enumerate(definition.tasks)
        for type_name in (task.type, *([task.fallback.type] if task.fallback else []))
        if _lacks_key(type_name, provider)
    ]
    if lacking:
        detail = (
            "This workflow needs an OpenAI key. Send it in the header X-OpenAI-Key, or set OPENAI_API_KEY "
            "for the installation."
        )
        raise invalid(detail, lacking, code="missing_key")


def _lacks_key(type_name: str, provider: Provider) -> bool:
    task_type = registry.get(type_name)
    if task_type is None or OPENAI_KEY not in task_type.secrets:
        return False
    return provider.key is None or (provider.is_local_voice and not task_type.local_voice)


def _needs_key(task: str, type_name: str, provider: Provider) -> str:
    spoken = " The local voice stands in for speech only." if provider.is_local_voice else ""
    return f"Task {task} ({type_name}) needs a key: send it in the header X-OpenAI-Key.{spoken}"


def _row(
    version: WorkflowVersion,
    definition: Definition,
    values: dict[str, Any],
    monitoring: Any,
    labels: Mapping[str, str],
    openai_key: str | None,
) -> Execution:
    subscription, secret = subscription_of(definition.monitoring if monitoring is None else monitoring)
    return Execution(
        workflow_id=version.workflow_id,
        version=version,
        workflow_version=version.number,
        title=definition.title,
        inputs=values,
        labels={**definition.labels, **labels},
        monitoring=subscription,
        webhook_secret=vault.encrypt(secret),
        secrets=seal({OPENAI_KEY: openai_key} if openai_key else {}),
    )


def _scoped(workflow: Workflow, key: str | None) -> str:
    """A caller's key as it is stored; empty for none."""
    if key is None:
        return ""
    if not 1 <= len(key) <= MAX_KEY_CHARACTERS or not key.isascii() or not key.isprintable():
        detail = f"`Idempotency-Key` has 1 to {MAX_KEY_CHARACTERS} printable ASCII characters."
        raise invalid(detail, [Problem(pointer="/Idempotency-Key", code="invalid_header", detail=detail)])
    return f"{workflow.pk}:{key}"


def _insert(row: Execution, key: str, request_hash: str) -> Execution:
    try:
        with database.writing():
            if key:
                IdempotencyKey.objects.filter(key=key, created_at__lt=database.database_now() - _KEY_LIFE).delete()
            store.create(row)
            if key:
                IdempotencyKey.objects.create(key=key, request_hash=request_hash, execution=row)
    except IntegrityError:
        # The same request at the same time was first.
        if not key or (first := _first_answer(key, request_hash)) is None:
            raise
        return first
    return row


def _first_answer(key: str, request_hash: str) -> Execution | None:
    """What this key started within its life, if anything. Raises ``ApiProblem`` 422 when that was another request."""
    young = IdempotencyKey.objects.filter(key=key, created_at__gte=database.database_now() - _KEY_LIFE)
    first = young.select_related("execution").first()
    if first is None:
        return None
    if first.request_hash != request_hash:
        raise ApiProblem(
            status=422,
            code="idempotency_key_reused",
            title="Unprocessable content",
            detail="This `Idempotency-Key` came with another request. Use a new key for a new request.",
        )
    return first.execution
