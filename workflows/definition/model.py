"""What a checked definition is: frozen values that the planner, the API and the pages read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task. ``type`` and the names in ``inputs`` are current ones, ``spelled_type`` is what the document says.

    ``dependencies`` are the tasks it waits for: ``depends_on`` or the task before it, and all it refers to.
    ``timeout`` is in seconds for one try, ``None`` for the type's own.
    """

    name: str
    type: str
    spelled_type: str
    inputs: Mapping[str, Template]
    dependencies: tuple[str, ...] = ()
    condition: Template | None = None
    retry: Retry = NO_RETRY
    timeout: float | None = None
    fallback: Fallback | None = None
    continue_on_failure: bool = False
    renames: tuple[Rename, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """An output of a workflow."""

    name: str
    type: ValueType
    value: Template
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A definition without problems. ``tasks`` are in the order of the document; ``timeout`` is in seconds."""

    title: str
    description: str
    inputs: tuple[Input, ...]
    tasks: tuple[Task, ...]
    outputs: tuple[Output, ...]
    monitoring: Mapping[str, JsonValue] | None = None
    timeout: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The answer of ``check``: ``definition`` is there exactly when there are no ``problems``."""

    definition: Definition | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
