"""On PostgreSQL executions are found by their labels. Those without any, the most, cost nothing by it."""

from __future__ import annotations

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

#: What ``executions.filters.HasLabel`` asks. Not among the model's indexes: SQLite has none of that kind. A label is
#: written to it at once: a search would have to read all that was put off.
_INDEX = """
CREATE INDEX execution_labels ON executions_execution
USING gin ((labels::jsonb) jsonb_path_ops) WITH (fastupdate = off) WHERE labels <> '{}'
"""
#: How many have a label: else one in a hundred is assumed, and the newest are read until 50 of them are found.
_STATISTICS = "CREATE STATISTICS execution_label_values ON (labels::jsonb) FROM executions_execution"


def index_labels(_apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    """Make the index."""
    if editor.connection.vendor == "postgresql":
        editor.execute(_INDEX)
        editor.execute(_STATISTICS)


def forget_labels(_apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    """Drop the index."""
    if editor.connection.vendor == "postgresql":
        editor.execute("DROP STATISTICS execution_label_values")
        editor.execute("DROP INDEX execution_labels")


class Migration(migrations.Migration):
    """An index on labels, where there are any."""

    dependencies = [("executions", "0008_lean_indexes")]

    operations = [migrations.RunPython(index_labels, forget_labels)]
