"""What ``TaskType.check`` of several types looks for in inputs that are known before the task runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from dataflow.lib.errors import TaskError
from tasks_lib.base import MISSING, JsonValue


def wrong_inputs(
    given: Mapping[str, JsonValue], checks: Mapping[str, Callable[[JsonValue], object]]
) -> Iterator[tuple[str, str]]:
    """What ``checks``, which raise ``TaskError``, find in inputs that are known."""
    for name, check in checks.items():
        value = given.get(name)
        if value is not None and value is not MISSING:
            try:
                check(value)
            except TaskError as error:
                yield name, error.message


def fractions(given: Mapping[str, JsonValue], *names: str) -> Iterator[tuple[str, str]]:
    """The inputs of these names that should be whole numbers and are not."""
    for name in names:
        value = given.get(name)
        if isinstance(value, float) and not value.is_integer():
            yield name, f"`{name}` must be a whole number, not {value:g}."
