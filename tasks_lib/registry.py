"""Finds the task types: every class in ``tasks_lib/types`` and what other packages offer as ``dataflow.task_types``.

Nothing is listed by hand. Loading happens once, at the first question.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType, ModuleType
from typing import Any

from tasks_lib import types
from tasks_lib.base import MISSING, Field, TaskType
from tasks_lib.checks import RegistryError, check_task_type
from tasks_lib.json_schema import input_schema, output_schema

ENTRY_POINT_GROUP = "dataflow.task_types"


class Registry:
    """Task types by name and by every other spelling. Raises ``RegistryError`` when two claim one name."""

    def __init__(self, classes: Iterable[type[TaskType]]) -> None:
        self._types: dict[str, TaskType] = {}
        self._spellings: dict[str, TaskType] = {}
        for task_class in classes:
            check_task_type(task_class)
            self._add(task_class())
        self._lower = _unambiguous(self._spellings, str.lower)
        self._folded = _unambiguous(self._spellings, _fold)
        self.types: Mapping[str, TaskType] = MappingProxyType(dict(sorted(self._types.items())))

    def _add(self, task_type: TaskType) -> None:
        for spelling in (task_type.name, *task_type.aliases):
            other = self._spellings.setdefault(spelling, task_type)
            if other is not task_type:
                raise RegistryError(f"{_where(task_type)} and {_where(other)} both claim the name {spelling!r}.")
        self._types[task_type.name] = task_type

    def get(self, name: str) -> TaskType | None:
        """The type of that name, an older spelling of it, or dotted CamelCase; ``None`` where there is none."""
        if (found := self._spellings.get(name) or self._lower.get(name.lower())) is not None:
            return found
        return None if name.islower() else self._folded.get(_fold(name))

    def spellings(self) -> Sequence[str]:
        """Every name and older spelling, sorted: what a "did you mean" chooses from."""
        return sorted(self._spellings)


def get(name: str) -> TaskType | None:
    """The task type called ``name`` (any spelling), or ``None``."""
    return load().get(name)


def names() -> Sequence[str]:
    """The current name of every task type, sorted."""
    return list(load().types)


def all() -> Sequence[TaskType]:  # noqa: A001  reads as registry.all()
    """Every task type, sorted by name."""
    return list(load().types.values())


@cache
def load() -> Registry:
    """The registry of this process, loaded at the first call. ``load.cache_clear()`` makes it look again."""
    return Registry([*_own_classes(types), *_offered_classes()])


def default_output(task_type: TaskType | type[TaskType]) -> str:
    """Name of the output that stands for the whole; empty for a type that names none of its outputs."""
    return task_type.default_output or (task_type.outputs[0].name if task_type.outputs else "")


def specification(task_type: TaskType) -> dict[str, Any]:
    """All that there is to know about a type, as JSON: the content of ``{"specification": …}`` in the API."""
    missing = task_type.missing()
    return {
        "name": task_type.name,
        "title": task_type.title,
        "category": task_type.category,
        "description": task_type.description,
        "inputs": [_field_json(field) for field in task_type.inputs],
        "outputs": [_field_json(field) for field in task_type.outputs],
        "default_output": default_output(task_type),
        "any_outputs": task_type.any_outputs,
        "input_schema": input_schema(task_type),
        "output_schema": output_schema(task_type),
        "timeout": task_type.timeout,
        "quick": task_type.quick,
        "idempotent": task_type.idempotent,
        "retried": list(task_type.retried),
        "secrets": list(task_type.secrets),
        "installed": not missing,
        "install": missing,
        "aliases": list(task_type.aliases),
        "example": dict(task_type.example),
    }


def _field_json(field: Field) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": field.name, "type": field.type, "description": field.description}
    shown["required"] = field.required
    shown |= {key: value for key in ("default", "example") if (value := getattr(field, key)) is not MISSING}
    shown |= {key: list(value) for key in ("aliases", "enum") if (value := getattr(field, key))}
    shown |= {"unless": field.unless} if field.unless else {}
    limits = ("minimum", "maximum", "min_length", "max_length")
    return shown | {key: value for key in limits if (value := getattr(field, key)) is not None}


def _own_classes(package: ModuleType) -> Iterator[type[TaskType]]:
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda found: found.name):
        yield from _classes(importlib.import_module(f"{package.__name__}.{module.name}"))


def _offered_classes() -> Iterator[type[TaskType]]:
    """What installed packages offer: an entry point names a class or a module with classes."""
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda found: (found.name, found.value)):
        try:
            offered = point.load()
        except (ImportError, AttributeError) as error:
            raise RegistryError(f"The entry point {point.name} = {point.value} cannot be loaded: {error}") from error
        if inspect.isclass(offered) and issubclass(offered, TaskType):
            yield offered
        elif isinstance(offered, ModuleType):
            yield from _classes(offered)
        else:
            raise RegistryError(f"The entry point {point.name} = {point.value} is neither a TaskType nor a module.")


def _classes(module: ModuleType) -> Iterator[type[TaskType]]:
    """The concrete task types that ``module`` itself defines (imported ones belong to their own module)."""
    for value in vars(module).values():
        if not inspect.isclass(value) or inspect.isabstract(value) or value.__module__ != module.__name__:
            continue
        if issubclass(value, TaskType):
            yield value


def _fold(name: str) -> str:
    """``Video.ExtractAudio`` and ``video.extract_audio`` fold to the same."""
    return name.replace("_", "").lower()


def _unambiguous(spellings: Mapping[str, TaskType], fold: Any) -> dict[str, TaskType]:
    """``spellings`` by their folded form, without those that two types share."""
    pairs = {(fold(spelling), task_type) for spelling, task_type in spellings.items()}
    shared = Counter(folded for folded, _ in pairs)
    return {folded: task_type for folded, task_type in pairs if shared[folded] == 1}


def _where(task_type: TaskType) -> str:
    return f"{type(task_type).__module__}.{type(task_type).__qualname__}"
