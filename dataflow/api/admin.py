"""What the admin pages of all apps share: rows to look at, and JSON to read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

# Django's admin classes take their model as a parameter for the type checker only.
if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
    ModelForm = forms.ModelForm[Any]
else:
    ModelAdmin, TabularInline, ModelForm = admin.ModelAdmin, admin.TabularInline, forms.ModelForm

#: Characters of a JSON value that the admin shows; the page of the thing has the rest.
_SHOWN = 64 * 1024


class ReadOnlyAdmin(ModelAdmin):
    """Look, do not touch."""

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        """Nobody adds."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes."""
        return False


class ActionAdmin(ReadOnlyAdmin):
    """Read-only rows with actions, for those who may change such rows by Django's permissions."""

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Whether this user's permissions include to change such rows (which only actions do)."""
        user: Any = request.user
        return bool(user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}"))


class ReadOnlyInline(TabularInline):
    """Rows of another row, to be read."""

    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody adds."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes."""
        return False


def shown_json(name: str, value_of: Callable[[Any], Any] | None = None) -> Callable[[Any], SafeString]:
    """A read-only column that shows the JSON in the field ``name``, or what ``value_of`` makes of a row, indented."""

    def show(row: Any) -> SafeString:
        text = json.dumps(value_of(row) if value_of else getattr(row, name), ensure_ascii=False, indent=2)
        return format_html("<pre>{}</pre>", text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …")

    return admin.display(description=name)(show)
