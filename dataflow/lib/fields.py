"""What models of all apps share: a field for JSON documents kept exactly as written, and the database's clock.

``jsonb`` sorts keys and ``JSONField`` differs between databases. We never look inside by SQL, so a document is text:
the same bytes on SQLite and PostgreSQL, keys in the order they came.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Now
from django.db.models.sql.compiler import SQLCompiler

if TYPE_CHECKING:
    _Text = models.TextField[Any, Any]
else:
    _Text = models.TextField


#: Made once: ``json.dumps`` makes one for each call, and a step calls it for a dozen small values.
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def dump_json(value: Any) -> str:
    """Compact JSON text; refuses NaN and infinities (``ValueError``) and what is not JSON (``TypeError``)."""
    return "{}" if value == {} else _encode(value)


class JsonField(_Text):
    """A JSON value stored as text; ``None`` is SQL NULL."""

    # What django-stubs reads the types of assigned and read values from.
    _pyi_private_set_type: Any
    _pyi_private_get_type: Any

    def from_db_value(self, value: str | None, *_: object) -> Any:
        """Parse what the database holds."""
        return None if value is None else json.loads(value)

    def to_python(self, value: Any) -> Any:
        """Values are plain JSON already; text from a form or a fixture is left as it is."""
        return value

    def get_prep_value(self, value: Any) -> str | None:
        """The text to store."""
        return None if value is None else dump_json(value)

    def value_to_string(self, obj: models.Model) -> str:
        """For ``dumpdata``."""
        return dump_json(self.value_from_object(obj))


class DatabaseNow(Now):
    """The database's clock at the moment it is read.

    PostgreSQL's statement time is from before the statement waited for a lock: two steps of one execution could seem to
    overlap. SQLite keeps times as text. Django's ``Now`` writes three digits after the point and its parameters six,
    or none for a whole second: the same moment would not be equal to itself.
    """

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> tuple[str, Any]:
        """As a parameter of the same moment is written."""
        template = "REPLACE(STRFTIME('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f000', 'NOW'), '.000000', '')"
        return self.as_sql(compiler, connection, template=template, **context)

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> tuple[str, Any]:
        """Read when the row is, again where it was waited for."""
        return self.as_sql(compiler, connection, template="CLOCK_TIMESTAMP()", **context)


class StatementNow(DatabaseNow):
    """The database's clock when the statement began: stable within it, so that an index on times can be used."""

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> tuple[str, Any]:
        """Read once."""
        return self.as_sql(compiler, connection, template="STATEMENT_TIMESTAMP()", **context)
