"""Forms made from what a workflow says of itself.

A form only turns what was typed into JSON values; whether they fit is decided where every execution starts, and what
is refused there comes back to the field it concerns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile

from dataflow.lib.errors import ApiProblem, Problem
from dataflow.lib.fields import dump_json
from dataflow.lib.jsonvalues import JsonError, parse_json

_JSON_TYPES = ("object", "list", "any")


class RunForm(forms.Form):
    """The inputs of one workflow as fields, and what else can be said when it is started.

    ``inputs`` are the input declarations of the definition, ``values`` (for "run again") fill the fields in.
    """

    webhook_url = forms.CharField(
        label="Webhook",
        help_text="An address that is told when the execution starts and ends.",
        widget=forms.URLInput(attrs={"placeholder": "https://example.com/webhook"}),
        required=False,
    )
    openai_key = forms.CharField(
        label="OpenAI key",
        help_text="Used for this execution alone, kept encrypted while it runs, erased when it ends, shown nowhere.",
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        required=False,
    )

    def __init__(
        self,
        inputs: Sequence[Mapping[str, Any]],
        data: Any = None,
        files: Any = None,
        *,
        values: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(data, files)
        self.inputs = inputs
        for declared in inputs:
            given = (values or {}).get(declared["name"], declared.get("default"))
            self._add(declared, given)

    def _add(self, declared: Mapping[str, Any], given: Any) -> None:
        key = f"input_{declared['name']}"
        self.fields[key] = field = _field(declared)
        field.label, field.help_text = declared["name"], declared.get("description", "")
        needed = declared.get("required", True) and "default" not in declared
        if declared["type"] == "file":
            self.fields[f"ref_{declared['name']}"] = _reference(declared, None if declared.get("sensitive") else given)
        elif needed:
            field.widget.attrs["required"] = True
        if given is not None and not declared.get("sensitive"):
            field.initial = _shown(declared, given)

    def rows_of_inputs(self) -> list[dict[str, Any]]:
        """For the template: each input's declaration with its field, and the field for a file that is here already.

        A template looks for a field of that name first: no field's begins so.
        """
        return [
            {
                "declared": declared,
                "optional": not declared.get("required", True) or "default" in declared,
                "field": self[f"input_{declared['name']}"],
                "reference": self[f"ref_{declared['name']}"] if declared["type"] == "file" else None,
            }
            for declared in self.inputs
        ]

    def option_rows(self) -> list[forms.BoundField]:
        """For the template: what is not an input."""
        return [self["webhook_url"], self["openai_key"]]

    def values(self) -> dict[str, Any]:
        """The inputs that were given: JSON values, and ``UploadedFile`` where a file was sent."""
        cleaned = self.cleaned_data
        given = {}
        for declared in self.inputs:
            name = declared["name"]
            value = cleaned.get(f"input_{name}")
            if declared["type"] == "file" and value is None and (text := cleaned.get(f"ref_{name}")):
                value = {"url": text} if "://" in text else text
            if value is not None:
                given[name] = value
        return given

    def show_problem(self, problem: ApiProblem) -> None:
        """Put what a service refused at the fields that it concerns."""
        for entry in problem.errors or (Problem(pointer="", code=problem.code, detail=problem.detail),):
            self.add_error(self._field_at(entry.pointer), f"{entry.detail} {entry.hint}".strip())

    def _field_at(self, pointer: str) -> str | None:
        first, _, rest = pointer.lstrip("/").partition("/")
        name = f"input_{rest.partition('/')[0]}"
        if first == "inputs" and name in self.fields:
            return name
        return "webhook_url" if first == "monitoring" else None


class WholeNumberOrDecimal(forms.CharField):
    """A number; one written as an integer stays an integer."""

    def clean(self, value: Any) -> int | float | None:
        """Parse; nothing given is ``None``."""
        text = super().clean(value)
        if not text:
            return None
        try:
            return int(text) if text.lstrip("+-").isdigit() and len(text) <= 30 else float(text)
        except ValueError as error:
            raise ValidationError("Write a number, such as 3 or 0.5.") from error


class JsonText(forms.CharField):
    """JSON as text. With ``lenient``, text that is no JSON is itself the value."""

    def __init__(self, *, lenient: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.lenient = lenient

    def clean(self, value: Any) -> Any:
        """Parse; nothing given is ``None``."""
        text = super().clean(value)
        if not text:
            return None
        try:
            return parse_json(text.encode())
        except JsonError as error:
            if self.lenient and error.code == "invalid_json":
                return text
            raise ValidationError(error.detail) from error


class GivenText(forms.CharField):
    """Text exactly as written; nothing given is ``None``."""

    def clean(self, value: Any) -> str | None:
        """Browsers send line ends as CR LF; a text area means LF."""
        return super().clean(value).replace("\r\n", "\n") or None


def _field(declared: Mapping[str, Any]) -> forms.Field:
    kind, example = declared["type"], declared.get("example")
    hint = {} if example is None else {"placeholder": _shown(declared, example)}
    if declared.get("enum"):
        return _choice(declared, [(dump_json(value), _label(value)) for value in declared["enum"]])
    if kind == "boolean":
        return _choice(declared, [("true", "yes"), ("false", "no")])
    if kind == "number":
        limits = {"min": declared.get("minimum"), "max": declared.get("maximum"), "step": "any"}
        shown = {name: value for name, value in limits.items() if value is not None}
        number = _unseen(hint) if declared.get("sensitive") else forms.NumberInput(attrs=hint | shown)
        return WholeNumberOrDecimal(required=False, widget=number)
    if kind == "file":
        return forms.FileField(required=False)
    if kind in _JSON_TYPES:
        area = forms.Textarea(attrs={"rows": 3, "class": "code", "spellcheck": "false"} | hint)
        return JsonText(required=False, lenient=kind == "any", strip=False, widget=area)
    return GivenText(required=False, strip=False, widget=_text_widget(declared, hint))


def _unseen(hint: dict[str, Any]) -> forms.Widget:
    """For what is sensitive: it is not filled in again when the form comes back."""
    return forms.PasswordInput(attrs=hint | {"autocomplete": "off"})


def _text_widget(declared: Mapping[str, Any], hint: dict[str, Any]) -> forms.Widget:
    if declared.get("sensitive"):
        return _unseen(hint)
    if (declared.get("max_length") or 1000) <= 100 or "url" in declared["name"].lower():
        return forms.TextInput(attrs=hint)
    return forms.Textarea(attrs={"rows": 2} | hint)


def _choice(declared: Mapping[str, Any], choices: list[tuple[str, str]]) -> forms.Field:
    nothing = [] if "default" in declared else [("", "choose…" if declared.get("required", True) else "not given")]
    return JsonText(required=False, lenient=True, widget=forms.Select(choices=nothing + choices))


def _reference(declared: Mapping[str, Any], given: Any) -> forms.Field:
    known = given.get("file_id", given.get("url", "")) if isinstance(given, Mapping) else given
    return forms.CharField(
        label=f"{declared['name']}: or a file that is here already, or an address",
        required=False,
        initial=known,
        widget=forms.TextInput(attrs={"placeholder": "fl-… or https://…"}),
    )


def _shown(declared: Mapping[str, Any], value: Any) -> str:
    """A value as its field shows it."""
    choice = declared.get("enum") or declared["type"] == "boolean"
    if declared["type"] == "text" and not choice and isinstance(value, str):
        return value
    return dump_json(value) if choice else json.dumps(value, ensure_ascii=False, indent=2)


def _label(value: Any) -> str:
    return value if isinstance(value, str) else dump_json(value)


def is_upload(value: Any) -> bool:
    """Whether a value of ``RunForm.values`` is a file that was sent with the form."""
    return isinstance(value, UploadedFile)


class DefinitionForm(forms.Form):
    """A definition as JSON text; ``expected_version`` is the one that was edited, so that no update gets lost."""

    document = forms.CharField(
        label="Definition (JSON)",
        strip=False,
        widget=forms.Textarea(attrs={"class": "code document", "spellcheck": "false", "rows": 24}),
    )
    expected_version = forms.IntegerField(required=False, widget=forms.HiddenInput)
