"""Executions that wait for a worker are counted by an index, without those that wait for their time or a slot."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """The same index by time, of those that have one."""

    dependencies = [("executions", "0011_worker_busy")]

    operations = [
        migrations.RemoveIndex("execution", "execution_queued"),
        migrations.AddIndex(
            "execution",
            models.Index(
                fields=["workflow", "wake_at"],
                name="execution_queued",
                condition=models.Q(("status", "PENDING"), ("wake_at__isnull", False)),
            ),
        ),
    ]
