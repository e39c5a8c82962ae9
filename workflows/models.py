"""Workflows and their immutable versions."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models

from dataflow.lib.fields import DatabaseNow, JsonField
from dataflow.lib.ids import new_id


def new_workflow_id() -> str:
    """A new ``wf-…`` id."""
    return new_id("wf")


class WorkflowQuerySet(models.QuerySet["Workflow"]):
    """Reads of workflows."""

    def live(self) -> WorkflowQuerySet:
        """Those that were not archived."""
        return self.filter(archived_at=None)

    def search(self, text: str) -> WorkflowQuerySet:
        """Those whose title, description or id holds ``text``, without regard to case."""
        words = models.Q(title__icontains=text) | models.Q(description__icontains=text) | models.Q(id=text)
        return self.filter(words) if text else self


class Workflow(models.Model):
    """A named workflow; what it does is in its versions."""

    id = models.CharField(primary_key=True, max_length=40, default=new_workflow_id, editable=False)
    title = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    current_version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(db_default=DatabaseNow())
    updated_at = models.DateTimeField(db_default=DatabaseNow())
    archived_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)

    objects = WorkflowQuerySet.as_manager()

    class Meta:
        """Newest first, which is also the order of cursor paging."""

        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["-created_at", "-id"], name="workflow_newest")]

    def __str__(self) -> str:
        return f"{self.title} ({self.id})"

    def current(self) -> WorkflowVersion:
        """The version that new executions use."""
        return self.versions.get(number=self.current_version)


class WorkflowVersion(models.Model):
    """One frozen definition. A trigger in the database refuses to change it."""

    workflow = models.ForeignKey(Workflow, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    definition = JsonField()
    hash = models.CharField(max_length=64)
    restored_from = models.PositiveIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=DatabaseNow())
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)

    class Meta:
        """Newest first."""

        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["workflow", "number"], name="version_number_once")]

    def __str__(self) -> str:
        return f"{self.workflow_id} version {self.number}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert only: a version never changes."""
        if not self._state.adding:
            raise ValueError("A version is frozen; make a new one.")
        super().save(*args, **kwargs)
