"""Secrets and connections: set, read, removed. Their values are encrypted, and leave this module only to be used.

Who may is decided by the API and the pages: administrators.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Mapping
from typing import Any

from dataflow.lib.errors import Problem, TaskError, invalid, not_found
from dataflow.lib.mask import MASK
from executions import vault
from executions.database import database_now, writing
from executions.redaction import SHORTEST, remember
from executions.secret_models import Connection, Secret
from tasks_lib import connections
from workflows.definition.problems import at, kind, nearest, shown
from workflows.services import Actor, stored_user

SECRET_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,99}")
CONNECTION_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]{0,98}[a-z0-9])?")
_CONNECTION_RULE = "small letters, digits, - and _; it begins and ends with one of the first two"
#: Characters of a secret.
MAX_SECRET = 16 * 1024
#: Rows of one kind.
MAX_ROWS = 1000
#: Seconds for which a process uses what it read.
_FRESH_SECONDS = 5.0
_read: dict[str, tuple[float, str | None]] = {}


def set_secret(*, name: str, value: Any, user: Actor = None) -> tuple[Secret, bool]:
    """Store a secret, and whether it is a new one. Raises ``ApiProblem`` 400."""
    if problems := problems_of(name, value):
        raise invalid("The secret was not stored.", problems)
    with writing():
        _refuse_more(Secret, name)
        told = {"value": vault.encrypt(value, _owner_of(name)), "updated_at": database_now()}
        row, made = Secret.objects.update_or_create(name=name, defaults=told | {"updated_by": stored_user(user)})
    _read.pop(name, None)
    remember([value])
    return row, made


def problems_of(name: str, value: Any) -> list[Problem]:
    """What is wrong with a secret of this name and value; no message shows the value."""
    named = _wrong_name(name, SECRET_NAME, "capital letters, digits and _; it does not begin with a digit")
    return [*named, *_wrong_value(value)]


def delete_secret(*, name: str) -> None:
    """Remove a secret. Raises ``ApiProblem`` 404."""
    if not Secret.objects.filter(pk=name).delete()[0]:
        raise not_found("secret", name)
    _read.pop(name, None)


def values_of(names: Collection[str]) -> dict[str, str]:
    """The secrets of these names, as far as there are such, in one query.

    Raises ``TaskError('authentication')`` for one that no key opens.
    """
    if not names:
        return {}
    found = {row.name: _opened(row.value, _owner_of(row.name), row.name) for row in Secret.objects.filter(pk__in=names)}
    remember(found.values())
    return found


def fresh_value_of(name: str) -> str | None:
    """One secret, asked for every few seconds at most: for what every task of some types wants to know."""
    at_, value = _read.get(name, (0.0, None))
    now = time.monotonic()
    if now - at_ > _FRESH_SECONDS or not at_:
        value = values_of([name]).get(name)
        _read[name] = (now, value)
    return value


def forget_read() -> None:
    """Read every secret anew from now on."""
    _read.clear()


def existing_secrets(names: Collection[str]) -> set[str]:
    """Those of ``names`` that there are."""
    return set(Secret.objects.filter(pk__in=names).values_list("pk", flat=True)) if names else set()


def put_connection(*, name: str, document: Any, user: Actor = None) -> tuple[Connection, bool]:
    """Store a connection, ``{"kind", "settings"}``, and whether it is a new one. Raises ``ApiProblem`` 400.

    A secret setting that comes as the mask keeps its value, where the kind stays what it was.
    """
    named = _wrong_name(name, CONNECTION_NAME, _CONNECTION_RULE)
    kind_name, given = _parts_of(document, named)
    with writing():
        _refuse_more(Connection, name)
        before = Connection.objects.select_for_update().filter(pk=name).first()
        given, problems = _unmasked(kind_name, given, before)
        if problems := problems or _wrong_settings(kind_name, given):
            raise invalid("The connection was not stored.", problems)
        text = json.dumps({key: value for key, value in given.items() if value not in (None, "")})
        told: dict[str, Any] = {"kind": kind_name, "sealed": vault.encrypt(text, _owner_of_connection(kind_name, name))}
        told |= {"updated_at": database_now(), "updated_by": stored_user(user)}
        row, made = Connection.objects.update_or_create(name=name, defaults=told)
    remember(connections.secret_values(kind_name, given))
    return row, made


def delete_connection(*, name: str) -> None:
    """Remove a connection. Raises ``ApiProblem`` 404."""
    if not Connection.objects.filter(pk=name).delete()[0]:
        raise not_found("connection", name)


def settings_of(row: Connection) -> dict[str, Any]:
    """The settings of a connection as they were given. Raises ``TaskError('authentication')``: no key opens them."""
    settings: dict[str, Any] = json.loads(_opened(row.sealed, _owner_of_connection(row.kind, row.name), row.name))
    remember(connections.secret_values(row.kind, settings))
    return settings


def connection_of(name: str, wanted: str) -> dict[str, Any]:
    """The settings of the connection ``name`` of the kind ``wanted``, as they were given. Raises ``TaskError``."""
    row = Connection.objects.filter(pk=name).first()
    if row is None:
        raise TaskError("validation", f"There is no connection {shown(name)}. An administrator can make it.")
    if row.kind != wanted:
        text = f"The connection {shown(name)} is of the kind {row.kind}; one of the kind {wanted} is needed here."
        raise TaskError("validation", text)
    return settings_of(row)


def kinds_of(names: Collection[str]) -> dict[str, str]:
    """The kinds of those connections of ``names`` that there are."""
    return dict(Connection.objects.filter(pk__in=names).values_list("pk", "kind")) if names else {}


def describe_secret(row: Secret) -> dict[str, Any]:
    """A secret as it may be shown."""
    return {"name": row.name, "updated_at": row.updated_at, "updated_by": _name_of(row)}


def describe_connection(row: Connection) -> dict[str, Any]:
    """A connection as it may be shown: secret settings masked. ``readable`` says whether its settings can be opened."""
    try:
        settings, readable = _masked(row.kind, settings_of(row)), True
    except TaskError:
        settings, readable = {}, False
    shown_row = {"name": row.name, "kind": row.kind, "settings": settings, "readable": readable}
    return shown_row | {"updated_at": row.updated_at, "updated_by": _name_of(row)}


def _masked(kind_name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    secret = _secret_fields(kind_name)
    return {name: MASK if name in secret else value for name, value in settings.items()}


def _owner_of(name: str) -> str:
    return f"secret:{name}"


def _owner_of_connection(kind_name: str, name: str) -> str:
    return f"connection:{kind_name}:{name}"


def _opened(token: str, owner: str, name: str) -> str:
    try:
        return vault.decrypt(token, owner)
    except ValueError as error:
        raise TaskError("authentication", f"{name} cannot be read: {error} Set it again.") from error


def _name_of(row: Secret | Connection) -> str | None:
    return None if row.updated_by is None else row.updated_by.get_username()


def _wrong_name(name: str, pattern: re.Pattern[str], what: str) -> list[Problem]:
    if pattern.fullmatch(name):
        return []
    return [Problem(pointer="/name", code="invalid_name", detail=f"The name has 1 to 100 characters: {what}.")]


def _wrong_value(value: Any) -> list[Problem]:
    """What is wrong with a secret; no message shows it."""
    if not isinstance(value, str):
        wrong = f"`value` must be text, not {kind(value)}."
    elif value == MASK:
        wrong = "This is the mask that stands for a value, not a value."
    elif len(value.strip()) < SHORTEST:
        wrong = f"A secret has at least {SHORTEST} characters: a shorter one cannot be kept out of logs and outputs."
    elif len(value) > MAX_SECRET:
        wrong = f"A secret has at most {MAX_SECRET:,} characters."
    elif "\0" in value or any("\ud800" <= one <= "\udfff" for one in value):
        wrong = "A secret has no NUL characters and no lone surrogates."
    else:
        return []
    return [Problem(pointer="/value", code="invalid_value", detail=wrong)]


def _refuse_more(model: type[Secret | Connection], name: str) -> None:
    if model._default_manager.count() >= MAX_ROWS and not model._default_manager.filter(pk=name).exists():  # noqa: SLF001 - Django's documented name
        detail = f"There are {MAX_ROWS} already. Delete one first."
        raise invalid(detail, [Problem(pointer="", code="too_many", detail=detail)])


def _parts_of(document: Any, problems: list[Problem]) -> tuple[str, dict[str, Any]]:
    """Kind and settings of a document. Raises ``ApiProblem`` 400 with all that is wrong with its shape."""
    given = document if isinstance(document, dict) else {}
    if not isinstance(document, dict):
        problems.append(Problem(pointer="", code="wrong_type", detail='The body is `{"kind", "settings"}`.'))
    known = ("kind", "settings")
    problems += [
        Problem(pointer=at("", name), code="unknown_field", detail=f"There is no field {shown(name)} here.")
        for name in list(given)[:20]
        if name not in known
    ]
    kind_name, settings = given.get("kind"), given.get("settings", {})
    if not isinstance(kind_name, str) or kind_name not in connections.KINDS:
        detail = f"`kind` is one of {', '.join(connections.KINDS)}."
        hint = nearest(kind_name, connections.KINDS)
        problems.append(Problem(pointer="/kind", code="unknown_kind", detail=detail, hint=hint))
    if not isinstance(settings, dict):
        detail = f"`settings` must be an object, not {kind(settings)}."
        problems.append(Problem(pointer="/settings", code="wrong_type", detail=detail))
    if problems:
        raise invalid("The connection was not stored.", problems)
    return str(kind_name), dict(settings)


def _unmasked(kind_name: str, given: dict[str, Any], before: Connection | None) -> tuple[dict[str, Any], list[Problem]]:
    """The settings with the old value for each mask, and the masks that stand for nothing."""
    masks = [name for name in _secret_fields(kind_name) if given.get(name) == MASK]
    if not masks:
        return given, []
    try:
        old = settings_of(before) if before is not None and before.kind == kind_name else {}
    except TaskError:
        old = {}
    problems = [
        Problem(
            pointer=at("/settings", name),
            code="masked_value",
            detail="This is the mask of a value that is not there. Give the value.",
        )
        for name in masks
        if name not in old
    ]
    return given | {name: old[name] for name in masks if name in old}, problems


def _wrong_settings(kind_name: str, given: Mapping[str, Any]) -> list[Problem]:
    """What the kind says is wrong, and secret settings that are too short to be kept out of logs."""
    found = [
        Problem(pointer=at("/settings", name) if name else "/settings", code="invalid_setting", detail=message)
        for name, message in connections.check(kind_name, given)
    ]
    return found or [
        Problem(
            pointer=at("/settings", name),
            code="invalid_setting",
            detail=f"It has at least {SHORTEST} characters: a shorter one cannot be kept out of logs and outputs.",
        )
        for name in _secret_fields(kind_name)
        if isinstance(given.get(name), str) and 0 < len(given[name]) < SHORTEST
    ]


def _secret_fields(kind_name: str) -> list[str]:
    return [field.name for field in connections.KINDS[kind_name].fields if field.secret]
