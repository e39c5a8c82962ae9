"""The admin of secrets and connections: superusers alone, write-only."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dataflow.api.admin import ModelAdmin, ModelForm
from executions import secret_store
from executions.secret_models import Connection, Secret


class SuperuserAdmin(ModelAdmin):
    """Whatever permissions others were given: these rows are the superusers'."""

    list_select_related = ["updated_by"]
    search_fields = ["name"]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Superusers."""
        return _is_superuser(request)

    has_delete_permission = has_change_permission = has_module_permission = has_view_permission

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Superusers."""
        return _is_superuser(request)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """By the service."""
        self.remove(obj)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        """By the service."""
        for row in queryset:
            self.remove(row)

    def remove(self, row: Any) -> None:
        """Remove a row through its service."""
        raise NotImplementedError


class SecretAdminForm(ModelForm):
    """A name, and a value that is never filled in."""

    new_value = forms.CharField(
        label="Value",
        help_text="At least 8 characters. Kept encrypted, shown to nobody.",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    class Meta:
        """The value itself is no field: it is encrypted."""

        model = Secret
        fields = ("name",)

    def clean(self) -> dict[str, Any]:
        """What the service would refuse."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        name = cleaned.get("name") or self.instance.pk
        if name and "new_value" in cleaned:
            for problem in secret_store.problems_of(name, cleaned["new_value"]):
                field = {"/name": "name", "/value": "new_value"}[problem.pointer]
                self.add_error(field if field in self.fields else None, problem.detail)
        return cleaned


@admin.register(Secret)
class SecretAdmin(SuperuserAdmin):
    """Secrets: set and deleted, never shown."""

    form = SecretAdminForm
    list_display = ["name", "updated_at", "updated_by"]
    fields = ("name", "new_value", "updated_at", "updated_by")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """The name of one that is there stays: its value is bound to it."""
        return ("updated_at", "updated_by", *(("name",) if obj is not None else ()))

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's own
        """By the service."""
        value = form.cleaned_data["new_value"].replace("\r\n", "\n")
        secret_store.set_secret(name=obj.name, value=value, user=request.user)

    def remove(self, row: Secret) -> None:
        """By the service."""
        secret_store.delete_secret(name=row.pk)


@admin.register(Connection)
class ConnectionAdmin(SuperuserAdmin):
    """Connections: looked at and deleted here, made and changed on their page."""

    list_display = ["name", "kind", "updated_at", "updated_by", "page"]
    list_filter = ["kind"]
    fields = readonly_fields = ("name", "kind", "updated_at", "updated_by", "page")

    @admin.display(description="page")
    def page(self, row: Connection) -> SafeString:
        """A link to its page."""
        return format_html('<a href="/connections/{}">open</a>', row.pk)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """On the page: each kind has other settings."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """On the page."""
        return False

    def remove(self, row: Connection) -> None:
        """By the service."""
        secret_store.delete_connection(name=row.pk)


def _is_superuser(request: HttpRequest) -> bool:
    user: Any = request.user
    return bool(user.is_active and user.is_superuser)
