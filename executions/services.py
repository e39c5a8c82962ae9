"""What callers can ask of executions: start, cancel, send a delivery again, give a file."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.db import IntegrityError

from dataflow.lib.errors import ApiProblem, Problem, conflict, invalid, not_found
from dataflow.lib.failpoints import failpoint
from executions import blobs, database, files, store
from executions.definitions import DefinitionBroken, definition_of
from executions.deliveries import redeliver
from executions.engine.state import ExecutionStatus
from executions.models import Execution, IdempotencyKey, StoredFile
from executions.needs import require as require_needs
from executions.start_options import StartOptions, check_options
from executions.starting import Frozen, build_row, frozen_version, sealed
from executions.store import slots
from executions.uploads import Upload
from workflows.definition import (
    Definition,
    ExpressionError,
    check_inputs,
    check_labels,
    check_monitoring,
    definition_hash,
)
from workflows.models import Workflow, WorkflowVersion
from workflows.services import Actor, stored_user

__all__ = ["cancel_execution", "redeliver", "save_upload", "sealed", "start_execution"]

MAX_KEY_CHARACTERS = 255
_KEY_LIFE = timedelta(hours=24)
_NOT_STARTED = "The execution was not started: its request is not valid."


def start_execution(  # noqa: PLR0913 - the parts of one request, each by name
    *,
    workflow: Workflow,
    inputs: Any,
    monitoring: Any = None,
    labels: Any = None,
    version: int | None = None,
    priority: Any = None,
    delay: Any = None,
    start_at: Any = None,
    openai_key: str | None = None,
    user: Actor = None,
    trigger: str = "api",
    trigger_ref: str = "",
    idempotency_key: str | None = None,
    is_remembered: bool = False,
    flushed: bool = True,
) -> Execution:
    """Accept an execution: when this returns it is committed, and will end in one of the three ended states.

    Raises ``ApiProblem``: 400 for wrong inputs (all at once) or a missing key, 409 for an archived workflow, 422 for an
    ``idempotency_key`` that came with another request, 429 where the workflow's concurrency limit is reached and it
    wants no queue. Then nothing is queued. With ``is_remembered``, which goes without an ``idempotency_key``, also
    ``store.ReadFirst``; and no refusal counts before the workflow was read. ``flushed``: see ``store.create``.
    """
    key, same = _scoped(workflow, idempotency_key), [workflow.pk, version, inputs, monitoring, labels]
    request_hash = _request_hash(same, [priority, delay, start_at]) if key else ""
    # First of all: a repeated request gets its answer even where it would be refused today.
    if key and (first := _first_answer(key, request_hash)) is not None:
        return first
    if workflow.archived_at is not None:
        raise conflict(f"Workflow {workflow.pk} is archived and cannot be executed.", code="archived")
    frozen = _frozen(workflow, version or workflow.current_version)
    known_version = _known_version(workflow, frozen) if is_remembered else None
    row = new_execution(
        version=frozen,
        inputs=inputs,
        monitoring=monitoring,
        labels=labels,
        priority=priority,
        delay=delay,
        start_at=start_at,
        openai_key=openai_key,
        user=user,
        trigger=trigger,
        trigger_ref=trigger_ref,
    )
    # The same key's next request is answered at once by this one.
    insert = partial(store.create, known_version=known_version, flushed=flushed or bool(key))
    return accept(row, key=key, request_hash=request_hash, insert=insert)


def new_execution(  # noqa: PLR0913 - as above
    *,
    version: WorkflowVersion | Frozen,
    inputs: Any,
    monitoring: Any = None,
    labels: Any = None,
    priority: Any = None,
    delay: Any = None,
    start_at: Any = None,
    openai_key: str | None = None,
    user: Actor = None,
    trigger: str = "api",
    trigger_ref: str = "",
) -> Execution:
    """The row of a checked execution, not stored yet. Raises ``ApiProblem`` 400 with all that is wrong."""
    frozen = version if isinstance(version, Frozen) else Frozen.of(version)
    definition = definition_for(frozen)
    options, problems = check_options(priority=priority, delay=delay, start_at=start_at)
    values = _checked(definition, inputs, monitoring, labels, problems)
    require_needs(definition, openai_key, values)
    try:
        row = build_row(
            frozen,
            definition,
            values,
            monitoring=monitoring,
            labels=labels,
            openai_key=openai_key,
            priority=options.priority,
            trigger=trigger,
            trigger_ref=trigger_ref,
        )
    except ExpressionError as error:
        raise invalid(_NOT_STARTED, [Problem(pointer="/inputs", code=error.code, detail=error.message)]) from error
    _postpone(row, options)
    row.created_by = stored_user(user)
    return row


def cancel_execution(*, execution: Execution, reason: str = "", user: Actor = None) -> Execution:
    """Cancel an execution. A cancelled one stays so (idempotent); 409 for a COMPLETED or FAILED one."""
    known = stored_user(user)
    by = known.get_username() if known is not None else "api"
    status = store.cancel(execution.pk, reason=reason[:500], by=by)
    if status is not ExecutionStatus.CANCELLED:
        raise conflict(f"Execution {execution.pk} has ended ({status}); it cannot be cancelled.", code="already_ended")
    return Execution.objects.get(pk=execution.pk)


def save_upload(*, upload: UploadedFile[bytes]) -> StoredFile:
    """Keep an uploaded file, which is on the disk already. Raises ``ApiProblem`` 413 over 512 MiB."""
    if not isinstance(upload, Upload):
        raise TypeError(f"FILE_UPLOAD_HANDLERS must be SpoolingHandler alone; another one gave {type(upload)}.")
    if (upload.size or 0) > files.MAX_BYTES:
        detail = f"A file may have at most {files.MAX_BYTES // 1024 // 1024} MiB."
        raise ApiProblem(status=413, code="too_large", title="Content too large", detail=detail)
    return files.keep_spool(upload.spool, upload.name or "file", upload.content_type or "")


def discard_upload(*, stored: StoredFile) -> None:
    """Remove an uploaded file that nothing came to use."""
    blobs.delete_files([stored.pk])


def definition_for(version: WorkflowVersion | Frozen) -> Definition:
    """The compiled definition of a version. Raises ``ApiProblem`` 409 where this installation cannot run it."""
    try:
        return definition_of(version.version_id if isinstance(version, Frozen) else version.pk)
    except DefinitionBroken as broken:
        raise conflict(str(broken), code="cannot_run_here") from broken


def _checked(definition: Definition, inputs: Any, monitoring: Any, labels: Any, found: list[Problem]) -> dict[str, Any]:
    """The values of the inputs, or one 400 with all that is wrong in the request; ``found`` is of it already."""
    values, problems = check_inputs(definition, {} if inputs is None else inputs)
    problems = [*problems, *found]
    if monitoring is not None:
        problems = [*problems, *check_monitoring(monitoring, "/monitoring")]
    if labels is not None:
        problems = [*problems, *check_labels(labels, "/labels")]
    if not problems:
        problems = files.resolve(definition, values)
    if problems:
        raise invalid(_NOT_STARTED, problems)
    return values


def _postpone(row: Execution, options: StartOptions) -> None:
    """A start at a time of its own."""
    if (at := options.starts_at()) is not None:
        row.wake_at = row.pick_at = at
        row.start_at = at if at > database.database_now() else None


def _frozen(workflow: Workflow, number: int) -> Frozen:
    try:
        return frozen_version(workflow.pk, number)
    except WorkflowVersion.DoesNotExist as missing:
        raise not_found(f"version {number} of workflow", workflow.pk) from missing


def _known_version(workflow: Workflow, frozen: Frozen) -> int:
    """What a workflow is remembered by. ``ReadFirst`` where a limit asks for more than that it is still so."""
    if definition_for(frozen).concurrency is not None:
        raise store.ReadFirst
    return workflow.current_version


def _request_hash(always: list[Any], options: list[Any]) -> str:
    """What tells requests apart. Options that were not given are no part of it, as before there were such."""
    return definition_hash([*always, *([options] if any(one is not None for one in options) else [])])


def _scoped(workflow: Workflow, key: str | None) -> str:
    """A caller's key as it is stored; empty for none."""
    if key is None:
        return ""
    if not 1 <= len(key) <= MAX_KEY_CHARACTERS or not key.isascii() or not key.isprintable():
        detail = f"`Idempotency-Key` has 1 to {MAX_KEY_CHARACTERS} printable ASCII characters."
        raise invalid(detail, [Problem(pointer="/Idempotency-Key", code="invalid_header", detail=detail)])
    return f"{workflow.pk}:{key}"


