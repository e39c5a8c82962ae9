"""Django application of executions."""

from django.apps import AppConfig


class ExecutionsConfig(AppConfig):
    """Executions and what runs them."""

    name = "executions"
