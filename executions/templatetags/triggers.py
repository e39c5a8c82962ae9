"""The sections of a workflow's page that this app has: the page itself does not know it."""

from __future__ import annotations

from typing import Any

from django import template
from django.template import RequestContext

from executions.triggers.pages import hooks_section, schedules_section
from workflows.models import Workflow, WorkflowVersion

register = template.Library()


@register.inclusion_tag("executions/triggers/parts/schedules.html", takes_context=True)
def workflow_schedules(context: RequestContext, workflow: Workflow, version: WorkflowVersion) -> dict[str, Any]:
    """The schedules of a workflow, with the form for another one; ``version`` is the current one."""
    return schedules_section(workflow, version=version) | _of_the_page(context)


@register.inclusion_tag("executions/triggers/parts/hooks.html", takes_context=True)
def workflow_hooks(context: RequestContext, workflow: Workflow) -> dict[str, Any]:
    """The hooks of a workflow, with the form for another one."""
    return hooks_section(workflow) | _of_the_page(context)


def _of_the_page(context: RequestContext) -> dict[str, Any]:
    """What forms need, and what says whom they are for."""
    return {name: context.get(name) for name in ("csrf_token", "request")}
