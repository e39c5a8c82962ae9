"""Errors with stable codes, shared by every layer.

``Problem`` is one thing wrong with an input, at a JSON pointer. ``ApiProblem`` is what a service raises when a
request cannot be done; the API turns it into an RFC 9457 answer. ``TaskError`` is how a task fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with an input.

    ``pointer`` is an RFC 6901 JSON pointer to the place (``""`` is the whole document), ``code`` is stable,
    ``detail`` says what is wrong, ``hint`` (may be empty) what would be right.
    """

    pointer: str
    code: str
    detail: str
    hint: str = ""

    def as_json(self) -> dict[str, str]:
        """The shape of one entry of ``errors`` in an API answer."""
        shown = {"pointer": self.pointer, "detail": self.detail, "code": self.code}
        return shown | {"hint": self.hint} if self.hint else shown


class ApiProblem(Exception):
    """A request that cannot be done; becomes ``application/problem+json`` (RFC 9457)."""

    def __init__(
        self,
        *,
        status: int,
        code: str,
        title: str,
        detail: str,
        errors: Sequence[Problem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})


def invalid(detail: str, errors: Sequence[Problem] = (), *, code: str = "validation") -> ApiProblem:
    """A 400: the input is wrong, ``errors`` say where."""
    return ApiProblem(status=400, code=code, title="Invalid request", detail=detail, errors=errors)


def not_found(what: str, identifier: object) -> ApiProblem:
    """A 404 that names what was looked for."""
    detail = f"There is no {what} {identifier!s}."
    return ApiProblem(status=404, code="not_found", title="Not found", detail=detail)


def conflict(detail: str, *, code: str = "conflict") -> ApiProblem:
    """A 409: the thing is in a state in which this cannot be done."""
    return ApiProblem(status=409, code=code, title="Conflict", detail=detail)


def unavailable(detail: str, *, retry_after: int) -> ApiProblem:
    """A 503: it can be done again in ``retry_after`` seconds."""
    headers = {"Retry-After": str(retry_after)}
    return ApiProblem(status=503, code="unavailable", title="Service unavailable", detail=detail, headers=headers)


def broken(detail: str) -> ApiProblem:
    """A 500: it is our fault."""
    return ApiProblem(status=500, code="runtime", title="Internal server error", detail=detail)


#: The codes a task may fail with (../shared/spec/2-api.md). A test holds every ``TaskError`` to this list.
TASK_ERROR_CODES = frozenset(
    {
        "validation", "expression", "authentication", "authorization", "timeout", "communication",
        "rate_limited", "provider_error", "content_refused", "output_invalid", "too_large",
        "blocked_address", "worker_lost", "cancelled", "dependency_failed", "budget_exceeded", "runtime",
    }
)  # fmt: skip


@dataclass(eq=False)
class TaskError(Exception):
    """Why a task run failed.

    ``retryable`` is the task's own word on whether another try could help; only the planner decides.
    ``retry_after`` is what the other side asked for, in seconds. ``details`` is small, JSON, and shown to users.
    """

    code: str
    message: str
    retryable: bool = False
    retry_after: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.code not in TASK_ERROR_CODES:
            raise ValueError(f"{self.code!r} is not a task error code")
        super().__init__(self.message)
