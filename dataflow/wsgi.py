"""WSGI entry point, as ``dataflow.web`` serves it. Files with hashed names are served by WhiteNoise."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

from django.core.wsgi import get_wsgi_application
from django.db import connections

from dataflow.lib.gate import REQUESTS
from dataflow.request_body import WholeBody, read_ahead

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dataflow.settings")

#: PostgreSQL connections of one web process: as many requests use the database at a time. Those that wait for an
#: execution have none.
_CONNECTIONS = 16
_PATIENCE_SECONDS = 5.0

_django = get_wsgi_application()


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer a request. What is no stream is given whole, with its connection back in the pool before it is sent."""
    environ["wsgi.input"] = WholeBody.of(environ)
    # A large body comes as fast as its sender likes: such a request takes no place.
    with REQUESTS.inside() if read_ahead(environ) else nullcontext():
        response: Any = _django(environ, start_response)
        if response.streaming:
            streamed: Iterable[bytes] = response
            return streamed
        content: bytes = response.content
        response.close()
        return [content]


def _share_connections() -> None:
    """Few connections for many threads. Here, not in the settings: a pool does not survive the fork of a worker."""
    database: dict[str, Any] = connections.settings["default"]
    if database["ENGINE"].endswith("postgresql"):
        pool = {"min_size": 1, "max_size": _CONNECTIONS, "timeout": _PATIENCE_SECONDS}
        database |= {"CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False, "OPTIONS": database["OPTIONS"] | {"pool": pool}}


_share_connections()
