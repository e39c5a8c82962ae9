"""Workflows as this process read them last, so that a start need not read what accepting it looks at anyway.

Nothing here is ever trusted: a start by a remembered workflow is accepted only while its row is still so, by a
condition in the statement itself, and is refused only by the row as it is.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from django.db import connection

from workflows.models import Workflow


class Remembered:
    """The workflows that were read last, at most ``size`` of them. Their rows are not to be changed."""

    def __init__(self, size: int = 1024) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._rows: OrderedDict[str, Workflow] = OrderedDict()

    def get(self, workflow_id: str) -> Workflow | None:
        """A workflow as it was once. Never one on SQLite, which accepts without looking at its row."""
        with self._lock:
            if workflow_id not in self._rows or connection.vendor == "sqlite":
                return None
            self._rows.move_to_end(workflow_id)
            return self._rows[workflow_id]

    def keep(self, workflow: Workflow) -> None:
        """Remember a workflow as it was just read."""
        with self._lock:
            self._rows[workflow.pk] = workflow
            self._rows.move_to_end(workflow.pk)
            if len(self._rows) > self._size:
                self._rows.popitem(last=False)


WORKFLOWS = Remembered()
