"""Encrypts everything that is stored encrypted anew, with the newest key: afterwards the older keys can go.

Each value is replaced only where it is still the one that was read, so that it runs while the system works; what is
under the newest key already is left, so that it can run twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db import models

from executions import vault
from executions.database import writing
from executions.models import Connection, Execution, Hook, Secret, SigningSecret

#: Every column that holds what ``vault`` encrypted. A test compares this list with the users of ``vault``.
COLUMNS: tuple[tuple[type[models.Model], str], ...] = (
    (Secret, "value"),
    (Connection, "sealed"),
    (SigningSecret, "secret"),
    (Hook, "secret"),
    (Execution, "secrets"),
    (Execution, "webhook_secret"),
)
#: Rows of one read, and of one transaction.
BATCH = 200


@dataclass(slots=True, kw_only=True)
class Counts:
    """What became of the values of one column. ``unreadable`` names those that no key opens: they are left."""

    renewed: int = 0
    current: int = 0
    #: Somebody else changed it in the meantime.
    changed: int = 0
    unreadable: list[str] = field(default_factory=list)


def rotate() -> dict[str, Counts]:
    """Renew all values; the counts by ``model.column``."""
    return {f"{model._meta.model_name}.{column}": _rotate(model, column) for model, column in COLUMNS}  # noqa: SLF001 - `_meta` is Django's documented API


def _rotate(model: type[models.Model], column: str) -> Counts:
    counts = Counts()
    for batch in _batches(model, column):
        found = [(key, old, _renewed(key, old, counts)) for key, old in batch]
        with writing():
            for key, old, new in found:
                if new is None:
                    continue
                # Only where it is still what was read.
                if model._default_manager.filter(pk=key, **{column: old}).update(**{column: new}):  # noqa: SLF001 - as above
                    counts.renewed += 1
                else:
                    counts.changed += 1
    return counts


def _renewed(key: Any, old: str, counts: Counts) -> str | None:
    try:
        new = vault.renewed(old)
    except ValueError:
        counts.unreadable.append(str(key))
        return None
    counts.current += new is None
    return new


def _batches(model: type[models.Model], column: str) -> Iterator[list[tuple[Any, str]]]:
    """Keys and values that are not empty, by key: what is added meanwhile has the newest key already."""
    rows = model._default_manager.exclude(**{column: ""}).order_by("pk")  # noqa: SLF001 - as above
    last: Any = None
    while True:
        more = rows if last is None else rows.filter(pk__gt=last)
        batch = list(more.values_list("pk", column)[:BATCH])
        if not batch:
            return
        yield batch
        last = batch[-1][0]
