"""What a path in an expression means: that it exists where it stands, and the type of its value."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dataflow.lib.expressions.tokens import INDEX, Path, spell
from tasks_lib.base import ValueType
from workflows.definition.problems import Report, shown
from workflows.definition.values import FILE_FIELDS, named

#: What `execution` and `workflow` have.
FIELDS: Mapping[str, Mapping[str, ValueType]] = {
    "execution": {"id": "text", "started_at": "text"},
    "workflow": {"id": "text"},
}
#: How secrets are named.
SECRET_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,99}")
CONDITION_ROOTS = ("inputs", "tasks", "execution", "workflow")
TASK_ROOTS = (*CONDITION_ROOTS, "secrets")
ITEM_ROOTS = (*TASK_ROOTS, "item", "index")
OUTPUT_ROOTS = (*CONDITION_ROOTS, "outputs")
KEY_ROOTS = ("inputs",)
_ITEM_ONLY = "`item` and `index` are for inputs of a task with `for_each` only, not for its condition or its list."
_ELSEWHERE = {
    "secrets": "Secrets can be used in inputs of tasks only.",
    "outputs": "Write `tasks.TASK.outputs.NAME`; `outputs.NAME` is for later outputs of the workflow.",
    "item": _ITEM_ONLY,
    "index": _ITEM_ONLY,
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where an expression stands: its pointer, the roots it may use, and the outputs of the workflow before it."""

    pointer: str
    roots: tuple[str, ...]
    outputs: Mapping[str, ValueType] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outputs:
    """The outputs of a task: those with a name, and the type of all others (``None``: it has no others)."""

    named: Mapping[str, ValueType]
    others: ValueType | None = None


@dataclass(slots=True)
class Names:
    """Everything that references may mean."""

    report: Report
    inputs: Mapping[str, ValueType]
    task_outputs: Mapping[str, Outputs]
    all_outputs: frozenset[str] = frozenset()
    used_inputs: set[str] = field(default_factory=set)

    def type_of(self, path: Path, place: Place) -> ValueType | None:
        """The type of the value at ``path``; ``None``, and a problem, when there is no such thing."""
        root = path[0]
        if INDEX in path and "index" not in place.roots:
            return self._unknown(path, place, "there is no `index` here", _ITEM_ONLY)
        if root not in place.roots:
            hint = _ELSEWHERE.get(str(root)) or self.report.nearest(root, place.roots)
            hint = hint or f"Expressions here know {', '.join(place.roots)}."
            return self._unknown(path, place, f"there is no {shown(root)} here", hint)
        if root in ("item", "index"):
            return self._deeper("any" if root == "item" else "number", path, 1, place)
        kinds = {"inputs": self._input, "tasks": self._task, "outputs": self._output, "secrets": self._secret}
        if known := kinds.get(str(root)):
            return known(path, place)
        return "object" if len(path) == 1 else self._member(path, 1, FIELDS[str(root)], place)

    def _input(self, path: Path, place: Place) -> ValueType | None:
        if len(path) == 1:
            self.used_inputs.update(self.inputs)
            return "object"
        self.used_inputs.add(str(path[1]))
        return self._member(path, 1, self.inputs, place, what="input")

    def _output(self, path: Path, place: Place) -> ValueType | None:
        if len(path) == 1:
            return "object"
        if path[1] not in place.outputs and path[1] in self.all_outputs:
            detail = f"the output {shown(path[1])} does not come before this one"
            return self._unknown(path, place, detail, "An output can refer to outputs before it.")
        return self._member(path, 1, place.outputs, place, what="output")

    def _secret(self, path: Path, place: Place) -> ValueType | None:
        match path:
            case (_, str(name)) if SECRET_NAME.fullmatch(name):
                return "text"
            case (_, str()):
                hint = "Such as `secrets.API_KEY`."
                return self._unknown(path, place, "the name of a secret has capital letters, digits and _", hint)
        return self._unknown(path, place, "a secret is named", "Write `secrets.NAME`.")

    def _task(self, path: Path, place: Place) -> ValueType | None:
        if len(path) == 1:
            return self._unknown(path, place, "a task must be named", "Write `tasks.TASK.outputs.NAME`.")
        task = str(path[1])
        if task not in self.task_outputs:
            hint = self.report.nearest(task, self.task_outputs)
            return self._unknown(path, place, f"no task has the name {shown(task)}", hint)
        known = self.task_outputs[task]
        match path:
            case (_, _, "status", *_):
                return self._deeper("text", path, 3, place)
            case (_, _, "outputs"):
                return "object"
            case (_, _, "outputs", *_):
                return self._task_output(path, known, place)
            case (_, _, str(name), *rest) if name in known.named:
                hint = f"Did you mean {shown(spell(('tasks', task, 'outputs', name, *rest)))}?"
            case _:
                hint = self.report.nearest(path[-1], ("outputs", "status"))
        return self._unknown(path, place, "a task has `outputs` and `status`", hint)

    def _task_output(self, path: Path, known: Outputs, place: Place) -> ValueType | None:
        if known.others is not None and path[3] not in known.named and isinstance(path[3], str):
            return self._deeper(known.others, path, 4, place)
        return self._member(path, 3, known.named, place, what="output")

    def _member(
        self, path: Path, depth: int, known: Mapping[str, ValueType], place: Place, what: str = "field"
    ) -> ValueType | None:
        name = path[depth]
        if not isinstance(name, str) or name not in known:
            hint = self.report.nearest(name, known) or _listed(known, what)
            return self._unknown(path, place, f"{shown(spell(path[:depth]))} has no {what} {shown(name)}", hint)
        return self._deeper(known[name], path, depth + 1, place)

    def _deeper(self, value_type: ValueType, path: Path, depth: int, place: Place) -> ValueType | None:
        """The type after the parts of ``path`` from ``depth`` on, in a value of ``value_type``."""
        if depth == len(path):
            return value_type
        part = path[depth]
        if value_type == "file" and isinstance(part, str):
            return self._member(path, depth, FILE_FIELDS, place)
        wanted = {"list": int, "object": str}.get(value_type)
        if value_type == "any" or (wanted is not None and isinstance(part, wanted)):
            return "any"
        what = "fields" if isinstance(part, str) else "items"
        parent = shown(spell(path[:depth]))
        return self._unknown(path, place, f"{parent} is {named(value_type)} and has no {what}", "", "type_mismatch")

    def _unknown(
        self, path: Path, place: Place, reason: str, hint: str = "", code: str = "unknown_reference"
    ) -> ValueType | None:
        self.report.problem(place.pointer, code, f"The expression refers to {shown(spell(path))}: {reason}.", hint)
        return None


def _listed(known: Iterable[str], what: str) -> str:
    names = [shown(name) for name in list(known)[:10]]
    return f"There {'is' if len(names) == 1 else 'are'} {', '.join(names)}." if names else f"There is no {what} at all."
