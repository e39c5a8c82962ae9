"""What an installation keeps for its executions and shows nobody. Only ``executions/secret_store.py`` changes it."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from dataflow.lib.fields import DatabaseNow


class Secret(models.Model):
    """A text that tasks use by its name, ``{{secrets.NAME}}``."""

    name = models.CharField(primary_key=True, max_length=100)
    #: Encrypted, bound to the name.
    value = models.TextField()
    updated_at = models.DateTimeField(db_default=DatabaseNow())
    updated_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        """By name."""

        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Connection(models.Model):
    """A service outside that tasks use by its name. ``tasks_lib/connections.py`` says which kinds there are."""

    name = models.CharField(primary_key=True, max_length=100)
    kind = models.CharField(max_length=20)
    #: All settings as JSON, encrypted, bound to kind and name: an address cannot be changed under a key either.
    sealed = models.TextField()
    updated_at = models.DateTimeField(db_default=DatabaseNow())
    updated_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        """By name."""

        ordering = ["name"]

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})"
