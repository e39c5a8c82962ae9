"""What an execution must not show: the secrets its tasks use, and its sensitive inputs.

Secrets are taken out of everything that is stored or sent. Sensitive values go on from task to task, so they are taken
out of what is made for people when it is written (inputs as sent, errors, logs, progress, webhooks), and of the rest
when it is shown.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from dataflow.lib.mask import MASK
from executions import secret_store
from executions.definitions import DefinitionBroken, definition_of
from executions.models import Execution
from executions.redaction import NOTHING, Redactor
from workflows.definition import Definition
from workflows.models import WorkflowVersion

#: Seconds after which a worker that still has an execution in hand reads its secrets again.
_FRESH_SECONDS = 5.0
#: What tells a file from another; its type and size do not.
_OF_A_FILE = ("file_id", "name", "url", "sha256")


class Hidden(Mapping[str, str]):
    """A run's ``secrets``: those its definition names, read when one is asked for. And what else it must not show."""

    __slots__ = ("_definition", "_inputs", "_parent_id", "_read", "_read_at", "_seen", "_told")

    def __init__(self, definition: Definition, inputs: Mapping[str, Any], parent_id: str | None) -> None:
        self._definition, self._inputs, self._parent_id = definition, inputs, parent_id
        self._read: Mapping[str, str] = {}
        self._read_at: float | None = None
        self._seen: dict[str, None] = {}
        self._told: tuple[int, Redactor] | None = None

    def __getitem__(self, name: str) -> str:
        return self._values()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values())

    def __len__(self) -> int:
        return len(self._values())

    def told(self, more: Iterable[str] = ()) -> Redactor:
        """For what only people read. Knows the secrets that were asked for so far, and ``more``."""
        extra = [value for value in more if value not in self._seen]
        if extra:
            return Redactor([*self._seen, *extra], sensitive=self._sensitive())
        if self._told is None or self._told[0] != len(self._seen):
            sensitive = self._sensitive()
            anything = self._seen or sensitive
            self._told = len(self._seen), Redactor(self._seen, sensitive=sensitive) if anything else NOTHING
        return self._told[1]

    def _sensitive(self) -> tuple[Any, ...]:
        return (*_own(self._definition, self._inputs), *_inherited(self._parent_id))

    def _values(self) -> Mapping[str, str]:
        if not self._definition.secrets:
            return {}
        now = time.monotonic()
        if self._read_at is None or now - self._read_at > _FRESH_SECONDS:
            self._read = secret_store.values_of(self._definition.secrets)
            self._read_at = now
            self._seen |= dict.fromkeys(self._read.values())
        return self._read


class Veil:
    """What one try keeps out of what it leaves; ``add`` tells of more while it runs."""

    __slots__ = ("_hidden", "_stored", "_told", "_values")

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._hidden = secrets if isinstance(secrets, Hidden) else None
        self._values = dict.fromkeys(secrets.values())
        self._stored: Redactor | None = None
        self._told: Redactor | None = None

    def add(self, values: Iterable[str]) -> None:
        """Values that the try came to know."""
        self._values |= dict.fromkeys(values)
        self._stored = self._told = None

    @property
    def stored(self) -> Redactor:
        """For what other tasks go on with: without secrets."""
        if self._stored is None:
            self._stored = Redactor(self._values) if self._values else NOTHING
        return self._stored

    @property
    def told(self) -> Redactor:
        """For what only people read: without sensitive values too."""
        if self._told is None:
            self._told = self.stored if self._hidden is None else self._hidden.told(self._values)
        return self._told


def mask_of(execution: Execution) -> Redactor:
    """What takes the sensitive values out of what is shown of an execution. No query where there are none."""
    values = (*_of_version(execution.version_id, execution.inputs), *_inherited(execution.parent_id))
    return Redactor(sensitive=values) if values else NOTHING


def shown_inputs(execution: Execution, mask: Redactor | None = None) -> dict[str, Any]:
    """The inputs of an execution as they may be shown."""
    return shown_of(execution.version_id, execution.inputs, mask_of(execution) if mask is None else mask)


def shown_of(version_id: int, inputs: Mapping[str, Any], mask: Redactor | None = None) -> dict[str, Any]:
    """Inputs for a version of a workflow as they may be shown."""
    names = sensitive_names(version_id)
    if mask is None:
        mask = Redactor(sensitive=_of_version(version_id, inputs)) if names else NOTHING
    return {name: MASK if name in names and value is not None else mask.value(value) for name, value in inputs.items()}


def fillable(execution: Execution, version_id: int) -> dict[str, Any]:
    """The inputs of an execution with which a form for a version may be filled in: not the sensitive ones of either."""
    names = sensitive_names(execution.version_id) | sensitive_names(version_id)
    return {name: value for name, value in execution.inputs.items() if name not in names}


def sensitive_names(version_id: int) -> frozenset[str]:
    """The sensitive inputs of a version, also of one that cannot run here any more."""
    try:
        return definition_of(version_id).sensitive
    except DefinitionBroken:
        return _written_names(version_id)


def is_masked(value: object) -> bool:
    """Whether somebody gives back what was shown to them instead of a value."""
    return value == MASK


@lru_cache(maxsize=512)
def _written_names(version_id: int) -> frozenset[str]:
    document = WorkflowVersion.objects.values_list("definition", flat=True).get(pk=version_id)
    return frozenset(one["name"] for one in document.get("inputs") or () if one.get("sensitive"))


def _own(definition: Definition, inputs: Mapping[str, Any]) -> tuple[Any, ...]:
    """The values of the sensitive inputs; of a file what tells it from others."""
    return _chosen(definition.sensitive, inputs)


def _of_version(version_id: int, inputs: Mapping[str, Any]) -> tuple[Any, ...]:
    return _chosen(sensitive_names(version_id), inputs)


def _chosen(names: frozenset[str], inputs: Mapping[str, Any]) -> tuple[Any, ...]:
    if not names:
        return ()
    values = (inputs[name] for name in sorted(names) if inputs.get(name) is not None)
    return tuple(
        tuple(value[key] for key in _OF_A_FILE if key in value) if _is_file(value) else value for value in values
    )


def _is_file(value: object) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() <= {*_OF_A_FILE, "content_type", "size"}
        and bool(value.keys() & {"file_id", "url"})
    )


def _inherited(parent_id: str | None) -> tuple[Any, ...]:
    """The sensitive values of the executions that this one runs for: they come with its inputs."""
    return () if parent_id is None else _of_parent(parent_id)


@lru_cache(maxsize=2048)
def _of_parent(execution_id: str) -> tuple[Any, ...]:
    """Kept: an execution's version and inputs do not change once it has started others."""
    found = Execution.objects.filter(pk=execution_id).values_list("version_id", "inputs", "parent_id").first()
    if found is None:
        return ()
    version_id, inputs, parent_id = found
    return (*_of_version(version_id, inputs), *_inherited(parent_id))
