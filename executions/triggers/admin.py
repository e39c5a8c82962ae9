"""The admin of schedules and hooks: read-only rows with actions; settings are changed on the pages and by the API."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dataflow.api.admin import ActionAdmin, shown_json
from dataflow.lib.errors import ApiProblem
from executions.trigger_models import Hook, Schedule
from executions.triggers.hooks import patch_hook
from executions.triggers.present import shown_inputs_of
from executions.triggers.schedules import patch_schedule


class TriggerAdmin(ActionAdmin):
    """What both share: a link to the workflow's page, and switching rows on and off."""

    list_filter = ["enabled"]
    list_select_related = ["workflow"]
    actions = ["switch_on", "switch_off"]

    @admin.display(description="page")
    def page(self, row: Any) -> SafeString:
        """A link to the page of its workflow."""
        return format_html('<a href="/workflows/{}">open</a>', row.workflow_id)

    @admin.action(description="Switch the selected rows on", permissions=["operate"])
    def switch_on(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Those that are off."""
        self._switch(request, queryset, enabled=True)

    @admin.action(description="Switch the selected rows off", permissions=["operate"])
    def switch_off(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Those that are on."""
        self._switch(request, queryset, enabled=False)

    def _switch(self, request: HttpRequest, queryset: QuerySet[Any], *, enabled: bool) -> None:
        done = 0
        for row in queryset:
            try:
                self.change(row, {"enabled": enabled})
                done += 1
            except ApiProblem as problem:
                self.message_user(request, f"{row}: {problem.detail}", messages.ERROR)
        self.message_user(request, f"Switched {'on' if enabled else 'off'}: {done} of {len(queryset)}.")

    def change(self, row: Any, patch: dict[str, Any]) -> None:
        """Change a row through its service."""
        raise NotImplementedError


@admin.register(Schedule)
class ScheduleAdmin(TriggerAdmin):
    """Schedules."""

    list_display = [
        "id",
        "workflow",
        "cron",
        "timezone",
        "every_minutes",
        "enabled",
        "next_run_at",
        "last_run_at",
        "page",
    ]
    search_fields = ["id", "workflow__id", "workflow__title"]
    fields = readonly_fields = (
        "id", "page", "workflow", "cron", "timezone", "every_minutes", "missed", "enabled", "next_run_at",
        "last_run_at", "last_execution", "created_by", "created_at", "shown_inputs", "shown_labels", "shown_error",
    )  # fmt: skip
    shown_inputs = staticmethod(shown_json("inputs", shown_inputs_of))
    shown_labels = staticmethod(shown_json("labels"))
    shown_error = staticmethod(shown_json("last_error"))

    def change(self, row: Any, patch: dict[str, Any]) -> None:
        """By the service."""
        patch_schedule(schedule=row, patch=patch)


@admin.register(Hook)
class HookAdmin(TriggerAdmin):
    """Hooks. Neither the token nor its hash nor the secret is shown."""

    list_display = ["id", "name", "workflow", "signature", "enabled", "last_used_at", "count", "page"]
    search_fields = ["id", "name", "workflow__id", "workflow__title"]
    fields = readonly_fields = (
        "id", "page", "workflow", "name", "signature", "enabled", "last_used_at", "count", "created_by", "created_at",
        "shown_inputs",
    )  # fmt: skip
    shown_inputs = staticmethod(shown_json("inputs"))

    def change(self, row: Any, patch: dict[str, Any]) -> None:
        """By the service."""
        patch_hook(hook=row, patch=patch)
