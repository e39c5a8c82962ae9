"""What executions' pages show of the verbs: whom they are for, and the form of an approval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import template

from dataflow.api import permissions
from executions.forms import DecisionForm

register = template.Library()


@register.simple_tag(takes_context=True)
def may_change(context: Mapping[str, Any]) -> bool:
    """Whether the reader may do more than read (``dataflow/api/permissions.py``)."""
    return permissions.may_change(context["request"])


@register.inclusion_tag("executions/parts/decision.html", takes_context=True)
def decision(context: Mapping[str, Any], execution_id: str, name: str, waiting: Mapping[str, Any]) -> dict[str, Any]:
    """The question of an approval with its form, for those who may decide."""
    form = DecisionForm(waiting, prefix=name.replace("[", "-").replace("]", ""))
    return {"execution_id": execution_id, "name": name, "waiting": waiting, "form": form, "may": may_change(context)}
