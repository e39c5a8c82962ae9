"""What happened: executions, task runs, attempts, events, webhook deliveries, files and workers.

Only ``executions/store.py`` changes executions and task runs (and ``deliveries.py`` changes deliveries).
"""

from __future__ import annotations

from django.conf import settings
from django.db import models

from dataflow.lib.fields import DatabaseNow, JsonField
from dataflow.lib.ids import new_id
from executions.engine.state import ExecutionStatus, TaskStatus
from workflows.models import Workflow, WorkflowVersion

ALIVE = (ExecutionStatus.PENDING, ExecutionStatus.RUNNING)
#: Task runs that something can still follow.
UNENDED = (TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.WAITING)


def _choices(kind: type[ExecutionStatus | TaskStatus]) -> list[tuple[str, str]]:
    return [(status.value, status.value) for status in kind]


def new_execution_id() -> str:
    """A new ``we-…`` id."""
    return new_id("we")


def new_delivery_id() -> str:
    """A new ``msg-…`` id: the ``webhook-id`` of every try of one delivery."""
    return new_id("msg")


class ExecutionQuerySet(models.QuerySet["Execution"]):
    """Reads of executions."""

    def alive(self) -> ExecutionQuerySet:
        """Those that have not ended."""
        return self.filter(status__in=ALIVE)

    def for_list(self) -> ExecutionQuerySet:
        """With what a list shows, without the large columns."""
        return self.select_related("workflow").defer("inputs", "outputs", "monitoring", "secrets")


class Execution(models.Model):
    """One run of one version of a workflow."""

    id = models.CharField(primary_key=True, max_length=40, default=new_execution_id, editable=False)
    # No index of their own: `execution_of_workflow` begins with the workflow, and nobody searches by version or user.
    workflow = models.ForeignKey(Workflow, on_delete=models.PROTECT, related_name="executions", db_index=False)
    version = models.ForeignKey(WorkflowVersion, on_delete=models.PROTECT, related_name="executions", db_index=False)
    workflow_version = models.PositiveIntegerField()
    #: The version's, so that a list needs no definition.
    title = models.CharField(max_length=200, blank=True)
    status = models.CharField(max_length=10, choices=_choices(ExecutionStatus), default=ExecutionStatus.PENDING)
    inputs = JsonField(default=dict)
    outputs = JsonField(null=True, blank=True)
    #: ``{output name: {"file_id", "size"}}`` of outputs too large for the row (4-execution.md, 6).
    stored = JsonField(default=dict)
    error = JsonField(null=True, blank=True)
    labels = JsonField(default=dict)
    monitoring = JsonField(null=True, blank=True)
    #: Encrypted keys given for this execution alone and the webhook's own secret; keys are erased at its end.
    secrets = models.TextField(blank=True, default="")
    webhook_secret = models.TextField(blank=True, default="")
    #: What started it: ``api``, ``page``, ``schedule``, ``hook``, ``workflow`` or ``rerun``, and the id of that.
    trigger = models.CharField(max_length=20, default="api")
    trigger_ref = models.CharField(max_length=64, blank=True, default="")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, db_index=False
    )
    #: Number of the last event in its log.
    sequence = models.PositiveIntegerField(default=0)
    #: Goes up with every change that a decision may depend on: who read another one decides anew.
    revision = models.PositiveIntegerField(default=0)
    #: How often it was taken since a step was written: more than once, and somebody may have died with it.
    takes = models.PositiveSmallIntegerField(default=0)
    #: From then on a worker takes it. None where nothing is to be done: a lease, a person or a slot is waited for.
    wake_at = models.DateTimeField(null=True, blank=True)
    #: The order of first starts: higher priority first, then by this time (see ``store.accept``).
    priority = models.SmallIntegerField(default=0)
    pick_at = models.DateTimeField(null=True, blank=True)
    #: Accepted to begin then (``delay``, ``start_at``): until then it takes no part in anything. None: at once.
    start_at = models.DateTimeField(null=True, blank=True)
    #: ``workflow.concurrency``: at most ``concurrency_limit`` with the same key run at a time. Empty: no limit.
    concurrency_key = models.CharField(max_length=300, blank=True, default="")
    concurrency_limit = models.PositiveIntegerField(null=True, blank=True)
    #: The execution whose task ``parent_task`` (``name`` or ``name[item]``) this is; ``depth`` counts such parents.
    parent = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="children", db_index=False
    )
    parent_task = models.CharField(max_length=80, blank=True, default="")
    depth = models.PositiveSmallIntegerField(default=0)
    rerun_of = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="reruns", db_index=False
    )
    created_at = models.DateTimeField(db_default=DatabaseNow())
    started_at = models.DateTimeField(null=True, blank=True)
    #: When it was last resumed.
    resumed_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    objects = ExecutionQuerySet.as_manager()

    class Meta:
        """Newest first; partial indexes only on what is alive, so that finished ones cost nothing."""

        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="execution_newest"),
            models.Index(fields=["workflow", "-created_at", "-id"], name="execution_of_workflow"),
            models.Index(fields=["status", "-created_at", "-id"], name="execution_by_status"),
            models.Index(fields=["wake_at"], name="execution_due", condition=models.Q(status=ExecutionStatus.RUNNING)),
            models.Index(
                fields=["-priority", "pick_at"],
                name="execution_pick",
                condition=models.Q(status=ExecutionStatus.PENDING, wake_at__isnull=False),
            ),
            models.Index(
                fields=["workflow", "wake_at"],
                name="execution_queued",
                condition=models.Q(status=ExecutionStatus.PENDING, wake_at__isnull=False),
            ),
            # Every write of a row pays for each index it is in; most have neither.
            models.Index(fields=["parent"], name="execution_children", condition=models.Q(parent__isnull=False)),
            models.Index(fields=["rerun_of"], name="execution_reruns", condition=models.Q(rerun_of__isnull=False)),
            models.Index(
                fields=["concurrency_key", "status"],
                name="execution_slots",
                condition=models.Q(status__in=ALIVE) & ~models.Q(concurrency_key=""),
            ),
        ]

    def __str__(self) -> str:
        return self.id


