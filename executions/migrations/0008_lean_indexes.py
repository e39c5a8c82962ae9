"""Fewer indexes on executions: every write of a row pays for each index that the row is in."""

from __future__ import annotations

from importlib import import_module

import django.db.models.deletion
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

_engine = import_module("executions.migrations.0003_engine")

_FIND = """
SELECT indexname FROM pg_indexes
WHERE schemaname = current_schema() AND tablename = 'executions_execution' AND indexname LIKE %s
"""


def drop_pattern_index(_apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    """Django's second index on the key, for LIKE: nobody looks for the beginning of an id."""
    if editor.connection.vendor == "postgresql":
        with editor.connection.cursor() as cursor:
            cursor.execute(_FIND, [r"executions\_execution\_id\_%\_like"])
            for (name,) in cursor.fetchall():
                cursor.execute(f"DROP INDEX {editor.quote_name(name)}")


def leave_room(_apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    """Room in each page for the next state of a row: then a step in between writes no index."""
    if editor.connection.vendor == "postgresql":
        editor.execute("ALTER TABLE executions_execution SET (fillfactor = 75)")


class Migration(migrations.Migration):
    """Partial indexes for parents and reruns, no index for patterns, room for changed rows."""

    dependencies = [("executions", "0007_attempt_went_on")]

    operations = [
        migrations.RunPython(_engine.take_guard_away, _engine.put_guard_back),
        migrations.AlterField(
            model_name="execution",
            name="parent",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="children",
                to="executions.execution",
            ),
        ),
        migrations.AlterField(
            model_name="execution",
            name="rerun_of",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="reruns",
                to="executions.execution",
            ),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                condition=models.Q(("parent__isnull", False)), fields=["parent"], name="execution_children"
            ),
        ),
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(
                condition=models.Q(("rerun_of__isnull", False)), fields=["rerun_of"], name="execution_reruns"
            ),
        ),
        migrations.RunPython(drop_pattern_index, migrations.RunPython.noop),
        migrations.RunPython(leave_room, migrations.RunPython.noop),
        migrations.RunPython(_engine.put_guard_back, _engine.take_guard_away),
    ]
