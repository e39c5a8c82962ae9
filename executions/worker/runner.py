"""Runs one try: calls the task type, checks what it gives back, and turns every ending into an outcome."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from dataflow.lib.errors import TaskError
from dataflow.lib.jsonvalues import clean_json
from executions import files
from executions.engine.outcomes import Completed, Failed, Notes, Outcome, Released, Suspended, lacking
from executions.engine.planner import Claim
from executions.worker.context import TryContext
from executions.worker.database import persist
from tasks_lib import registry
from tasks_lib.base import TaskType, Wait
from workflows.definition import rename_outputs
from workflows.definition.problems import kind
from workflows.definition.values import is_of_type, named

logger = logging.getLogger(__name__)

MAX_MESSAGE_CHARACTERS = 8000


def run_try(claim: Claim, context: TryContext, *, may_store: bool = True) -> Outcome:
    """Run a claimed try to its end. Never raises: what goes wrong in a task is its failure, not the worker's.

    Where it may not store what is large, which can take as long as the storage likes, it is given back then.
    """
    task_type = registry.get(claim.type)
    if task_type is None:
        return _failed(TaskError("validation", f"This worker has no task type {claim.type}."), context)
    try:
        given = task_type.run(context, **_described(task_type, claim.inputs, context))
        if isinstance(given, Wait):
            return Suspended(wait=_without_secrets(given, context), notes=_storable(context))
        nulls = lacking(registry, claim.type, claim.stands_in_for) if claim.stands_in_for else {}
        outputs = context.veil.stored.value(_checked(task_type, given))
        renamed = rename_outputs(claim.renames, nulls | outputs)
        if not may_store and files.large_of(renamed):
            return Released()
        keep = partial(files.keep_large, renamed, execution_id=claim.execution_id, task=claim.task)
        inline, stored = persist(keep)  # a database that restarts must not fail a task that is done
    except TaskError as error:
        return _failed(context.cancellation.error or error, context)
    except Exception as error:  # the boundary around a task run: a defect in a type fails its task only
        logger.exception("%s %s: %s failed unexpectedly.", claim.execution_id, claim.task, claim.type)
        stopped = context.cancellation.error
        unexpected = TaskError("runtime", f"{type(error).__name__}: {error}")
        return _failed(stopped or unexpected, context)
    return Completed(outputs=inline, stored=stored, notes=_storable(context))


def _described(task_type: TaskType, inputs: Mapping[str, Any], context: TryContext) -> dict[str, Any]:
    """The inputs; a file that is given by its id alone has its name and type too, as one from another task has."""
    kinds = {field.name for field in task_type.inputs if field.type == "file"}
    return {
        name: context.files.describe(value) if name in kinds and isinstance(value, dict) else value
        for name, value in inputs.items()
    }


def _failed(error: TaskError, context: TryContext) -> Failed:
    """The failure with nothing in it that a database refuses: messages quote pages and models."""
    return Failed(
        error=TaskError(
            error.code,
            context.veil.told.message(clean_json(error.message))[:MAX_MESSAGE_CHARACTERS],
            retryable=error.retryable,
            retry_after=error.retry_after,
            details=context.veil.told.told(_cleaned(error.details)),
        ),
        notes=_storable(context),
    )


def _storable(context: TryContext) -> Notes:
    """What the try noted; the log is masked line by line as it is written, the amounts here."""
    notes = context.notes()
    return Notes(usage=context.veil.stored.value(_cleaned(notes.usage)), log=tuple(clean_json(list(notes.log))))


def _without_secrets(wait: Wait, context: TryContext) -> Wait:
    """What it waits for is stored, shown to people, and given to other executions."""
    mask = context.veil.stored
    if not mask:
        return wait
    state = None if wait.state is None else mask.value(dict(wait.state))
    return replace(wait, data=mask.value(dict(wait.data)), state=state)


def _cleaned(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Small values that a task type notes; what is not JSON is noted as its text."""
    cleaned = {}
    for name, value in values.items():
        try:
            cleaned[name] = clean_json(value)
        except ValueError:
            cleaned[name] = clean_json(repr(value)[:MAX_MESSAGE_CHARACTERS])
    return cleaned


def _checked(task_type: TaskType, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the type gave, cleaned and held to its description. Raises ``TaskError('output_invalid')``."""
    known = {field.name: field for field in task_type.outputs}
    if not task_type.any_outputs and (unknown := sorted(set(given) - set(known))):
        raise TaskError("output_invalid", f"{task_type.name} gave {', '.join(unknown)}, which it does not describe.")
    outputs: dict[str, Any] = {name: clean_json(given[name]) for name in given if name not in known}
    for name, field in known.items():
        try:
            outputs[name] = clean_json(given.get(name))
        except ValueError as error:
            raise TaskError("output_invalid", f"Output {name} of {task_type.name}: {error}") from error
        if outputs[name] is not None and not is_of_type(outputs[name], field.type):
            wanted = f"must be {named(field.type)}, not {kind(outputs[name])}"
            raise TaskError("output_invalid", f"Output {name} of {task_type.name} {wanted}.")
    return outputs
