"""The admin of workflows and their versions. A definition is edited through the same service as everywhere."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dataflow.api.admin import ModelAdmin, ModelForm, ReadOnlyAdmin, ReadOnlyInline, shown_json
from dataflow.lib.errors import ApiProblem
from dataflow.lib.jsonvalues import JsonError, parse_json
from workflows import services
from workflows.masking import masked
from workflows.models import Workflow, WorkflowVersion


class WorkflowAdminForm(ModelForm):
    """The current definition as text; checked and stored by the services, title and description come out of it."""

    document = forms.CharField(
        label="Definition (JSON)", widget=forms.Textarea(attrs={"rows": 30, "cols": 100}), strip=False
    )
    #: What was current when the form was opened: somebody else's change is not overwritten.
    expected_version = forms.IntegerField(required=False, widget=forms.HiddenInput)

    class Meta:
        """Nothing of the row itself is editable."""

        model = Workflow
        fields: list[str] = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance._state.adding:  # noqa: SLF001 - Django's documented way to tell a new instance
            text = json.dumps(masked(self.instance.current().definition), ensure_ascii=False, indent=2)
            self.initial["document"] = text
            self.initial["expected_version"] = self.instance.current_version

    def clean_document(self) -> Any:
        """Parse and check; every problem becomes a line of the field's error."""
        try:
            document = parse_json(self.cleaned_data["document"].encode())
            existing = None if self.instance._state.adding else self.instance  # noqa: SLF001 - as above
            services.check_document(document, workflow=existing)
        except JsonError as error:
            raise forms.ValidationError(error.detail) from error
        except ApiProblem as problem:
            lines = [f"{entry.pointer} {entry.detail} {entry.hint}".strip() for entry in problem.errors]
            raise forms.ValidationError(lines or [problem.detail]) from problem
        return document

    def clean(self) -> dict[str, Any] | None:
        """Refuse to overwrite a version that was made in the meantime, and to change what is archived."""
        cleaned = super().clean()
        expected = self.cleaned_data.get("expected_version")
        if self.instance.archived_at is not None:
            raise forms.ValidationError("This workflow is archived and cannot be changed.")
        if expected is not None and expected != self.instance.current_version:
            raise forms.ValidationError(f"Version {self.instance.current_version} was saved in the meantime. Reload.")
        return cleaned


class VersionInline(ReadOnlyInline):
    """The versions of a workflow, frozen."""

    model = WorkflowVersion
    fields = readonly_fields = ("number", "hash", "restored_from", "created_at", "created_by")


@admin.register(Workflow)
class WorkflowAdmin(ModelAdmin):
    """Workflows: edit the definition, archive, look at versions."""

    form = WorkflowAdminForm
    list_display = ["title", "id", "current_version", "executed", "created_at", "archived_at", "page"]
    list_filter = [("archived_at", admin.EmptyFieldListFilter), "created_at"]
    search_fields = ["id", "title", "description"]
    readonly_fields = ("id", "current_version", "created_at", "updated_at", "archived_at", "created_by", "page")
    fields = ("document", "expected_version", *readonly_fields)
    inlines = [VersionInline]
    actions = ["archive"]
    date_hierarchy = "created_at"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Workflow]:
        """With the number of executions, in the same query."""
        rows: QuerySet[Workflow] = super().get_queryset(request).select_related("created_by")
        return rows.annotate(executed_count=Count("executions"))

    @admin.display(description="executions", ordering="executed_count")
    def executed(self, workflow: Workflow) -> int:
        """How often it was started."""
        return int(getattr(workflow, "executed_count", 0))

    @admin.display(description="page")
    def page(self, workflow: Workflow) -> SafeString | str:
        """A link to its page."""
        return format_html('<a href="/workflows/{}">open</a>', workflow.pk) if workflow.current_version else "–"

    def save_model(self, request: HttpRequest, obj: Workflow, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's signature
        """Through the service: a new workflow, or a new version."""
        document, expected = form.cleaned_data["document"], form.cleaned_data.get("expected_version")
        if change:
            services.update_workflow(workflow=obj, document=document, expected_version=expected, user=request.user)
            return
        created = services.create_workflow(document=document, user=request.user).workflow
        obj.__dict__.update(created.__dict__)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: FBT001 - Django's signature
        """Versions are made by the service; the formsets only say for the history that they changed nothing."""
        for formset in formsets:
            formset.save(commit=False)

    def has_delete_permission(self, request: HttpRequest, obj: Workflow | None = None) -> bool:
        """A workflow is archived, never deleted: its executions stay readable."""
        return False

    @admin.action(description="Archive the selected workflows", permissions=["change"])
    def archive(self, request: HttpRequest, queryset: QuerySet[Workflow]) -> None:
        """Take them out of use."""
        for workflow in queryset:
            services.archive_workflow(workflow=workflow)
        self.message_user(request, f"Archived: {len(queryset)}.", messages.SUCCESS)


@admin.register(WorkflowVersion)
class WorkflowVersionAdmin(ReadOnlyAdmin):
    """Versions: frozen, to be read."""

    list_display = ["workflow", "number", "short_hash", "restored_from", "created_at", "created_by", "page"]
    list_select_related = ["workflow", "created_by"]
    list_filter = ["created_at"]
    search_fields = ["workflow__title", "workflow__id", "hash"]
    fields = readonly_fields = (
        "workflow", "number", "hash", "restored_from", "created_at", "created_by", "page", "shown_definition",
    )  # fmt: skip
    shown_definition = staticmethod(shown_json("definition"))

    @admin.display(description="hash", ordering="hash")
    def short_hash(self, version: WorkflowVersion) -> str:
        """The first characters, as git shows them."""
        return version.hash[:12]

    @admin.display(description="page")
    def page(self, version: WorkflowVersion) -> SafeString:
        """A link to its page."""
        return format_html('<a href="/workflows/{}/versions/{}">open</a>', version.workflow_id, version.number)
