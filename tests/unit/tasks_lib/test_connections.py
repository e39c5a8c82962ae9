"""The kinds of connections: what their settings may be, and that nothing of them is shown."""

from __future__ import annotations

from typing import Any

import pytest

from dataflow.lib.errors import TaskError
from tasks_lib.base import MISSING
from tasks_lib.checks import fits
from tasks_lib.connections import KINDS, check, complete, guarded, secret_values

CANARY = "canary-p4ss/w0rd"
GOOD: dict[str, dict[str, Any]] = {
    "openai": {"base_url": "http://10.0.0.5:8000/v1", "api_key": CANARY},
    "sql": {"url": "postgresql://reader:secret@db/shop", "read_only": False},
    "email": {"host": "smtp.example.com", "sender": "a@example.com", "port": 25, "username": "u", "password": CANARY},
    "slack": {"token": CANARY, "channel": "#x"},
    "s3": {"bucket": "reports", "access_key_id": "a", "secret_access_key": CANARY, "endpoint_url": "https://s3.local"},
}


def test_every_kind_has_settings_that_can_be_used() -> None:
    assert set(GOOD) == set(KINDS)
    assert {kind: check(kind, settings) for kind, settings in GOOD.items()} == {kind: [] for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_describes_itself(kind: str) -> None:
    assert KINDS[kind].name == kind
    for field in KINDS[kind].fields:
        for value in (field.default, field.example):
            assert value is MISSING or fits(value, field.type), field.name
        assert not (field.secret and field.default is not MISSING)
        if field.enum:
            assert field.default in field.enum
    examples = {field.name: field.example for field in KINDS[kind].fields if field.example is not MISSING}
    assert {name for name, message in check(kind, examples) if message != "It is required."} <= {"webhook_url", ""}


@pytest.mark.parametrize(
    ("kind", "changed", "field"),
    [
        ("openai", {"base_url": "ftp://x"}, "base_url"),
        ("openai", {"base_url": "https://me:pw@x"}, "base_url"),
        ("openai", {"base_url": "https://[x"}, "base_url"),
        ("openai", {"api_key": 5}, "api_key"),
        ("openai", {"api_key": "a\r\nX-Other: b"}, "api_key"),
        ("openai", {"api_key": "x" * 5000}, "api_key"),
        ("openai", {"nonsense": 1}, "nonsense"),
        ("sql", {"url": None}, "url"),
        ("sql", {"url": "shop.db"}, "url"),
        ("sql", {"read_only": "yes"}, "read_only"),
        ("email", {"host": ""}, "host"),
        ("email", {"host": "https://smtp.example.com"}, "host"),
        ("email", {"port": 0}, "port"),
        ("email", {"port": 25.5}, "port"),
        ("email", {"port": True}, "port"),
        ("email", {"security": "ssl"}, "security"),
        ("email", {"sender": "nobody"}, "sender"),
        ("email", {"password": None}, "username"),
        ("slack", {"token": None}, "webhook_url"),
        ("slack", {"webhook_url": "https://hooks.slack.com/x"}, "webhook_url"),
        ("s3", {"bucket": "a/b"}, "bucket"),
        ("s3", {"secret_access_key": None}, "secret_access_key"),
    ],
)
def test_what_cannot_be_used(kind: str, changed: dict[str, Any], field: str) -> None:
    found = check(kind, GOOD[kind] | changed)
    assert [name for name, _ in found] == [field]
    assert CANARY not in str(found)


def test_an_unknown_kind() -> None:
    with pytest.raises(KeyError):
        check("ftp", {})


def test_what_is_not_given_has_its_default() -> None:
    assert complete("sql", {"url": "x", "read_only": None, "more": 1}) == {"url": "x", "read_only": True}
    assert complete("email", GOOD["email"])["security"] == "starttls"
    assert complete("openai", {})["api_key"] is None


@pytest.mark.parametrize(
    ("kind", "settings", "shown"),
    [
        ("sql", {"url": "postgresql://u:p%40ss@h/d"}, "p%40ss p@ss postgresql://u:p%40ss@h/d"),
        ("slack", {"webhook_url": "https://hooks.example.com/services/T0/B0/x"}, "/services/T0/B0/x"),
        ("email", {"host": "smtp.example.com", "password": CANARY}, CANARY),
    ],
)
def test_an_error_shows_no_secret(kind: str, settings: dict[str, Any], shown: str) -> None:
    said = TaskError("communication", f"No: {shown}", True, 3.0, {"said": [shown], "n": {"a": 1}})
    with pytest.raises(TaskError) as raised, guarded(kind, settings):
        raise said
    error = raised.value
    for secret in secret_values(kind, settings):
        assert secret not in f"{error} {error.details}"
    assert (error.code, error.retryable, error.retry_after) == ("communication", True, 3.0)
    assert error.details["n"] == {"a": 1}
    assert "***" in error.message
    assert error.__cause__ is None


def test_what_is_no_secret_is_shown() -> None:
    with pytest.raises(TaskError, match=r"smtp\.example\.com"), guarded("email", {"host": "smtp.example.com"}):
        raise TaskError("communication", "smtp.example.com is gone.")
