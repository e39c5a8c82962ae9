"""A client of the API for tests: JSON bodies as they stand, and the one shape of an error."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from django.apps import apps
from django.db import connection
from django.test import Client
from django_q.models import OrmQ

from executions.models import Execution

PROBLEM_MEMBERS = {"type", "title", "status", "detail", "code", "request_id", "errors"}
JSON = "application/json"


class Api(Client):
    """Django's test client, with ``call`` for JSON; an exception in a view fails the test."""

    def call(self, method: str, path: str, document: Any = None, *, status: int, **headers: str) -> Any:
        """The JSON of an answer that must have ``status`` (``None`` for an empty one); ``X_Name="…"`` is a header."""
        return body_of(self.send(method, path, document, status=status, **headers))

    def send(self, method: str, path: str, document: Any = None, *, status: int, **headers: str) -> Any:
        """The answer itself, which must have ``status``."""
        body = b"" if document is None else json.dumps(document).encode()
        answer = self.raw(method, path, body, **headers)
        assert answer.status_code == status, (answer.status_code, answer.content[:2000])
        return answer

    def raw(self, method: str, path: str, body: bytes = b"", content_type: str = JSON, **headers: str) -> Any:
        """The answer to any bytes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.generic(method, path, body, content_type=content_type, headers=named)


def body_of(answer: Any) -> Any:
    """The JSON of an answer, ``None`` for an empty one."""
    return answer.json() if answer.content else None


def assert_problem(answer: Any, status: int, code: str = "", *, at: Collection[str] | None = None) -> dict[str, Any]:
    """Check that an answer is a problem of that status (and code, and pointers of ``errors``), with all members."""
    assert answer.status_code == status, (answer.status_code, answer.content[:2000])
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert set(problem) == PROBLEM_MEMBERS
    assert problem["type"] == "about:blank"
    assert problem["status"] == status
    assert all(problem[name] for name in ("title", "detail", "code")), problem
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    for error in problem["errors"]:
        assert {"pointer", "detail", "code"} <= set(error) <= {"pointer", "detail", "code", "hint"}
        assert error["pointer"] == "" or error["pointer"].startswith("/")
        assert error["detail"]
        assert error["code"]
    if code:
        assert problem["code"] == code, problem
    if at is not None:
        assert sorted({error["pointer"] for error in problem["errors"]}) == sorted(at), problem
    return problem


def rows() -> Mapping[str, int]:
    """How many rows each table has, in one query."""
    tables = [model._meta.db_table for model in apps.get_models()]
    counts = ", ".join(f"(SELECT count(*) FROM {connection.ops.quote_name(table)})" for table in tables)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {counts}")
        return dict(zip(tables, cursor.fetchone(), strict=True))


def assert_nothing_queued() -> None:
    """No execution was accepted, and no doorbell rung."""
    assert not Execution.objects.exists()
    assert not OrmQ.objects.exists()
