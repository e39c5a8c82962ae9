"""The prices of models that this installation counts with: its own table, or the one that comes with the platform."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from django.conf import settings

from dataflow.lib.jsonvalues import JsonError, parse_json
from executions.usage import Prices

#: Bytes of a table.
MAX_TABLE = 1024 * 1024


def current() -> Prices:
    """The table in use, read once a process. With a bad one no cost is known; the check ``dataflow.E006`` says so."""
    try:
        return read(str(settings.DATAFLOW_PRICES))
    except ValueError:
        return Prices()


@cache
def read(path: str) -> Prices:
    """The table in a file. Raises ``ValueError``, whose text says what is wrong with it."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_TABLE + 1)
        if len(content) > MAX_TABLE:
            raise ValueError(f"it has more than {MAX_TABLE:,} bytes")
        return Prices.parse(parse_json(content))
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from error
    except JsonError as error:
        raise ValueError(f"it is not JSON: {error.detail}") from error
