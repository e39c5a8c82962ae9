"""What an HTTP status means for a task."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from dataflow.lib.errors import TaskError

if TYPE_CHECKING:  # imports `requests`
    from dataflow.lib.egress import Response

_CODES: dict[int, tuple[str, bool]] = {
    401: ("authentication", False),
    403: ("authorization", False),
    407: ("authorization", False),
    408: ("timeout", True),
    425: ("communication", True),
    429: ("rate_limited", True),
}
#: Characters of the answer's body that an error shows.
_SHOWN = 300
#: Methods whose second sending does no harm (RFC 9110).
REPEATABLE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


def status_error(response: Response, beginning: str = "") -> TaskError:
    """The error of a task whose server answered with an unwanted status; ``beginning`` of the body is shown."""
    status = response.status
    code, retryable = _CODES.get(status, ("communication", status >= HTTPStatus.INTERNAL_SERVER_ERROR))
    details: dict[str, Any] = {"status": status, "url": response.final_url.split("?")[0]}
    if excerpt := " ".join(beginning[:_SHOWN].split()):
        details["answer"] = excerpt
    message = f"The server answered {status} {_phrase(status)}".rstrip() + "."
    return TaskError(code, message, retryable, response.retry_after if retryable else None, details)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