def accept(
    row: Execution, *, key: str = "", request_hash: str = "", insert: Callable[[Execution], None] | None = None
) -> Execution:
    """Store an execution by ``insert`` (``store.create``), within its workflow's limit.

    Gives the first answer where the same request was first. Raises ``ApiProblem`` 429 where the limit is reached and
    the workflow wants no queue.
    """
    insert = insert or store.create
    on_limit = slots.on_limit_of(row.version_id) if row.concurrency_key else ""
    if not key and on_limit != "reject":
        insert(row)
    else:
        try:
            with database.writing():
                if on_limit == "reject":
                    _refuse_if_full(row)
                _insert(row, key, request_hash, insert)
                failpoint("accept.before_commit")
        except IntegrityError:
            # The same request at the same time was first.
            if not key or (first := _first_answer(key, request_hash)) is None:
                raise
            return first
    failpoint("accept.after_commit")
    if on_limit == "cancel_running" and row.start_at is None:
        slots.make_room_later(row.concurrency_key)
    return row


def _insert(row: Execution, key: str, request_hash: str, insert: Callable[[Execution], None]) -> None:
    if key:
        IdempotencyKey.objects.filter(key=key, created_at__lt=database.database_now() - _KEY_LIFE).delete()
    insert(row)
    if key:
        IdempotencyKey.objects.create(key=key, request_hash=request_hash, execution=row)


def _refuse_if_full(row: Execution) -> None:
    """Raise ``ApiProblem`` 429 when as many executions as may run do so, or are about to."""
    if why := slots.refusal(row):
        headers = {"Retry-After": "1"}
        raise ApiProblem(status=429, code="concurrency_limit", title="Too many requests", detail=why, headers=headers)


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
