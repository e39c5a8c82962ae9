"""On PostgreSQL executions are found by their labels. Those without any, the most, cost nothing by it."""

from __future__ import annotations

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

#: What `executions.filters.HasLabel` asks. Not among the model's indexes: SQLite has none of that kind.
_CREATE = """
CREATE INDEX execution_labels ON executions_execution USING gin ((labels::jsonb) jsonb_path_ops) WITH (fastupdate = off) WHERE labels <> '{}'
"""


def index_labels(_apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    """Make the index."""
    if editor.connection.vendor == "postgresql":
        editor.execute(_CREATE)


def forget_labels(_apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    """Drop the index."""
    if editor.connection.vendor == "postgresql":
        editor.execute("DROP INDEX execution_labels")


class Migration(migrations.Migration):
    """An index on labels, where there are any."""

    dependencies = [("executions", "0008_lean_indexes")]

    operations = [migrations.RunPython(index_labels, forget_labels)]
