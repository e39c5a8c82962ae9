"""Forms of secrets and connections. What is secret is never filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms

from dataflow.lib.errors import ApiProblem, Problem
from dataflow.lib.mask import MASK
from tasks_lib.base import MISSING
from tasks_lib.connections import KINDS, ConnectionField
from workflows.forms import WholeNumberOrDecimal

_NO_COMPLETION = {"autocomplete": "off", "spellcheck": "false"}


class StoreForm(forms.Form):
    """What both share: what a service refused stands at the field that it concerns."""

    def show_problem(self, problem: ApiProblem) -> None:
        """Put what was refused at its field."""
        for entry in problem.errors or (Problem(pointer="", code=problem.code, detail=problem.detail),):
            name = entry.pointer.rpartition("/")[2]
            self.add_error(name if name in self.fields else None, f"{entry.detail} {entry.hint}".strip())


class SecretForm(StoreForm):
    """A secret, new or in place of another."""

    name = forms.CharField(
        label="Name",
        help_text="Capital letters, digits and _, such as SHOP_TOKEN. A name that is there already gets the new value.",
        max_length=100,
        widget=forms.TextInput(attrs=_NO_COMPLETION | {"placeholder": "SHOP_TOKEN"}),
    )
    value = forms.CharField(
        label="Value",
        help_text="At least 8 characters. Kept encrypted, used by tasks, shown to nobody.",
        strip=False,
        widget=forms.PasswordInput(attrs=_NO_COMPLETION | {"autocomplete": "new-password"}),
    )


class ConnectionForm(StoreForm):
    """The settings of a connection of one kind. ``settings`` are those of the one that is changed, secrets masked."""

    def __init__(
        self, kind: str, data: Any = None, *, settings: Mapping[str, Any] | None = None, name: str = ""
    ) -> None:
        super().__init__(data, auto_id=f"connection_{kind}_%s")
        self.kind, self._known = KINDS[kind], dict(settings or {})
        if not name:
            self.fields["name"] = forms.CharField(
                label="Name", help_text="Small letters, digits, - and _, such as main.", max_length=100
            )
        for field in self.kind.fields:
            self.fields[field.name] = self._field(field)

    def document(self) -> dict[str, Any]:
        """What was given, for the service. A secret that was left empty stays what it is."""
        given = {}
        for field in self.kind.fields:
            value = self.cleaned_data.get(field.name)
            if value in (None, "") and field.secret and field.name in self._known:
                value = MASK
            if value not in (None, ""):
                given[field.name] = value
        return {"kind": self.kind.name, "settings": given}

    def _field(self, field: ConnectionField) -> forms.Field:
        kept = field.secret and field.name in self._known
        told = f"{field.description}. {'Leave it empty to keep the one there is.' if kept else ''}".strip()
        default = None if field.default is MISSING else field.default
        options: dict[str, Any] = {
            "label": field.name.replace("_", " "),
            "help_text": told,
            "required": field.required and not kept,
            "initial": None if field.secret else self._known.get(field.name, default),
        }
        hint = _NO_COMPLETION | ({} if field.example is MISSING else {"placeholder": str(field.example)})
        if field.type == "boolean":
            return forms.BooleanField(**options | {"required": False})
        if field.enum:
            return forms.ChoiceField(choices=[(one, one) for one in field.enum], **options)
        if field.type == "number":
            return WholeNumberOrDecimal(widget=forms.NumberInput(attrs=hint), **options)
        widget = forms.PasswordInput(attrs=hint | {"autocomplete": "new-password"}) if field.secret else None
        return forms.CharField(widget=widget or forms.TextInput(attrs=hint), **options)
