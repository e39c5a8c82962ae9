"""What a checked definition is: frozen values that the planner, the API and the pages read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, Protocol

from dataflow.lib.errors import Problem
from tasks_lib.base import MISSING, JsonValue, TaskType, ValueType

if TYPE_CHECKING:
    from workflows.definition.expressions import Template


class Catalogue(Protocol):
    """The task types there are."""

    def get(self, name: str, /) -> TaskType | None:
        """The type with this name, any alias of it or a dotted CamelCase spelling; ``None`` when there is none."""

    def names(self) -> Sequence[str]:
        """The current name of every type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """An input of a workflow. ``default`` is ``MISSING`` when there is none."""

    name: str
    type: ValueType
    description: str = ""
    example: JsonValue = MISSING
    required: bool = True
    default: JsonValue = MISSING
    enum: tuple[JsonValue, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    #: Masked wherever its value turns up.
    sensitive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When to try again. ``attempts`` are retries after the first try; times are in seconds.

    ``on`` empty means every retryable error; ``except_`` takes codes away from it.
    """

    attempts: int = 0
    delay: float = 1.0
    multiplier: float = 1.0
    max_delay: float = 3600.0
    max_duration: float | None = None
    jitter: float = 0.1
    on: tuple[str, ...] = ()
    except_: tuple[str, ...] = ()


NO_RETRY = Retry()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """What runs when every try has failed; ``type`` is a current task type name."""

    type: str
    inputs: Mapping[str, Template]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rename:
    """A further name for an output of the task's type."""

    name: str
    source: str


OnItemFailure = Literal["fail", "null", "drop"]
OnLimit = Literal["queue", "reject", "cancel_running"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForEach:
    """A task that runs once for each item of a list, at most ``concurrency`` items at a time.

    An item that failed fails the task, gives ``None`` in each list of outputs, or is left out of them.
    """

    items: Template
    concurrency: int = 10
    on_item_failure: OnItemFailure = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """At most ``limit`` executions of the workflow with the same key run at a time; without a key, of all of them."""

    limit: int
    key: Template | None = None
    on_limit: OnLimit = "queue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task. ``type`` and the names in ``inputs`` are current ones, ``spelled_type`` is what the document says.

    ``dependencies`` are the tasks it waits for: ``depends_on`` or the task before it, and all it refers to.
    ``timeout`` is in seconds for one try, ``None`` for the type's own. With ``for_each``, inputs, retry, fallback and
    renames are those of an item, while ``condition`` and ``continue_on_failure`` are for the task as a whole.
    """

    name: str
    type: str
    spelled_type: str
    inputs: Mapping[str, Template]
    dependencies: tuple[str, ...] = ()
    condition: Template | None = None
    for_each: ForEach | None = None
    retry: Retry = NO_RETRY
    timeout: float | None = None
    fallback: Fallback | None = None
    continue_on_failure: bool = False
    renames: tuple[Rename, ...] = ()

    def given(self) -> Iterator[tuple[str, str, str, Template]]:
        """Every input that is given, the fallback's too: the type it is for, its place, its name, its template."""
        yield from ((self.type, "inputs", name, template) for name, template in self.inputs.items())
        if self.fallback is not None:
            fallback = self.fallback
            yield from ((fallback.type, "fallback/inputs", name, one) for name, one in fallback.inputs.items())

    def templates(self) -> Iterator[Template]:
        """All of its templates: the inputs that are given, the fallback's too, its condition and its list."""
        yield from (template for *_, template in self.given())
        if self.condition is not None:
            yield self.condition
        if self.for_each is not None:
            yield self.for_each.items

    def secrets(self) -> Iterator[str]:
        """The names of the secrets that its inputs refer to; each as often as it is mentioned."""
        return (name for *_, template in self.given() for name in secrets_of(template))


def secrets_of(template: Template) -> Iterator[str]:
    """The names of the secrets that a template refers to."""
    return (str(path[1]) for path in template.references if path[0] == "secrets" and len(path) > 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """An output of a workflow."""

    name: str
    type: ValueType
    value: Template
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A definition without problems. ``tasks`` are in the order of the document; ``timeout`` is in seconds.

    ``places`` and ``dependents`` follow from ``tasks``: the place of each task by its name, and the tasks that depend
    on it, in the order of the document. So do ``secrets``, the names of those that inputs of tasks refer to, and from
    ``inputs`` the names of the ``sensitive`` ones.
    """

    title: str
    description: str
    inputs: tuple[Input, ...]
    tasks: tuple[Task, ...]
    outputs: tuple[Output, ...]
    monitoring: Mapping[str, JsonValue] | None = None
    timeout: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    concurrency: Concurrency | None = None
    places: Mapping[str, int] = field(init=False, repr=False, compare=False)
    dependents: Mapping[str, tuple[str, ...]] = field(init=False, repr=False, compare=False)
    secrets: frozenset[str] = field(init=False, repr=False, compare=False)
    sensitive: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Work out once what the engine asks for at every step."""
        followers: dict[str, list[str]] = {task.name: [] for task in self.tasks}
        for task in self.tasks:
            for name in task.dependencies:
                if name in followers:
                    followers[name].append(task.name)
        places = {task.name: index for index, task in enumerate(self.tasks)}
        object.__setattr__(self, "places", MappingProxyType(places))
        dependents = {name: tuple(names) for name, names in followers.items()}
        object.__setattr__(self, "dependents", MappingProxyType(dependents))
        object.__setattr__(self, "secrets", frozenset(name for task in self.tasks for name in task.secrets()))
        object.__setattr__(self, "sensitive", frozenset(one.name for one in self.inputs if one.sensitive))

    def outputs_read_of(self, name: str) -> set[str]:
        """The names of those outputs of a task that are referred to somewhere."""
        templates = chain((one for task in self.tasks for one in task.templates()), (one.value for one in self.outputs))
        read = {path[:_NAME] for template in templates for path in template.references if len(path) >= _NAME}
        return {output for *place, output in read if place == ["tasks", name, "outputs"] and isinstance(output, str)}


#: Parts of ``tasks.TASK.outputs.NAME``.
_NAME = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The answer of ``check``: ``definition`` is there exactly when there are no ``problems``."""

    definition: Definition | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
