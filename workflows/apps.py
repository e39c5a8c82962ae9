"""Django application of workflows."""

from django.apps import AppConfig


class WorkflowsConfig(AppConfig):
    """Workflows and versions."""

    name = "workflows"
