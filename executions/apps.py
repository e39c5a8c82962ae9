"""Django application of executions."""

from django.apps import AppConfig


class ExecutionsConfig(AppConfig):
    """Executions and what runs them."""

    name = "executions"

    def ready(self) -> None:
        """Have definitions looked at for secrets and connections that are not there."""
        # Only now: they import models.
        from executions.needs import missing  # noqa: PLC0415 - as said
        from workflows.advice import register  # noqa: PLC0415 - as said

        register(missing)
