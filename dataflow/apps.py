"""The project as a Django app, for its commands and system checks."""

from __future__ import annotations

from django.apps import AppConfig


class DataflowConfig(AppConfig):
    """Registers the system checks ``dataflow.E001`` and on."""

    name = "dataflow"
    verbose_name = "Data Flow Platform"

    def ready(self) -> None:
        """Load the checks. Not before: registering them needs the settings."""
        from dataflow import checks  # noqa: F401, PLC0415 - importing registers them; apps must be loaded first
