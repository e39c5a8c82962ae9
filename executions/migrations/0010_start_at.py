"""When an execution was asked to begin is kept: until then it takes no part in what its workflow allows at a time."""

from __future__ import annotations

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps
from django.db.models import F


def note_delayed(apps: StateApps, _editor: BaseDatabaseSchemaEditor) -> None:
    """What waits for its time already: nobody took it, and it is to be looked at later than it came."""
    waiting = apps.get_model("executions", "Execution").objects.filter(status="PENDING", takes=0)
    waiting.filter(wake_at=F("pick_at"), wake_at__gt=F("created_at")).update(start_at=F("wake_at"))


class Migration(migrations.Migration):
    """A column that is empty for most."""

    dependencies = [("executions", "0009_labels_index")]

    operations = [
        migrations.AddField("execution", "start_at", models.DateTimeField(blank=True, null=True)),
        migrations.RunPython(note_delayed, migrations.RunPython.noop),
    ]