class TaskRun(models.Model):
    """A task of an execution, once there is something to say of it; until then it is PENDING without a row.

    An item of a ``for_each`` task has a row of its own, named ``task[item]``, from its first try on.
    """

    # No index of its own: the constraint below begins with it. The same in other rows of an execution.
    execution = models.ForeignKey(Execution, on_delete=models.CASCADE, related_name="task_runs", db_index=False)
    name = models.CharField(max_length=80)
    #: Place in the list of a ``for_each`` task, from 0; None for a task.
    item = models.PositiveIntegerField(null=True, blank=True)
    #: Of a ``for_each`` task: ``{"total", "next", "completed", "failed"}``, ``next`` being the first never claimed.
    items = JsonField(null=True, blank=True)
    #: While WAITING: ``{"for": "retry" | "timer" | "approval" | "child", "since", …}``; ``due_at`` says until when.
    waiting = JsonField(null=True, blank=True)
    #: The execution that a ``workflow.run`` task started.
    child = models.CharField(max_length=40, blank=True, default="")
    #: Place in the definition, from 0.
    position = models.PositiveIntegerField()
    #: The task type that ran last (the fallback's, once that stood in).
    type = models.CharField(max_length=200)
    status = models.CharField(max_length=10, choices=_choices(TaskStatus), default=TaskStatus.PENDING)
    attempt = models.PositiveIntegerField(default=0)
    failures = models.PositiveIntegerField(default=0)
    lost = models.PositiveIntegerField(default=0)
    on_fallback = models.BooleanField(default=False)
    repeatable = models.BooleanField(default=True)
    #: Of the claimed try, in seconds.
    timeout = models.FloatField(null=True, blank=True)
    worker = models.CharField(max_length=100, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    attempt_started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)
    inputs = JsonField(null=True, blank=True)
    outputs = JsonField(null=True, blank=True)
    #: As ``Execution.stored``.
    stored = JsonField(default=dict)
    error = JsonField(null=True, blank=True)
    reason = models.CharField(max_length=500, blank=True)
    progress = models.FloatField(null=True, blank=True)
    progress_message = models.CharField(max_length=200, blank=True)
    usage = JsonField(default=dict)
    log = JsonField(default=list)

    class Meta:
        """In the order of the definition."""

        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["execution", "name"], name="task_run_once")]
        indexes = [
            models.Index(fields=["lease_until"], name="task_run_leases", condition=models.Q(status=TaskStatus.RUNNING)),
            # What a step or a page reads: 10,000 items that have ended are no part of it.
            models.Index(
                fields=["execution"],
                name="task_run_current",
                condition=models.Q(item__isnull=True) | models.Q(status__in=UNENDED),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.execution_id} {self.name}"


class Attempt(models.Model):
    """A try that did not complete its task. The one that did, or that runs now, is in the task run itself."""

    task_run = models.ForeignKey(TaskRun, on_delete=models.CASCADE, related_name="attempts", db_index=False)
    number = models.PositiveIntegerField()
    type = models.CharField(max_length=200)
    worker = models.CharField(max_length=100, blank=True)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField()
    #: Whether it did its part, and the task went on from what it left.
    went_on = models.BooleanField(default=False, db_default=False)
    inputs = JsonField(null=True)
    error = JsonField(null=True)
    usage = JsonField(default=dict)
    log = JsonField(default=list)

    class Meta:
        """In the order they were made."""

        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["task_run", "number"], name="attempt_number_once")]

    def __str__(self) -> str:
        return f"{self.task_run} attempt {self.number}"


