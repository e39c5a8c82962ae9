"""What a check finds out about a task, and what a name of an input means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tasks_lib.base import Field, TaskType, ValueType
from workflows.definition.expressions import Template
from workflows.definition.model import Fallback, ForEach, Rename, Task
from workflows.definition.problems import shown
from workflows.definition.references import Outputs
from workflows.definition.schema import DraftTask


@dataclass(slots=True)
class Found:
    """What was found out about a task."""

    draft: DraftTask
    type: TaskType | None
    inputs: dict[str, Template] = field(default_factory=dict)
    condition: Template | None = None
    for_each: ForEach | None = None
    fallback: Fallback | None = None
    fallback_type: TaskType | None = None
    renames: tuple[Rename, ...] = ()
    explicit: tuple[str, ...] = ()
    mentioned: dict[str, str] = field(default_factory=dict)  # task name: pointer of the first mention

    def comes_after(self, other: Found) -> bool:
        """Whether it stands after ``other`` in the document."""
        return other.draft.index < self.draft.index

    def outputs(self) -> Outputs:
        """The outputs and their types as other tasks see them, renamed ones too."""
        if self.type is None:
            return Outputs({}, "any")
        known: dict[str, ValueType] = {output.name: output.type for output in self.type.outputs}
        known |= {rename.name: known.get(rename.source, "any") for rename in self.renames}
        rest: ValueType | None = "any" if self.type.any_outputs else None
        if self.draft.for_each is None:
            return Outputs(known, rest)
        return Outputs(dict.fromkeys(known, "list"), rest and "list")

    def as_task(self, graph: Mapping[str, tuple[str, ...]]) -> Task:
        """The task, when nothing was wrong with it; ``graph`` says what it waits for."""
        assert self.draft.name is not None
        assert self.draft.type is not None
        assert self.type is not None
        return Task(
            name=self.draft.name,
            type=self.type.name,
            spelled_type=self.draft.type,
            inputs=self.inputs,
            dependencies=graph[self.draft.name],
            condition=self.condition,
            for_each=self.for_each,
            retry=self.draft.retry,
            timeout=self.draft.timeout,
            fallback=self.fallback,
            continue_on_failure=self.draft.continue_on_failure,
            renames=self.renames,
        )


def find_field(task_type: TaskType, name: str) -> Field | None:
    """The input that ``name`` means: its name, an alias, or either without regard to case where only one is meant."""
    for given in task_type.inputs:
        if given.name == name:
            return given
    for given in task_type.inputs:
        if name in given.aliases:
            return given
    lower = name.lower()
    meant = [one for one in task_type.inputs if lower in (one.name.lower(), *(alias.lower() for alias in one.aliases))]
    return meant[0] if len(meant) == 1 else None


def inputs_hint(task_type: TaskType) -> str:
    """Which inputs the type has, as a sentence."""
    names = ", ".join(shown(one.name) for one in task_type.inputs)
    return f"It has {names}." if names else "It has no inputs."
