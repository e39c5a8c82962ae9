"""The admin of executions, webhooks, files, workers and keys. All rows are the engine's: read-only, with actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dataflow.api.admin import ActionAdmin, ModelAdmin, ReadOnlyAdmin, ReadOnlyInline, shown_json
from dataflow.lib.errors import ApiProblem
from executions import (
    queue_admin,  # noqa: F401 - importing it replaces the pages of django-q2
    secret_admin,  # noqa: F401 - importing it registers its models
    services,
    signing,
    vault,
    verbs,
)
from executions.hidden import mask_of, shown_inputs
from executions.models import (
    Attempt,
    Blob,
    Delivery,
    DeliveryAttempt,
    Event,
    Execution,
    FileUse,
    IdempotencyKey,
    SigningSecret,
    StoredFile,
    TaskRun,
    Worker,
)
from executions.triggers import admin as trigger_admin  # noqa: F401 - importing it registers its models


class TaskRunInline(ReadOnlyInline):
    """The tasks in an execution."""

    model = TaskRun
    fields = ["position", "name", "type", "status", "attempt", "reason", "started_at", "completed_at"]


class DeliveryInline(ReadOnlyInline):
    """The webhooks of an execution."""

    model = Delivery
    fields = ["sequence", "type", "url", "status", "tries", "next_attempt_at", "delivered_at"]


class AttemptInline(ReadOnlyInline):
    """The tries of a task that did not complete it."""

    model = Attempt
    fields = ["number", "type", "worker", "started_at", "ended_at", "error"]


class DeliveryAttemptInline(ReadOnlyInline):
    """The tries of a delivery."""

    model = DeliveryAttempt
    fields = ["number", "at", "duration_ms", "status_code", "error", "response"]


def _each(site: ModelAdmin, request: HttpRequest, rows: QuerySet[Any], act: Callable[[Any], object], done: str) -> None:
    """Do ``act`` to each row; say how many went well and why others did not."""
    succeeded = 0
    for row in rows:
        try:
            act(row)
            succeeded += 1
        except ApiProblem as problem:
            site.message_user(request, problem.detail, messages.ERROR)
    site.message_user(request, f"{done}: {succeeded} of {len(rows)}.", messages.SUCCESS)


@admin.register(Execution)
class ExecutionAdmin(ActionAdmin):
    """Executions with their tasks and webhooks."""

    list_display = ["id", "workflow", "workflow_version", "status", "trigger", "created_at", "completed_at", "page"]
    list_filter = ["status", "trigger", "created_at"]
    list_select_related = ["workflow"]
    search_fields = ["id", "workflow__id", "workflow__title"]
    date_hierarchy = "created_at"
    show_full_result_count = False
    fields = readonly_fields = (
        "id", "page", "workflow", "version", "status", "trigger", "created_by", "created_at", "started_at",
        "completed_at", "sequence", "wake_at", "shown_labels", "shown_inputs", "shown_outputs", "shown_error",
    )  # fmt: skip
    inlines = [TaskRunInline, DeliveryInline]
    actions = ["cancel", "resume", "rerun"]
    shown_labels, shown_inputs = staticmethod(shown_json("labels")), staticmethod(shown_json("inputs", shown_inputs))
    shown_outputs = staticmethod(shown_json("outputs", lambda row: mask_of(row).value(row.outputs)))
    shown_error = staticmethod(shown_json("error"))

    @admin.display(description="page")
    def page(self, execution: Execution) -> SafeString:
        """A link to its page."""
        return format_html('<a href="/workflows/{}/executions/{}">open</a>', execution.workflow_id, execution.pk)

    @admin.action(description="Cancel the selected executions", permissions=["operate"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Execution]) -> None:
        """Those that have not ended."""

        def act(execution: Execution) -> None:
            services.cancel_execution(execution=execution, reason="Cancelled in the admin.", user=request.user)

        _each(self, request, queryset, act, "Cancelled")

    @admin.action(description="Resume the selected executions", permissions=["operate"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Execution]) -> None:
        """Those that failed or were cancelled: what completed is kept."""

        def act(execution: Execution) -> None:
            verbs.resume_execution(execution=execution, user=request.user)

        _each(self, request, queryset, act, "Resumed")

    @admin.action(description="Run the selected executions again", permissions=["operate"])
    def rerun(self, request: HttpRequest, queryset: QuerySet[Execution]) -> None:
        """Each as a new execution with the same version and inputs."""

        def act(execution: Execution) -> None:
            verbs.rerun_execution(execution=execution, user=request.user)

        _each(self, request, queryset, act, "Started again")


@admin.register(TaskRun)
class TaskRunAdmin(ReadOnlyAdmin):
    """Tasks of executions."""

    list_display = ["execution", "name", "type", "status", "attempt", "worker", "started_at", "completed_at"]
    list_filter = ["status", "type"]
    search_fields = ["execution__id", "name"]
    show_full_result_count = False
    fields = readonly_fields = (
        "execution", "name", "position", "type", "status", "reason", "attempt", "lost", "on_fallback", "repeatable",
        "worker", "lease_until", "due_at", "started_at", "attempt_started_at", "completed_at", "progress",
        "progress_message", "shown_inputs", "shown_outputs", "shown_error", "shown_usage", "shown_log",
    )  # fmt: skip
    inlines = [AttemptInline]
    shown_inputs = staticmethod(shown_json("inputs"))
    shown_outputs = staticmethod(shown_json("outputs", lambda row: mask_of(row.execution).value(row.outputs)))
    shown_error, shown_usage = staticmethod(shown_json("error")), staticmethod(shown_json("usage"))
    shown_log = staticmethod(shown_json("log"))


@admin.register(Attempt)
class AttemptAdmin(ReadOnlyAdmin):
    """Tries that did not complete their task."""

    list_display = ["task_run", "number", "type", "worker", "started_at", "ended_at"]
    list_select_related = ["task_run"]
    search_fields = ["task_run__execution__id", "task_run__name"]
    fields = readonly_fields = (
        "task_run", "number", "type", "worker", "started_at", "ended_at", "shown_inputs", "shown_error", "shown_log",
    )  # fmt: skip
    shown_inputs, shown_error = staticmethod(shown_json("inputs")), staticmethod(shown_json("error"))
    shown_log = staticmethod(shown_json("log"))


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    """The event log of executions."""

    list_display = ["execution_id", "sequence", "type", "task", "attempt", "at"]
    list_filter = ["type"]
    search_fields = ["execution__id", "task"]
    show_full_result_count = False
    fields = readonly_fields = ("execution", "sequence", "type", "task", "attempt", "at", "shown_data")
    shown_data = staticmethod(shown_json("data"))


@admin.register(Delivery)
class DeliveryAdmin(ActionAdmin):
    """Webhook deliveries with their tries."""

    list_display = ["id", "execution", "type", "url", "status", "tries", "next_attempt_at", "delivered_at"]
    list_filter = ["status", "type"]
    search_fields = ["id", "execution__id", "url"]
    show_full_result_count = False
    fields = readonly_fields = (
        "id", "execution", "sequence", "type", "url", "status", "tries", "next_attempt_at", "created_at",
        "delivered_at", "body",
    )  # fmt: skip
    inlines = [DeliveryAttemptInline]
    actions = ["redeliver"]

    @admin.action(description="Send the selected deliveries again", permissions=["operate"])
    def redeliver(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        """With the same id and body."""
        _each(self, request, queryset, lambda delivery: services.redeliver(delivery=delivery), "Sent again")


@admin.register(DeliveryAttempt)
class DeliveryAttemptAdmin(ReadOnlyAdmin):
    """Tries of webhook deliveries."""

    list_display = ["delivery", "number", "at", "duration_ms", "status_code", "error"]
    list_filter = ["status_code"]
    list_select_related = ["delivery"]
    search_fields = ["delivery__id", "delivery__execution__id"]
    fields = readonly_fields = ("delivery", "number", "at", "duration_ms", "status_code", "error", "response")


@admin.register(StoredFile)
class StoredFileAdmin(ReadOnlyAdmin):
    """Files, with a link to their content."""

    list_display = ["name", "id", "content_type", "size", "execution", "task", "created_at", "content_link"]
    list_filter = ["content_type", "created_at"]
    search_fields = ["id", "name", "blob__sha256", "execution__id"]
    fields = readonly_fields = (
        "id", "name", "content_type", "size", "sha256", "execution", "task", "created_at", "shown_metadata",
        "content_link",
    )  # fmt: skip
    shown_metadata = staticmethod(shown_json("metadata"))

    @admin.display(description="content")
    def content_link(self, stored: StoredFile) -> SafeString:
        """By the address that serves it safely."""
        return format_html('<a href="/files/{}/content">download</a>', stored.pk)


@admin.register(Blob)
class BlobAdmin(ReadOnlyAdmin):
    """Contents, each kept once however many files have it."""

    list_display = ["sha256", "size", "name", "created_at", "used_at"]
    search_fields = ["sha256", "name", "files__id"]
    fields = readonly_fields = ("sha256", "size", "name", "created_at", "used_at")


@admin.register(FileUse)
class FileUseAdmin(ReadOnlyAdmin):
    """Which executions need which files that they did not make."""

    list_display = ["file", "execution"]
    list_select_related = ["file", "execution"]
    search_fields = ["file__id", "execution__id"]
    fields = readonly_fields = ("file", "execution")


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    """Worker processes and their last sign of life."""

    list_display = ["id", "host", "pid", "threads", "started_at", "heartbeat_at", "shown_busy"]
    fields = readonly_fields = ("id", "host", "pid", "threads", "started_at", "heartbeat_at", "busy", "shown_doing")
    shown_doing = staticmethod(shown_json("doing"))

    @admin.display(description="doing", ordering="busy")
    def shown_busy(self, worker: Worker) -> str:
        """How much it does now."""
        return f"{worker.busy} of {worker.threads}"


@admin.register(SigningSecret)
class SigningSecretAdmin(ActionAdmin):
    """The installation's webhook signing secrets; the secret itself is stored encrypted."""

    list_display = ["id", "created_at", "retired_at"]
    readonly_fields = ("id", "created_at", "retired_at", "shown_secret")
    actions = ["rotate"]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """The secret itself only for those who may also rotate it."""
        shown = ["id", "created_at", "retired_at"]
        return [*shown, "shown_secret"] if self.has_operate_permission(request) else shown

    @admin.display(description="secret")
    def shown_secret(self, secret: SigningSecret) -> str:
        """For the receivers' settings."""
        return vault.decrypt(secret.secret)

    @admin.action(description="Make a new secret and retire the old ones (they sign for 24 hours more)")
    def rotate(self, request: HttpRequest, queryset: QuerySet[SigningSecret]) -> None:
        """Whatever is selected: there is one current secret."""
        if not self.has_operate_permission(request):
            self.message_user(request, "Your account may not rotate the secret.", messages.ERROR)
            return
        signing.rotate()
        self.message_user(request, "A new secret signs from now on; give it to the receivers.", messages.SUCCESS)


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ReadOnlyAdmin):
    """Idempotency keys of the last 24 hours."""

    list_display = ["key", "execution", "created_at"]
    search_fields = ["key", "execution__id"]
    fields = ("key", "request_hash", "execution", "created_at")