class Event(models.Model):
    """One line of an execution's log; webhooks, pages and streams all read it."""

    execution = models.ForeignKey(Execution, on_delete=models.CASCADE, related_name="events", db_index=False)
    sequence = models.PositiveIntegerField()
    type = models.CharField(max_length=40)
    task = models.CharField(max_length=80, blank=True)
    attempt = models.PositiveIntegerField(default=0)
    at = models.DateTimeField()
    data = JsonField(default=dict)

    class Meta:
        """Gapless per execution."""

        ordering = ["sequence"]
        constraints = [models.UniqueConstraint(fields=["execution", "sequence"], name="event_sequence_once")]

    def __str__(self) -> str:
        return f"{self.execution_id} {self.sequence} {self.type}"


class DeliveryStatus(models.TextChoices):
    """Where a webhook delivery stands."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    EXHAUSTED = "EXHAUSTED"
    STOPPED = "STOPPED"


class Delivery(models.Model):
    """One event to send to one webhook. Its id and body are the same for every try."""

    id = models.CharField(primary_key=True, max_length=40, default=new_delivery_id, editable=False)
    execution = models.ForeignKey(Execution, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    sequence = models.PositiveIntegerField()
    type = models.CharField(max_length=40)
    url = models.TextField()
    body = models.TextField()
    status = models.CharField(max_length=10, choices=DeliveryStatus.choices, default=DeliveryStatus.PENDING)
    tries = models.PositiveIntegerField(default=0)
    #: Due from then on; moved forward while a worker sends it (its lease) and after a failure (the schedule).
    next_attempt_at = models.DateTimeField()
    #: When the sweeper should ring for it.
    wake_at = models.DateTimeField()
    created_at = models.DateTimeField(db_default=DatabaseNow())
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        """In the order of the events."""

        ordering = ["execution", "sequence"]
        verbose_name_plural = "deliveries"
        constraints = [models.UniqueConstraint(fields=["execution", "sequence"], name="delivery_once")]
        indexes = [
            models.Index(fields=["wake_at"], name="delivery_due", condition=models.Q(status=DeliveryStatus.PENDING)),
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.type}"


class DeliveryAttempt(models.Model):
    """One try of a delivery and what the receiver said."""

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveIntegerField()
    at = models.DateTimeField()
    duration_ms = models.PositiveIntegerField()
    status_code = models.PositiveIntegerField(null=True)
    error = models.CharField(max_length=1000, blank=True)
    #: The first 4 KiB of the answer.
    response = models.TextField(blank=True)

    class Meta:
        """In the order they were made."""

        ordering = ["number"]

    def __str__(self) -> str:
        return f"{self.delivery_id} try {self.number}"


class Worker(models.Model):
    """A worker process and its last sign of life."""

    id = models.CharField(primary_key=True, max_length=100)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    threads = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField()
    #: Tries in hand, and the first of them: ``[{"execution", "task", "attempt"}]``.
    busy = models.PositiveIntegerField(default=0, db_default=0)
    doing = JsonField(default=list)

    class Meta:
        """Oldest first."""

        ordering = ["started_at", "id"]

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class SigningSecret(models.Model):
    """The installation's own webhook signing secret; a retired one still signs beside it for a day."""

    #: Encrypted ``whsec_…``.
    secret = models.TextField()
    created_at = models.DateTimeField(db_default=DatabaseNow())
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        """Newest first."""

        ordering = ["-id"]

    def __str__(self) -> str:
        return f"signing secret {self.pk}"


class IdempotencyKey(models.Model):
    """The first answer to an ``Idempotency-Key``, for 24 hours."""

    key = models.CharField(max_length=600, unique=True)
    request_hash = models.CharField(max_length=64)
    execution = models.ForeignKey(Execution, on_delete=models.CASCADE)
    created_at = models.DateTimeField(db_default=DatabaseNow(), db_index=True)

    def __str__(self) -> str:
        return self.key


# At the end: they refer to executions. Django finds the models of an app here.
from executions.file_models import Blob, FileUse, StoredFile, new_file_id  # noqa: E402
from executions.secret_models import Connection, Secret  # noqa: E402
from executions.trigger_models import Hook, Schedule  # noqa: E402

__all__ = [
    "ALIVE",
    "UNENDED",
    "Attempt",
    "Blob",
    "Connection",
    "Delivery",
    "DeliveryAttempt",
    "DeliveryStatus",
    "Event",
    "Execution",
    "ExecutionQuerySet",
    "FileUse",
    "Hook",
    "IdempotencyKey",
    "Schedule",
    "Secret",
    "SigningSecret",
    "StoredFile",
    "TaskRun",
    "Worker",
    "new_delivery_id",
    "new_execution_id",
    "new_file_id",
]
