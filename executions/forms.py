"""Forms of the verbs: deciding an approval, resuming with a key, running again with changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms

from tasks_lib.base import MISSING
from workflows.definition import Input
from workflows.definition.form import read_form
from workflows.forms import RunForm

_CHECKS = ("minimum", "maximum", "min_length", "max_length", "pattern")


class ResumeForm(forms.Form):
    """What a resume may need: a key, since the one given at the start was erased at the end."""

    openai_key = forms.CharField(
        label="OpenAI key",
        help_text="Needed if the first one came with the request: that was erased when the execution ended.",
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        required=False,
    )


class RerunForm(RunForm):
    """The start form of one version, filled in with the inputs of the source."""

    version = forms.IntegerField(widget=forms.HiddenInput, min_value=1, max_value=10**9)

    def __init__(
        self,
        inputs: Sequence[Mapping[str, Any]],
        data: Any = None,
        files: Any = None,
        *,
        values: Mapping[str, Any] | None = None,
        tasks: Sequence[str] = (),
        version: int = 1,
    ) -> None:
        super().__init__(inputs, data, files, values=values)
        choices = [("", "the beginning: everything runs"), *((name, name) for name in tasks)]
        self.fields["from_task"] = forms.ChoiceField(
            label="Run from",
            help_text="Results of tasks that do not depend on it are taken over, where they are still valid.",
            choices=choices,
            required=False,
        )
        for declared in self.inputs:
            if declared.get("sensitive"):
                field = self.fields[f"input_{declared['name']}"]
                field.help_text = f"{field.help_text} Empty: the same as before.".strip()
                field.widget.attrs.pop("required", None)
        self.fields["version"].initial = version
        self.fields["webhook_url"].help_text = "Another address than that of the first run, if it is to be another."

    def changed_values(self) -> dict[str, Any]:
        """Every input of the version: what was left empty is null, so that it is not taken from the source.

        But a sensitive one, which is not filled in, is.
        """
        given = self.values()
        names = (one["name"] for one in self.inputs if one["name"] in given or not one.get("sensitive"))
        return {name: given.get(name) for name in names}

    def _field_at(self, pointer: str) -> str | None:
        return "from_task" if pointer == "/from_task" else super()._field_at(pointer)


class DecisionForm(RunForm):
    """The fields that an approval asks for, and a comment."""

    webhook_url = None  # type: ignore[assignment]  # Django's way to leave out a field of the parent
    openai_key = None  # type: ignore[assignment]  # the same
    comment = forms.CharField(
        label="Comment",
        required=False,
        max_length=2_000,
        widget=forms.Textarea(attrs={"rows": 2}),
    )

    def __init__(self, waiting: Mapping[str, Any], data: Any = None, files: Any = None, *, prefix: str = "") -> None:
        super().__init__([declared(one) for one in read_form(waiting.get("form") or [])[0]], data, files)
        # Several may stand on one page.
        self.auto_id = f"id_{prefix}_%s" if prefix else "id_%s"

    def option_rows(self) -> list[forms.BoundField]:
        """For the template: what is not a field of the form."""
        return [self["comment"]]

    def _field_at(self, pointer: str) -> str | None:
        first, _, rest = pointer.lstrip("/").partition("/")
        name = f"input_{rest.partition('/')[0]}"
        if first == "values" and name in self.fields:
            return name
        return "comment" if first == "comment" else None


def declared(one: Input) -> dict[str, Any]:
    """An input as a definition writes it, which is what forms are made from."""
    shown: dict[str, Any] = {
        "name": one.name,
        "type": one.type,
        "description": one.description,
        "required": one.required,
        "enum": list(one.enum),
    }
    shown |= {name: value for name in _CHECKS if (value := getattr(one, name)) is not None}
    shown |= {} if one.default is MISSING else {"default": one.default}
    return shown | ({} if one.example is MISSING else {"example": one.example})
