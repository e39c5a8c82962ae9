"""What people do to executions by hand: resume one, rerun one, decide an approval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from dataflow.lib.errors import ApiProblem, Problem, conflict, invalid, not_found
from dataflow.lib.sizes import json_size
from executions import files, services, vault
from executions.engine.state import ExecutionStatus, task_of
from executions.engine.verbs import Decision, reusable
from executions.files import INLINE_BYTES
from executions.hidden import is_masked
from executions.models import Execution, TaskRun
from executions.needs import require as require_needs
from executions.store import verbs as transactions
from executions.waiting import waits_for_approval
from executions.webhooks import subscription_of
from workflows.definition import Definition
from workflows.definition.form import check_form, read_form
from workflows.definition.problems import nearest, shown
from workflows.models import WorkflowVersion
from workflows.services import Actor, stored_user, version_of

LATEST = "latest"
MAX_COMMENT = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """What to do otherwise than the source did; ``None`` is as it did.

    ``version`` is a number or ``"latest"``, ``inputs`` are those that change, ``from_task`` the task before which
    results are taken over.
    """

    version: int | str | None = None
    inputs: Mapping[str, Any] | None = None
    from_task: str | None = None
    labels: Any = None
    monitoring: Any = None
    priority: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerunning:
    """A new execution, the tasks whose results it takes over, and those that it will run."""

    execution: Execution
    reused: list[str]
    will_run: list[str]


def actor_name(user: Actor) -> str:
    """Who did something: the user's name, or ``api`` for nobody in particular."""
    known = stored_user(user)
    return known.get_username() if known is not None else "api"


def resume_execution(*, execution: Execution, openai_key: str | None = None, user: Actor = None) -> Execution:
    """Let a FAILED or CANCELLED execution go on from what did not complete: the same one, PENDING again.

    Raises ``ApiProblem``: 409 for one in another state (``not_resumable``) or whose parent ended (``parent_ended``),
    400 for a key that is missing: the one given at the start was erased when it ended.
    """
    _refuse_resume(execution, ExecutionStatus(execution.status))
    definition = services.definition_for(execution.version)
    require_needs(definition, openai_key, execution.inputs)
    try:
        transactions.resume(execution.pk, by=actor_name(user), secrets=services.sealed(openai_key))
    except transactions.NotResumable as refused:
        if refused.parent:
            detail = (
                f"Execution {execution.pk} belongs to {refused.parent}, which waits for it no more and "
                "starts this part anew; where that has ended, resume it."
            )
            raise conflict(detail, code="parent_ended") from refused
        _refuse_resume(execution, refused.status)
        raise
    return Execution.objects.get(pk=execution.pk)


def _refuse_resume(execution: Execution, status: ExecutionStatus) -> None:
    if status is ExecutionStatus.COMPLETED:
        raise conflict(
            f"Execution {execution.pk} is COMPLETED: nothing is left to do. Use rerun for a new one.",
            code="not_resumable",
        )
    if not status.ended:
        detail = f"Execution {execution.pk} has not ended ({status}); it needs no resuming."
        raise conflict(detail, code="not_resumable")


def rerun_execution(
    *, execution: Execution, changes: Rerun | None = None, openai_key: str | None = None, user: Actor = None
) -> Rerunning:
    """Start a new execution like this one, whatever became of it, with ``changes``.

    Raises ``ApiProblem`` as ``start_execution``: 409 for an archived workflow, or where the webhook's secret cannot be
    opened any more, 400 for an unknown ``from_task`` too.
    """
    if execution.workflow.archived_at is not None:
        raise conflict(f"Workflow {execution.workflow_id} is archived and cannot be executed.", code="archived")
    changes = changes or Rerun()
    version = _version(execution, changes.version)
    definition = services.definition_for(version)
    _refuse_unknown_task(definition, changes.from_task)
    row = services.new_execution(
        version=version,
        inputs=_inputs(execution, definition, changes.inputs),
        monitoring=_monitoring(execution) if changes.monitoring is None else changes.monitoring,
        labels=_labels(execution) if changes.labels is None else changes.labels,
        priority=execution.priority if changes.priority is None else changes.priority,
        openai_key=openai_key,
        user=user,
        trigger="rerun",
    )
    row.rerun_of, row.trigger_ref = execution, execution.pk
    reused = _reused(execution, row, version, changes.from_task) if changes.from_task else []
    services.accept(row, insert=partial(transactions.create_rerun, definition=definition, tasks=reused))
    will_run = [task.name for task in definition.tasks if task.name not in reused]
    return Rerunning(execution=row, reused=reused, will_run=will_run)


def decide_approval(
    *, execution: Execution, task: str, approved: bool, values: Any = None, comment: str = "", user: Actor = None
) -> Execution:
    """Approve or reject what waits for a person; ``task`` may be an item, ``name[3]``.

    Raises ``ApiProblem``: 404 for no such task, 409 where nobody is asked (any more: it says who decided), 400 for
    values that do not fit the form (at ``/values/…``) and for a comment that is too long.
    """
    run = execution.task_runs.filter(name=task).first()
    if run is None and task_of(task) not in _names(execution):
        raise not_found(f"task {task[:80]} in execution", execution.pk)
    if run is None or not waits_for_approval(run) or ExecutionStatus(execution.status).ended:
        raise not_asked(task, run)
    given = _form_values(run, values, comment, approved=approved)
    decision = Decision(approved=approved, by=actor_name(user), comment=comment, values=given)
    try:
        transactions.decide(execution.pk, task, decision)
    except transactions.NotWaiting as late:
        raise not_asked(task, TaskRun.objects.filter(execution=execution, name=task).first()) from late
    return Execution.objects.get(pk=execution.pk)


