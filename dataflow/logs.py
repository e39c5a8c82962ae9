"""Log lines for people: time, level, logger, request, message, on one line."""

from __future__ import annotations

import logging
import re
import time
from http import HTTPStatus

from dataflow.lib.request_id import request_id
from executions.redaction import hide_known

#: The address of a hook, and that of a workflow's list of hooks, which holds no token.
_HOOK = re.compile(r"(workflows/[\w-]+)?/hooks/[\w%-]+")


class RequestIdFilter(logging.Filter):
    """Puts the id of the current request on each record, ``-`` outside of one."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through."""
        record.request_id = request_id.get() or "-"
        return True


def hide_tokens(text: str) -> str:
    """Text without the tokens in addresses of hooks: who reads a log could call them."""
    return _HOOK.sub(lambda match: match[0] if match[1] else "/hooks/…", text)


class NotUnavailable(logging.Filter):
    """Drops the line that Django writes for each answer 503: ``/readyz`` gives it on purpose while things start."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is about anything else."""
        return getattr(record, "status_code", None) != HTTPStatus.SERVICE_UNAVAILABLE


class LineFormatter(logging.Formatter):
    """One line a record, in UTC; only a traceback adds lines."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s [%(request_id)s] %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        """The record, without the secrets that this process came to know: a traceback may quote one."""
        return hide_known(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        """The line itself. Control characters are escaped: what a client sent must not forge a line."""
        line = hide_known(hide_tokens(super().formatMessage(record)))
        return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)
