"""System checks of the installation: ``manage.py check`` runs them, and so does every other command."""

from __future__ import annotations

import ipaddress
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004 - Django's name for it

from executions import prices

#: The first SQLite with RETURNING, which the store uses.
_SQLITE_NEEDED = (3, 35, 0)
_SECRET_KEY_LENGTH = 50
_SECRET_KEY_UNIQUE_CHARACTERS = 5


@register(Tags.database)
def check_no_connection_pool(**_: Any) -> list[CheckMessage]:
    """``E001``: workers are forked, and a forked connection pool hangs without a word."""
    return [
        Error(
            f"DATABASES[{alias!r}] uses a psycopg pool. Workers are forked, and a pool that was forked hangs.",
            hint='Remove "pool" from OPTIONS. CONN_MAX_AGE keeps connections open just as well.',
            id="dataflow.E001",
        )
        for alias, database in settings.DATABASES.items()
        if database.get("OPTIONS", {}).get("pool")
    ]


@register(Tags.security)
def check_secret_key(**_: Any) -> Iterator[CheckMessage]:
    """``E002``: who knows the key can sign a session, or a queue message that runs code."""
    key = settings.SECRET_KEY
    weak = len(key) < _SECRET_KEY_LENGTH or len(set(key)) < _SECRET_KEY_UNIQUE_CHARACTERS or "insecure" in key
    if weak and not settings.DEBUG:
        yield Error(
            "SECRET_KEY is short, repeats itself or is an example, and DEBUG is off.",
            hint="Make one with: python -c 'import secrets; print(secrets.token_urlsafe(50))'",
            id="dataflow.E002",
        )


@register(Tags.database)
def check_sqlite_version(**_: Any) -> Iterator[CheckMessage]:
    """``E003``: the SQLite that Python was built with is too old."""
    uses_sqlite = any(database["ENGINE"].endswith("sqlite3") for database in settings.DATABASES.values())
    if uses_sqlite and sqlite3.sqlite_version_info < _SQLITE_NEEDED:
        yield Error(
            f"SQLite {sqlite3.sqlite_version} is too old.",
            hint="Use a Python with SQLite 3.35 or newer, or PostgreSQL by DATABASE_URL.",
            id="dataflow.E003",
        )


@register()
def check_data_dir_writable(**_: Any) -> Iterator[CheckMessage]:
    """``E004``: files could not be stored."""
    location = Path(settings.DATA_DIR)
    if not os.access(location, os.W_OK | os.X_OK):
        yield Error(
            f"{location} cannot be written to.",
            hint="Set DATA_DIR to a folder of this user, or mend its permissions.",
            id="dataflow.E004",
        )


@register()
def check_prices(**_: Any) -> Iterator[CheckMessage]:
    """``E006``: costs could not be counted."""
    try:
        prices.read(str(settings.DATAFLOW_PRICES))
    except ValueError as error:
        yield Error(
            f"The table of prices {settings.DATAFLOW_PRICES} cannot be used: {error}.",
            hint="Mend the file, or unset DATAFLOW_PRICES; dataflow/prices.json shows what it looks like.",
            id="dataflow.E006",
        )


@register(Tags.security)
def check_debug_on_loopback(**_: Any) -> Iterator[CheckMessage]:
    """``W001``: development answers without asking who is there, so it belongs on loopback."""
    if settings.DEBUG and not _is_loopback(settings.HOST):
        yield Warning(
            f"DEBUG is on and the server listens on {settings.HOST}, which others may reach.",
            hint="Set HOST=127.0.0.1, or DEBUG=0 with SECRET_KEY and DATAFLOW_ENCRYPTION_KEYS.",
            id="dataflow.W001",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
