"""What a workflow needs to be there before it starts: keys, secrets, connections. And what it will need one day.

What is missing is refused before anything is queued; when a definition is made it is only a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dataflow.lib.errors import Problem, TaskError, invalid
from executions import secret_store
from executions.outside import OPENAI_KEY, Provider, provider_for
from tasks_lib import registry
from tasks_lib.base import TaskType
from tasks_lib.connections import KINDS
from workflows.definition import Definition, Template
from workflows.definition.model import Task, secrets_of
from workflows.definition.problems import at, shown

#: The input of every type that goes through a connection.
_CONNECTION = "connection"
#: Groups of types that use a connection of another group's kind.
_KIND_OF = {"ai": "openai"}


def require(definition: Definition, openai_key: str | None, values: Mapping[str, Any]) -> None:
    """Raise ``ApiProblem`` 400 where a key, a secret or a connection is missing that a run with ``values`` needs."""
    lacking, keys = missing(definition, values), _missing_keys(definition, openai_key, values)
    if lacking:
        detail = f"The execution was not started: something it needs is not there. {lacking[0].detail}"
        raise invalid(detail, [*lacking, *keys], code=lacking[0].code)
    if keys:
        detail = (
            "This workflow needs an OpenAI key. Send it in the header X-OpenAI-Key, or set OPENAI_API_KEY "
            "for the installation."
        )
        raise invalid(detail, keys, code="missing_key")


def missing(definition: Definition, values: Mapping[str, Any] | None = None) -> list[Problem]:
    """The secrets and connections that a definition names and that are not there. No query where it names none.

    With the ``values`` of its inputs also those connections that are named by an input.
    """
    if not definition.secrets and not any(_CONNECTION in given for task in definition.tasks for given in _given(task)):
        return []
    places = list(_places(definition))
    wanted = [(pointer, name) for pointer, _, _, template in places for name in secrets_of(template)]
    there = secret_store.existing_secrets({name for _, name in wanted})
    problems = [
        Problem(
            pointer=pointer,
            code="missing_secret",
            detail=f"There is no secret {shown(name)}.",
            hint=f"An administrator sets it: PUT /secrets/{name}",
        )
        for pointer, name in wanted
        if name not in there
    ]
    named = [
        (pointer, name, _kind_of(task_type))
        for pointer, task_type, field, template in places
        if field == _CONNECTION and isinstance(name := _named_by(template, values or {}), str)
    ]
    kinds = secret_store.kinds_of({name for _, name, _ in named})
    return problems + [
        found for pointer, name, kind in named if (found := _wrong_connection(pointer, name, kind, kinds.get(name)))
    ]


def _named_by(template: Template, values: Mapping[str, Any]) -> Any:
    """The connection that an input names: a literal, or an input of the workflow. ``...`` where only a run can tell."""
    if template.is_constant:
        return template.literal
    path = template.expression.path if template.expression is not None else None
    return values.get(str(path[1])) if path is not None and path[0] == "inputs" and len(path) == 2 else ...


def _wrong_connection(pointer: str, name: str, wanted: str, kind: str | None) -> Problem | None:
    if kind is None:
        hint = f"An administrator makes it: PUT /connections/{name}"
        detail = f"There is no connection {shown(name)}."
        return Problem(pointer=pointer, code="missing_connection", detail=detail, hint=hint)
    if wanted and kind != wanted:
        detail = f"The connection {shown(name)} is of the kind {kind}; one of the kind {wanted} is needed here."
        return Problem(pointer=pointer, code="missing_connection", detail=detail)
    return None


def _places(definition: Definition) -> Iterator[tuple[str, str, str, Template]]:
    """Every input that a task is given: its pointer, the task's type, the input's name and its template."""
    for index, task in enumerate(definition.tasks):
        for type_name, place, name, template in task.given():
            yield at(f"/tasks/{index}/{place}", name), type_name, name, template


def _given(task: Task) -> tuple[Mapping[str, Template], ...]:
    """The inputs of a task, and those of its fallback."""
    return (task.inputs,) if task.fallback is None else (task.inputs, task.fallback.inputs)


def _kind_of(task_type: str) -> str:
    """The kind of connection that a type needs, by its group; empty where the group does not tell."""
    group = task_type.partition(".")[0]
    kind = _KIND_OF.get(group, group)
    return kind if kind in KINDS else ""


def _missing_keys(definition: Definition, openai_key: str | None, values: Mapping[str, Any]) -> list[Problem]:
    """The tasks that lack the provider's key. A task with a connection has it from there."""
    tasks = list(enumerate(definition.tasks))
    users = [(place, task, task_type) for place, task in tasks for task_type in _users_of_key(task, values)]
    if not users:
        return []
    try:
        provider = provider_for(openai_key)
    except TaskError as error:  # the stored key cannot be opened
        return [Problem(pointer=f"/tasks/{users[0][0]}", code="missing_key", detail=error.message)]
    return [
        Problem(pointer=f"/tasks/{place}", code="missing_key", detail=_needs_key(task.name, task_type.name, provider))
        for place, task, task_type in users
        if provider.key is None or (provider.is_local_voice and not task_type.local_voice)
    ]


def _users_of_key(task: Task, values: Mapping[str, Any]) -> Iterator[TaskType]:
    ran = [(task.type, task.inputs)]
    if task.fallback is not None:
        ran.append((task.fallback.type, task.fallback.inputs))
    for type_name, inputs in ran:
        task_type = registry.get(type_name)
        if task_type is None or OPENAI_KEY not in task_type.secrets:
            continue
        if _CONNECTION not in inputs or _named_by(inputs[_CONNECTION], values) is None:
            yield task_type


def _needs_key(task: str, type_name: str, provider: Provider) -> str:
    spoken = " The local voice stands in for speech only." if provider.is_local_voice else ""
    return f"Task {task} ({type_name}) needs a key: send it in the header X-OpenAI-Key.{spoken}"
