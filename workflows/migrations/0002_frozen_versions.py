"""The database itself refuses to change a version."""

from __future__ import annotations

from typing import Any

from django.db import migrations

_SQLITE = """
CREATE TRIGGER workflow_version_is_frozen BEFORE UPDATE OF workflow_id, number, definition, hash
ON workflows_workflowversion
BEGIN SELECT RAISE(ABORT, 'a workflow version never changes'); END
"""
_POSTGRESQL = """
CREATE FUNCTION workflow_version_is_frozen() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'a workflow version never changes'; END $$;
CREATE TRIGGER workflow_version_is_frozen BEFORE UPDATE OF workflow_id, number, definition, hash
ON workflows_workflowversion FOR EACH ROW EXECUTE FUNCTION workflow_version_is_frozen()
"""


def create(_apps: Any, schema_editor: Any) -> None:
    """Add the guard."""
    schema_editor.execute(_SQLITE if schema_editor.connection.vendor == "sqlite" else _POSTGRESQL)


def drop(_apps: Any, schema_editor: Any) -> None:
    """Take it away."""
    if schema_editor.connection.vendor == "sqlite":
        schema_editor.execute("DROP TRIGGER workflow_version_is_frozen")
    else:
        schema_editor.execute("DROP FUNCTION workflow_version_is_frozen CASCADE")


class Migration(migrations.Migration):
    """See ``WorkflowVersion``."""

    dependencies = [("workflows", "0001_initial")]
    operations = [migrations.RunPython(create, drop)]
