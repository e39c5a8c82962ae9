"""What starts executions by itself: schedules and hooks. Only ``executions/triggers/`` changes them."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models

from dataflow.lib.fields import DatabaseNow, JsonField
from dataflow.lib.ids import new_id
from workflows.models import Workflow


def new_schedule_id() -> str:
    """A new ``sc-…`` id."""
    return new_id("sc")


def new_hook_id() -> str:
    """A new ``hk-…`` id."""
    return new_id("hk")


class Missed(models.TextChoices):
    """What becomes of runs whose time passed while nothing ran."""

    SKIP = "skip", "skip them"
    RUN_ONCE = "run_once", "run once for all of them"


class SignatureKind(models.TextChoices):
    """How the sender of a hook's requests signs them."""

    NONE = "", "none"
    STANDARD = "standard", "Standard Webhooks"
    GITHUB = "github", "GitHub (X-Hub-Signature-256)"


class ScheduleQuerySet(models.QuerySet["Schedule"]):
    """Reads of schedules."""

    def active(self) -> ScheduleQuerySet:
        """Those that have a next run: enabled, of a workflow that is in use."""
        return self.filter(enabled=True, next_run_at__isnull=False, workflow__archived_at=None)

    def due(self, now: Any = None) -> ScheduleQuerySet:
        """Those whose time has come at ``now`` (by default the database's clock), the longest waiting first."""
        return self.active().filter(next_run_at__lte=now or DatabaseNow()).order_by("next_run_at", "pk")

    def for_list(self) -> ScheduleQuerySet:
        """With what an answer or a page shows."""
        return self.select_related("workflow", "created_by", "last_execution")


class Schedule(models.Model):
    """Starts a workflow at the times of a cron expression, or every so many minutes."""

    id = models.CharField(primary_key=True, max_length=40, default=new_schedule_id, editable=False)
    workflow = models.ForeignKey(Workflow, on_delete=models.CASCADE, related_name="schedules")
    #: Either ``cron`` with ``timezone`` (an IANA name), or ``every_minutes``.
    cron = models.CharField(max_length=200, blank=True, default="")
    timezone = models.CharField(max_length=64, blank=True, default="")
    every_minutes = models.PositiveIntegerField(null=True, blank=True)
    inputs = JsonField(default=dict)
    labels = JsonField(default=dict)
    missed = models.CharField(max_length=10, choices=Missed.choices, default=Missed.SKIP)
    enabled = models.BooleanField(default=True)
    #: The slot that is run next; None while it is paused, and when there is none.
    next_run_at = models.DateTimeField(null=True, blank=True)
    #: The last slot that came, started or not: ``last_error`` says why not.
    last_run_at = models.DateTimeField(null=True, blank=True)
    last_execution = models.ForeignKey(
        "executions.Execution", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    #: ``{"at", "code", "detail", "errors"}`` when the last slot started nothing.
    last_error = JsonField(null=True, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(db_default=DatabaseNow())

    objects = ScheduleQuerySet.as_manager()

    class Meta:
        """Newest first; the sweeper looks only at those that have a next run."""

        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(
                fields=["next_run_at"], name="schedule_due", condition=models.Q(enabled=True, next_run_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.id} of {self.workflow_id}"


class Hook(models.Model):
    """An address that starts a workflow when something is posted to it. The token in the address is the right to."""

    id = models.CharField(primary_key=True, max_length=40, default=new_hook_id, editable=False)
    workflow = models.ForeignKey(Workflow, on_delete=models.CASCADE, related_name="hooks")
    name = models.CharField(max_length=100)
    #: SHA-256 of the token, in hexadecimal. The token itself is nowhere.
    token_hash = models.CharField(max_length=64, unique=True)
    #: ``{input name: template}`` over ``body``, ``headers`` and ``query``; None: the body is the inputs.
    inputs = JsonField(null=True, blank=True)
    signature = models.CharField(max_length=10, choices=SignatureKind.choices, blank=True, default=SignatureKind.NONE)
    #: Encrypted.
    secret = models.TextField(blank=True, default="")
    enabled = models.BooleanField(default=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    #: Requests that were accepted.
    count = models.PositiveBigIntegerField(default=0)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(db_default=DatabaseNow())

    class Meta:
        """Newest first."""

        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"
