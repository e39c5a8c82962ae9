"""Which execution needs which file: what may not be deleted yet.

An execution needs the files it made (``StoredFile.execution``), and those that ``FileUse`` says: whatever its inputs or
the values of an approval name, and for a rerun that takes over results everything that their execution needed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from django.db import connection

from dataflow.lib.fields import dump_json

_FILE = re.compile(r"fl-[a-z0-9]{4,37}")
_NOTE = """
INSERT INTO executions_fileuse (file_id, execution_id)
SELECT id, %s FROM executions_storedfile WHERE id IN ({places}) AND (execution_id IS NULL OR execution_id <> %s){lock}
ON CONFLICT DO NOTHING
"""
_TAKE_OVER = """
WITH RECURSIVE family(id) AS (
  SELECT CAST(%s AS varchar(40))
  UNION ALL SELECT child.id FROM executions_execution child JOIN family ON child.parent_id = family.id
)
INSERT INTO executions_fileuse (file_id, execution_id)
SELECT id, %s FROM executions_storedfile WHERE execution_id IN (SELECT id FROM family)
UNION SELECT file_id, %s FROM executions_fileuse WHERE execution_id IN (SELECT id FROM family)
ON CONFLICT DO NOTHING
"""
_BATCH = 500


def named_in(value: Any) -> set[str]:
    """The ids of files anywhere in a JSON value, or what looks like one."""
    return set(_FILE.findall(dump_json(value))) if value else set()


def note(execution_id: str, file_ids: Collection[str]) -> None:
    """Note that an execution needs these files, as far as they are there and not its own. Within its transaction."""
    ids = sorted(file_ids)
    # A file that is being forgotten at this moment is waited for, and is not there then.
    lock = " FOR KEY SHARE" if connection.vendor == "postgresql" else ""
    for start in range(0, len(ids), _BATCH):
        batch = ids[start : start + _BATCH]
        statement = _NOTE.format(places=", ".join(["%s"] * len(batch)), lock=lock)
        with connection.cursor() as cursor:
            cursor.execute(statement, [execution_id, *batch, execution_id])


def take_over(execution_id: str, source_id: str) -> None:
    """Note that an execution needs whatever another one needed or made, and what that one's children made."""
    with connection.cursor() as cursor:
        cursor.execute(_TAKE_OVER, [source_id, execution_id, execution_id])


def named_among(documents: Iterable[str]) -> set[str]:
    """The ids of files that JSON texts name."""
    return {file_id for text in documents for file_id in _FILE.findall(text)}
