"""One SQL statement with ``:name`` parameters, its values beside it and never in it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataflow.lib.errors import TaskError
from tasks_lib.base import JsonValue

if TYPE_CHECKING:  # slow
    from sqlalchemy import TextClause

#: Characters of a statement, and parameters of one.
MAX_STATEMENT, MAX_PARAMETERS = 100_000, 1_000
#: A parameter in a statement; ``::`` may follow, PostgreSQL's cast, which SQLAlchemy wants apart.
PARAMETER = re.compile(r"(?<![:\w\\]):\w+(?:(?=(?P<cast>:):\w)|(?![:\w]))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement as it was written, and with its values bound."""

    written: str
    clause: TextClause


def bound(written: str, values: Mapping[str, JsonValue], *, lists: bool) -> Statement:
    """The statement with its parameters, each of which must be both used and given.

    ``lists``: whether lists are values as they are; else they are sent as JSON, as objects are. Raises ``TaskError``.
    """
    from sqlalchemy import bindparam, text  # only databases need it
    from sqlalchemy.types import NullType  # the same

    if len(written) > MAX_STATEMENT or len(values) > MAX_PARAMETERS:
        message = f"A statement has at most {MAX_STATEMENT:,} characters and {MAX_PARAMETERS:,} parameters."
        raise TaskError("too_large", message)
    if not written.strip() or "\0" in written:
        raise TaskError("validation", "`query` must be an SQL statement, without NUL characters.")
    clause = text(PARAMETER.sub(lambda found: f"{found[0]} " if found["cast"] else found[0], written))
    used = set(clause.compile().params)
    if missing := sorted(used - set(values)):
        message = f"`parameters` lacks {', '.join(missing)[:300]}. A colon that begins none is written `\\:`."
        raise TaskError("validation", message)
    if unused := sorted(set(values) - used):
        raise TaskError("validation", f"`parameters` has {', '.join(unused)[:300]}, which the statement does not use.")
    # Without a type of SQLAlchemy: it would write a cast behind each, and the database knows better.
    taken = [bindparam(name, _value(name, values[name], lists=lists), type_=NullType()) for name in used]
    return Statement(written=written, clause=clause.bindparams(*taken))


def place(statement: Statement, sent: str, position: int) -> tuple[int, int]:
    """Line and column in the statement as it was written, of a position (from 1) in what was ``sent``.

    What was sent has ``$1`` where a parameter's name stands in the other.
    """
    shift = 0
    placeholders = re.finditer(r"\$\d+", sent)
    for placeholder, name in zip(placeholders, PARAMETER.finditer(statement.written), strict=False):
        if placeholder.start() >= position - 1:
            break
        shift += len(name[0]) - len(placeholder[0]) - len(name["cast"] or "")
    before = statement.written[: max(0, position - 1 + shift)]
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _value(name: str, value: JsonValue, *, lists: bool) -> Any:
    if isinstance(value, str) and "\0" in value:
        raise TaskError("validation", f"`parameters.{name}` contains a NUL character.")
    if isinstance(value, dict) or (isinstance(value, list) and not lists):
        return json.dumps(value, ensure_ascii=False)
    return value