def _names(execution: Execution) -> set[str]:
    return {task["name"] for task in execution.version.definition["tasks"]}


def not_asked(task: str, run: TaskRun | None) -> ApiProblem:
    """Why nobody can decide: a 409 that says who did, and when, where somebody did."""
    decided = decision_of(run)
    if decided is None:
        status = f"it is {run.status}" if run is not None else "it has not started"
        return conflict(f"Task {task} does not wait for an approval: {status}.", code="not_waiting")
    verb = "approved" if decided["approved"] else "rejected"
    return conflict(f"Task {task} was {verb} by {decided['by']} at {decided['at']}.", code="already_decided")


def decision_of(run: TaskRun | None) -> Mapping[str, Any] | None:
    """What was decided about a task run that asked a person, else ``None``."""
    said = (run.outputs or (run.error or {}).get("details")) if run is not None else None
    return said if isinstance(said, Mapping) and {"approved", "by", "at"} <= said.keys() else None


def _form_values(run: TaskRun, values: Any, comment: str, *, approved: bool) -> dict[str, Any]:
    """The checked values of the form. Who rejects may leave fields empty."""
    form = (run.waiting or {}).get("form") or []
    checked, problems = check_form(form, values)
    problems = [one for one in problems if approved or one.code != "required"]
    if not problems:
        fields = Definition(title="", description="", inputs=read_form(form)[0], tasks=(), outputs=())
        unknown = files.resolve(fields, checked)
        problems = [replace(one, pointer=one.pointer.replace("/inputs", "/values", 1)) for one in unknown]
    if json_size(checked, INLINE_BYTES) > INLINE_BYTES:
        detail = f"`values` may have at most {INLINE_BYTES // 1024} KiB of JSON. Send large ones as files."
        problems.append(Problem(pointer="/values", code="too_large", detail=detail))
    if len(comment) > MAX_COMMENT:
        detail = f"`comment` has at most {MAX_COMMENT} characters."
        problems.append(Problem(pointer="/comment", code="too_long", detail=detail))
    if problems:
        raise invalid("Nothing was decided: the request is not valid.", problems)
    return checked


def _version(execution: Execution, wanted: int | str | None) -> WorkflowVersion:
    if wanted is None:
        return execution.version
    number = execution.workflow.current_version if wanted == LATEST else int(wanted)
    return version_of(execution.workflow, number)


def _inputs(execution: Execution, definition: Definition, changed: Mapping[str, Any] | None) -> dict[str, Any]:
    """The source's inputs as far as the version still knows them, and the changed ones over them."""
    known = {one.name for one in definition.inputs}
    # What comes back as it was shown is not changed.
    kept = {name for name in definition.sensitive if name in execution.inputs and is_masked((changed or {}).get(name))}
    given = {name: value for name, value in (changed or {}).items() if name not in kept}
    return {name: value for name, value in execution.inputs.items() if name in known} | given


def _labels(execution: Execution) -> dict[str, str]:
    """The source's labels without those of its version's definition: the version that runs brings its own."""
    own = execution.version.definition.get("labels") or {}
    return {name: value for name, value in execution.labels.items() if own.get(name) != value}


def _monitoring(execution: Execution) -> dict[str, Any] | None:
    """The source's webhook as a request would give it, with its secret; ``None`` where it is the definition's."""
    if not execution.monitoring:
        return None
    try:
        secret = vault.decrypt(execution.webhook_secret)
    except ValueError as error:
        detail = (
            f"The webhook secret of execution {execution.pk} cannot be read: its encryption key is gone. Send "
            "`monitoring` with the request."
        )
        raise conflict(detail, code="cannot_run_here") from error
    if (execution.monitoring, secret) == subscription_of(execution.version.definition.get("monitoring")):
        return None
    return {"webhook": {**execution.monitoring, **({"secret": secret} if secret else {})}}


def _refuse_unknown_task(definition: Definition, name: str | None) -> None:
    if name is not None and name not in definition.places:
        detail = f"`from_task`: the workflow has no task {shown(name)}."
        hint = nearest(name, definition.places)
        raise invalid(detail, [Problem(pointer="/from_task", code="unknown_task", detail=detail, hint=hint)])


def _reused(source: Execution, row: Execution, version: WorkflowVersion, from_task: str) -> list[str]:
    changed = {name for name, value in row.inputs.items() if source.inputs.get(name) != value}
    ended_as = dict(source.task_runs.filter(item__isnull=True).values_list("name", "status"))
    return reusable(
        definition=services.definition_for(version),
        documents=(source.version.definition, version.definition),
        ended_as=ended_as,
        from_task=from_task,
        changed=changed,
    )
