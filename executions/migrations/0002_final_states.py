"""The database itself refuses to take an execution out of an ended state (but for ``resume``)."""

from __future__ import annotations

from typing import Any

from django.db import migrations

_LEFT_AN_END = """
OLD.status <> NEW.status AND (
  OLD.status = 'COMPLETED' OR (OLD.status IN ('FAILED', 'CANCELLED') AND NEW.status <> 'PENDING'))
"""
_SQLITE = f"""
CREATE TRIGGER execution_end_is_final BEFORE UPDATE OF status ON executions_execution WHEN {_LEFT_AN_END}
BEGIN SELECT RAISE(ABORT, 'an ended execution keeps its status'); END
"""
_POSTGRESQL = f"""
CREATE FUNCTION execution_end_is_final() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'an ended execution keeps its status'; END $$;
CREATE TRIGGER execution_end_is_final BEFORE UPDATE OF status ON executions_execution
FOR EACH ROW WHEN ({_LEFT_AN_END}) EXECUTE FUNCTION execution_end_is_final()
"""


def create(_apps: Any, schema_editor: Any) -> None:
    """Add the guard."""
    schema_editor.execute(_SQLITE if schema_editor.connection.vendor == "sqlite" else _POSTGRESQL)


def drop(_apps: Any, schema_editor: Any) -> None:
    """Take it away."""
    if schema_editor.connection.vendor == "sqlite":
        schema_editor.execute("DROP TRIGGER execution_end_is_final")
    else:
        schema_editor.execute("DROP FUNCTION execution_end_is_final CASCADE")


class Migration(migrations.Migration):
    """See ``executions/engine/state.py``."""

    dependencies = [("executions", "0001_initial")]
    operations = [migrations.RunPython(create, drop)]
