"""Workflows that run other workflows: that these exist, and that it neither goes round in a circle nor too deep.

Only ids that a definition gives as they are can be seen; an execution looks again when it starts another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.db.models import F

from dataflow.lib.errors import Problem
from tasks_lib import registry
from tasks_lib.base import TaskType
from workflows.definition import find_field
from workflows.definition.problems import shown
from workflows.models import Workflow, WorkflowVersion

TYPE = "workflow.run"
#: Its tools are workflows too. That one leads back is no mistake: a model decides, and executions nest only so deep.
CHAT = "openai.chat"
#: Workflows below each other, as executions may nest.
MAX_DEPTH = 10
#: Other workflows that are looked at: a definition that reaches more of them is believed.
MAX_WORKFLOWS = 1_000

Graph = Mapping[str, frozenset[str]]


def check_calls(document: Any, workflow_id: str | None) -> list[Problem]:
    """What is wrong with the ids of workflows in ``document``, a checked definition of ``workflow_id``.

    One query for each level of nesting, at most ``MAX_DEPTH`` + 1, and none where no workflow is called.
    """
    calls, problems = list(_calls(document)), _wrong_tools(document)
    if not calls:
        return problems
    archived, graph = _reachable(frozenset(called for _, called in calls), workflow_id)
    circle, depths = _leading_to(graph, workflow_id), _depths(graph)
    for pointer, called in calls:
        code, detail, hint = "", "", ""
        if called == workflow_id or called in circle:
            code, detail = "cycle", f"Workflow {shown(called)} leads back to this one: it would run itself for ever."
            hint = "Take one of the calls out of the circle."
        elif called not in archived:
            code, detail, hint = _unknown(called)
        elif archived[called]:
            code, detail, hint = _archived(called)
        elif depths[called] > MAX_DEPTH:
            code, detail = "too_deep", f"Workflows nest at most {MAX_DEPTH} deep; this call leads deeper."
            hint = "Let a workflow further down do the work itself."
        if code:
            problems.append(Problem(pointer=pointer, code=code, detail=detail, hint=hint))
    return problems


def _unknown(called: str) -> tuple[str, str, str]:
    return "unknown_workflow", f"There is no workflow {shown(called)}.", "GET /workflows lists them."


def _archived(called: str) -> tuple[str, str, str]:
    hint = "Choose another, or create it again."
    return "archived", f"Workflow {shown(called)} is archived and cannot be run.", hint


def _wrong_tools(document: Any) -> list[Problem]:
    """Tools of chats that are no workflows, or archived ones. One query, and none where there are no tools."""
    tools = [
        (f"{pointer}/{index}/workflow", tool["workflow"])
        for pointer, given in _given(document, CHAT, "tools")
        for index, tool in enumerate(given if isinstance(given, list) else [])
        if isinstance(tool, dict) and _is_id(tool.get("workflow"))
    ]
    if not tools:
        return []
    wanted = {called for _, called in tools}
    archived = dict(Workflow.objects.filter(pk__in=wanted).values_list("pk", "archived_at"))
    found = [(pointer, _unknown(called)) for pointer, called in tools if called not in archived]
    found += [(pointer, _archived(called)) for pointer, called in tools if archived.get(called)]
    return [Problem(pointer=pointer, code=code, detail=detail, hint=hint) for pointer, (code, detail, hint) in found]


def _calls(document: Any) -> Iterator[tuple[str, str]]:
    """The ids of workflows that ``document`` gives as they are, each with its pointer."""
    return ((place, value) for place, value in _given(document, TYPE, "workflow_id") if _is_id(value))


def _is_id(value: object) -> bool:
    return isinstance(value, str) and "{{" not in value


def _given(document: Any, type_name: str, field_name: str) -> Iterator[tuple[str, Any]]:
    """What tasks of a type give for an input, each with its pointer."""
    for index, task in enumerate(document["tasks"]):
        tried = [(task["type"], task.get("inputs"), f"/tasks/{index}/inputs")]
        if fallback := task.get("fallback"):
            tried.append((fallback["task"], fallback.get("inputs"), f"/tasks/{index}/fallback/inputs"))
        for given_type, inputs, pointer in tried:
            task_type = registry.get(given_type)
            if task_type is not None and task_type.name == type_name:
                yield from _values_of(task_type, field_name, inputs, pointer)


def _values_of(task_type: TaskType, field_name: str, inputs: Any, pointer: str) -> Iterator[tuple[str, Any]]:
    given = [(name, value, f"{pointer}/{name}") for name, value in inputs.items()] if isinstance(inputs, dict) else []
    if isinstance(inputs, list):
        given = [(one["name"], one["value"], f"{pointer}/{index}/value") for index, one in enumerate(inputs)]
    for name, value, place in given:
        field = find_field(task_type, name)
        if field is not None and field.name == field_name:
            yield place, value


def _reachable(called: frozenset[str], workflow_id: str | None) -> tuple[dict[str, bool], Graph]:
    """Of the workflows reached by current versions: whether each is archived, and which ones it calls itself."""
    archived: dict[str, bool] = {}
    graph: dict[str, frozenset[str]] = {}
    wanted = called - {workflow_id}
    for _ in range(MAX_DEPTH + 1):
        if not wanted or len(archived) > MAX_WORKFLOWS:
            break
        current = WorkflowVersion.objects.filter(workflow__in=wanted, number=F("workflow__current_version"))
        rows = current.order_by().values_list("workflow", "workflow__archived_at", "definition")
        for identifier, archived_at, definition in rows:
            archived[identifier] = archived_at is not None
            graph[identifier] = frozenset(other for _, other in _calls(definition))
        wanted = frozenset().union(*graph.values()) - archived.keys() - {workflow_id} - wanted
    return archived, graph


def _leading_to(graph: Graph, target: str | None) -> frozenset[str]:
    """All that call ``target``, directly or not."""
    callers: dict[str, set[str]] = {}
    for one, others in graph.items():
        for other in others:
            callers.setdefault(other, set()).add(one)
    seen: set[str] = set()
    pending = [] if target is None else [target]
    while pending:
        found = callers.get(pending.pop(), set()) - seen
        seen |= found
        pending += found
    return frozenset(seen)


def _depths(graph: Graph) -> Mapping[str, int]:
    """How many workflows lie below each other from each one on, counted no further than one too many."""
    depths = dict.fromkeys(graph, 1)
    for _ in range(MAX_DEPTH):
        depths = {one: 1 + max((depths.get(other, 0) for other in others), default=0) for one, others in graph.items()}
    return depths
