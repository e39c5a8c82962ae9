"""Forms that make schedules and hooks. They only turn what was typed into a document; the services check it."""

from __future__ import annotations

import json
from typing import Any

from django import forms

from dataflow.lib.errors import ApiProblem, Problem
from executions.trigger_models import Missed, SignatureKind
from workflows.forms import JsonText, WholeNumberOrDecimal
from workflows.models import WorkflowVersion
from workflows.pages import example_of

_CODE = {"rows": 3, "class": "code", "spellcheck": "false"}


class TriggerForm(forms.Form):
    """What both forms share: a document out of the fields, and problems put at the field that they concern."""

    def document(self) -> dict[str, Any]:
        """What was given, for the service."""
        return {name: value for name, value in self.cleaned_data.items() if value not in (None, "")}

    def show_problem(self, problem: ApiProblem) -> None:
        """Put what a service refused at the fields that it concerns."""
        for entry in problem.errors or (Problem(pointer="", code=problem.code, detail=problem.detail),):
            name = entry.pointer.lstrip("/").partition("/")[0]
            self.add_error(name if name in self.fields else None, f"{entry.detail} {entry.hint}".strip())


class ScheduleForm(TriggerForm):
    """A new schedule."""

    cron = forms.CharField(
        label="At (cron)",
        help_text="Minute, hour, day of month, month, weekday. 0 8 * * MON-FRI is at 8:00 on working days.",
        widget=forms.TextInput(attrs={"placeholder": "0 8 * * MON-FRI", "spellcheck": "false"}),
        required=False,
    )
    timezone = forms.CharField(
        label="Time zone", help_text="Of the times above, such as Europe/Berlin.", initial="UTC", required=False
    )
    every_minutes = WholeNumberOrDecimal(
        label="Or every so many minutes", widget=forms.NumberInput(attrs={"min": 1, "max": 44640}), required=False
    )
    missed = forms.ChoiceField(
        label="Runs that were missed while nothing ran", choices=Missed.choices, initial=Missed.SKIP, required=False
    )
    inputs = JsonText(label="Inputs (JSON)", widget=forms.Textarea(attrs=_CODE), required=False)

    def document(self) -> dict[str, Any]:
        """The zone stands there in any case; it counts for cron alone."""
        found = super().document()
        return found if "cron" in found else {name: value for name, value in found.items() if name != "timezone"}


class HookForm(TriggerForm):
    """A new hook."""

    name = forms.CharField(label="Name", help_text="Who calls it.", max_length=100, required=False)
    signature = forms.ChoiceField(
        label="Signature",
        help_text="How the sender signs its requests; the address alone is enough without.",
        choices=SignatureKind.choices,
        required=False,
    )
    secret = forms.CharField(
        label="Secret",
        help_text="Only with a signature. Leave it out to have one made; it is kept encrypted.",
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        required=False,
    )
    inputs = JsonText(
        label="Inputs out of the request (JSON)",
        help_text="A template for each input, with body, headers and query. Without any, the body is the inputs.",
        widget=forms.Textarea(attrs=_CODE | {"placeholder": '{"text": "{{body.message.text}}"}'}),
        required=False,
    )


def schedule_form(version: WorkflowVersion, data: Any = None) -> ScheduleForm:
    """The form, filled in with an example of each input that must be given."""
    example = example_inputs(version)
    initial = {"inputs": json.dumps(example, ensure_ascii=False, indent=2)} if example else {}
    return ScheduleForm(data, auto_id="schedule_%s", initial=initial)


def hook_form(data: Any = None) -> HookForm:
    """The form."""
    return HookForm(data, auto_id="hook_%s")


def example_inputs(version: WorkflowVersion) -> dict[str, Any]:
    """An example of each input that must be given."""
    inputs = version.definition.get("inputs") or []
    needed = [one for one in inputs if one.get("required", True) and "default" not in one]
    return {one["name"]: example_of(one) for one in needed}
