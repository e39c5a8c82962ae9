"""What control flow, verbs and limits need; the execution's row itself is the message to the workers."""

from importlib import import_module
from typing import Any

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import dataflow.lib.fields
import executions.engine.state

_guard = import_module("executions.migrations.0002_final_states")


def take_guard_away(apps: Any, schema_editor: Any) -> None:
    """SQLite makes changed tables anew, which takes their triggers with it."""
    if schema_editor.connection.vendor == "sqlite":
        _guard.drop(apps, schema_editor)


def put_guard_back(apps: Any, schema_editor: Any) -> None:
    """On the new table."""
    if schema_editor.connection.vendor == "sqlite":
        _guard.create(apps, schema_editor)


def order_what_waits(_apps: Any, schema_editor: Any) -> None:
    """What was accepted before is picked in the order it came; what is alive is looked at at once."""
    schema_editor.execute("UPDATE executions_execution SET pick_at = created_at WHERE status = 'PENDING'")
    schema_editor.execute("UPDATE executions_execution SET wake_at = created_at WHERE status IN ('PENDING', 'RUNNING')")


class Migration(migrations.Migration):
    """See ``executions/models.py``."""

    dependencies = [
        ("executions", "0002_final_states"),
        ("workflows", "0002_frozen_versions"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RunPython(take_guard_away, put_guard_back),
        migrations.RemoveIndex(
            model_name="execution",
            name="execution_due",
        ),
        migrations.AddField(
            model_name="execution",
            name="concurrency_key",
            field=models.CharField(blank=True, default="", max_length=300),
        ),
        migrations.AddField(
            model_name="execution",
            name="concurrency_limit",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="execution",
            name="depth",
            field=models.PositiveSmallIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="execution",
            name="parent",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="children",
                to="executions.execution",
            ),
        ),
        migrations.AddField(
            model_name="execution",
            name="parent_task",
            field=models.CharField(blank=True, default="", max_length=80),
        ),
        migrations.AddField(
            model_name="execution",
            name="pick_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="execution",
            name="priority",
            field=models.SmallIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="execution",
            name="rerun_of",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="reruns",
                to="executions.execution",
            ),
        ),
        migrations.AddField(
            model_name="execution",
            name="resumed_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="execution",
            name="takes",
            field=models.PositiveSmallIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="execution",
            name="revision",
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="execution",
            name="trigger_ref",
            field=models.CharField(blank=True, default="", max_length=64),
        ),
        migrations.AddField(
            model_name="taskrun",
            name="child",
            field=models.CharField(blank=True, default="", max_length=40),
        ),
        migrations.AddField(
            model_name="taskrun",
            name="item",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="taskrun",
            name="items",
            field=dataflow.lib.fields.JsonField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="taskrun",
            name="waiting",
            field=dataflow.lib.fields.JsonField(blank=True, null=True),
        ),
        migrations.AlterField(
            model_name="attempt",
            name="task_run",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="attempts",
                to="executions.taskrun",
            ),
        ),
        migrations.AlterField(
            model_name="delivery",
            name="execution",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="deliveries",
                to="executions.execution",
            ),
        ),
        migrations.AlterField(
            model_name="event",
            name="execution",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="events",
                to="executions.execution",
            ),
        ),
        migrations.AlterField(
            model_name="event",
            name="task",
            field=models.CharField(blank=True, max_length=80),
        ),
        migrations.AlterField(
            model_name="execution",
            name="created_by",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AlterField(
            model_name="execution",
            name="version",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="executions",
                to="workflows.workflowversion",
            ),
        ),
        migrations.AlterField(
            model_name="execution",
            name="workflow",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="executions",
                to="workflows.workflow",
            ),
        ),
        migrations.AlterField(
            model_name="taskrun",
            name="execution",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="task_runs",
                to="executions.execution",
            ),
        ),
        migrations.AlterField(
            model_name="taskrun",
            name="name",
            field=models.CharField(max_length=80),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                condition=models.Q(("status", executions.engine.state.ExecutionStatus["RUNNING"])),
                fields=["wake_at"],
                name="execution_due",
            ),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                condition=models.Q(
                    ("status", executions.engine.state.ExecutionStatus["PENDING"]), ("wake_at__isnull", False)
                ),
                fields=["-priority", "pick_at"],
                name="execution_pick",
            ),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                condition=models.Q(("status", executions.engine.state.ExecutionStatus["PENDING"])),
                fields=["workflow"],
                name="execution_queued",
            ),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                condition=models.Q(
                    (
                        "status__in",
                        (
                            executions.engine.state.ExecutionStatus["PENDING"],
                            executions.engine.state.ExecutionStatus["RUNNING"],
                        ),
                    ),
                    models.Q(("concurrency_key", ""), _negated=True),
                ),
                fields=["concurrency_key", "status"],
                name="execution_slots",
            ),
        ),
        migrations.AlterField(
            model_name="storedfile",
            name="task",
            field=models.CharField(blank=True, max_length=80),
        ),
        migrations.AddIndex(
            model_name="taskrun",
            index=models.Index(
                condition=models.Q(item__isnull=True) | models.Q(status__in=("PENDING", "RUNNING", "WAITING")),
                fields=["execution"],
                name="task_run_current",
            ),
        ),
        migrations.RunPython(order_what_waits, migrations.RunPython.noop),
        migrations.RunPython(put_guard_back, take_guard_away),
    ]
