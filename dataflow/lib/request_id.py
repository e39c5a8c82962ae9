"""The id of the request that is being answered, for log lines and error answers."""

from __future__ import annotations

from contextvars import ContextVar

#: ``rq-…`` while a request is answered, empty outside of one.
request_id: ContextVar[str] = ContextVar("request_id", default="")
