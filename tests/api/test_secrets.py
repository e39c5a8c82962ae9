"""``/secrets`` and ``/connections``: set, listed, replaced, removed, by administrators; and no answer holds a value."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth import get_user_model

from dataflow.lib.errors import TaskError
from executions import secret_store
from executions.models import Connection, Secret
from tests.api_client import Api, assert_problem

pytestmark = pytest.mark.django_db

VALUE = "a value nobody sees 0815"
SQL: dict[str, Any] = {"kind": "sql", "settings": {"url": "postgresql://reader:canary-pw-1@db.example.com/shop"}}


def test_it_works(api: Api) -> None:
    made = api.send("PUT", "/secrets/SHOP_TOKEN", {"value": VALUE}, status=201)
    assert made.headers["Location"] == "/secrets/SHOP_TOKEN"
    (row,) = api.call("GET", "/secrets", status=200)["secrets"]
    assert row == made.json() == api.call("GET", "/secrets/SHOP_TOKEN", status=200)
    assert row.keys() == {"name", "updated_at", "updated_by"}
    api.call("PUT", "/secrets/SHOP_TOKEN", {"value": f"{VALUE} 2"}, status=200)
    assert secret_store.values_of(["SHOP_TOKEN", "OTHER"]) == {"SHOP_TOKEN": f"{VALUE} 2"}
    assert VALUE not in Secret.objects.get().value
    api.call("DELETE", "/secrets/SHOP_TOKEN", status=204)
    assert not Secret.objects.exists()
    for method in ("GET", "DELETE"):
        assert_problem(api.send(method, "/secrets/SHOP_TOKEN", status=404), 404, "not_found")


@pytest.mark.parametrize("name", ["lower", "1ST", "WITH-DASH", "A.B", "X" * 101])
def test_names_that_cannot_be(api: Api, name: str) -> None:
    assert_problem(api.send("PUT", f"/secrets/{name}", {"value": VALUE}, status=400), 400, at=["/name"])


@pytest.mark.parametrize(
    "value", [None, 5, ["x"], {}, "", "1234567", "       7       ", "***", "x" * 16_385, "with \0 in it"]
)
def test_values_that_cannot_be(api: Api, value: Any) -> None:
    answer = api.raw("PUT", "/secrets/TOKEN", json.dumps({"value": value}).encode())
    assert answer.status_code == 400
    assert str(value) not in answer.content.decode() or len(str(value)) < 8
    assert not Secret.objects.exists()


@pytest.mark.parametrize("body", [{}, {"value": VALUE, "name": "X"}, [], "text"])
def test_bodies_that_cannot_be(api: Api, body: Any) -> None:
    assert_problem(api.send("PUT", "/secrets/TOKEN", body, status=400), 400)
    assert not Secret.objects.exists()


def test_rows_cannot_be_swapped() -> None:
    secret_store.set_secret(name="ONE", value="the first value")
    secret_store.set_secret(name="TWO", value="the second value")
    Secret.objects.filter(pk="TWO").update(value=Secret.objects.get(pk="ONE").value)
    with pytest.raises(TaskError, match="TWO cannot be read: This secret was stored under another name"):
        secret_store.values_of(["TWO"])


def test_connections(api: Api) -> None:
    made = api.send("PUT", "/connections/shop-db", SQL, status=201)
    assert made.json()["settings"] == {"url": "***"}
    assert "canary" not in Connection.objects.get().sealed
    (row,) = api.call("GET", "/connections", status=200)["connections"]
    assert row == api.call("GET", "/connections/shop-db", status=200)
    assert secret_store.connection_of("shop-db", "sql") == SQL["settings"]
    # What comes back as it was shown is kept.
    changed = {"kind": "sql", "settings": {"url": "***", "read_only": False}}
    assert api.call("PUT", "/connections/shop-db", changed, status=200)["settings"] == changed["settings"]
    assert secret_store.connection_of("shop-db", "sql") == SQL["settings"] | {"read_only": False}
    with pytest.raises(TaskError, match="is of the kind sql; one of the kind email"):
        secret_store.connection_of("shop-db", "email")
    with pytest.raises(TaskError, match="There is no connection `other`"):
        secret_store.connection_of("other", "sql")
    api.call("DELETE", "/connections/shop-db", status=204)
    for method in ("GET", "DELETE"):
        assert_problem(api.send(method, "/connections/shop-db", status=404), 404, "not_found")


@pytest.mark.parametrize(
    ("name", "document", "at"),
    [
        ("Shop", SQL, ["/name"]),
        ("shop-", SQL, ["/name"]),
        ("shop", {}, ["/kind"]),
        ("shop", {"kind": "sqll", "settings": {}}, ["/kind"]),
        ("shop", {"kind": "sql", "settings": []}, ["/settings"]),
        ("shop", {"kind": "sql", "settings": {}}, ["/settings/url"]),
        ("shop", {"kind": "sql", "settings": {"url": "***"}}, ["/settings/url"]),
        ("shop", {"kind": "sql", "settings": {**SQL["settings"], "pasword": "x"}}, ["/settings/pasword"]),
        ("shop", {"kind": "openai", "settings": {"api_key": "short"}}, ["/settings/api_key"]),
        ("shop", {"kind": "openai", "settings": {"api_key": ["x"]}}, ["/settings/api_key"]),
    ],
)
def test_connections_that_cannot_be(api: Api, name: str, document: Any, at: list[str]) -> None:
    assert_problem(api.send("PUT", f"/connections/{name}", document, status=400), 400, at=at)
    assert not Connection.objects.exists()


def test_a_mask_of_another_kind_is_no_value(api: Api) -> None:
    api.call("PUT", "/connections/main", {"kind": "openai", "settings": {"api_key": "sk-of-openai"}}, status=201)
    slack = {"kind": "slack", "settings": {"token": "***"}}
    assert_problem(api.send("PUT", "/connections/main", slack, status=400), 400, at=["/settings/token"])


def test_what_no_key_opens_is_said(api: Api, settings: Any) -> None:
    api.call("PUT", "/connections/main", SQL, status=201)
    settings.DATAFLOW_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    assert api.call("GET", "/connections/main", status=200)["readable"] is False
    with pytest.raises(TaskError, match="No key in DATAFLOW_ENCRYPTION_KEYS opens this"):
        secret_store.connection_of("main", "sql")


CALLS = [
    (method, path)
    for path, methods in {
        "/secrets": ["GET"],
        "/secrets/TOKEN": ["GET", "PUT", "DELETE"],
        "/connections": ["GET"],
        "/connections/main": ["GET", "PUT", "DELETE"],
    }.items()
    for method in methods
]


@pytest.mark.parametrize(("method", "path"), CALLS)
@pytest.mark.parametrize("debug", [True, False])
def test_only_administrators_may(api: Api, settings: Any, method: str, path: str, debug: bool) -> None:
    secret_store.set_secret(name="TOKEN", value=VALUE)
    secret_store.put_connection(name="main", document=SQL)
    settings.DEBUG = debug
    away = {"REMOTE_ADDR": "10.0.0.1"}
    answer = api.generic(method, path, b"{}", content_type="application/json", **away)
    assert_problem(answer, 401, "authentication")
    users = get_user_model().objects
    for user in (users.create_user("reader"), users.create_user("staff", is_staff=True)):
        api.force_login(user)
        answer = api.generic(method, path, b"{}", content_type="application/json", **away)
        assert_problem(answer, 403, "authorization")
    api.force_login(users.create_superuser("root"))
    answer = api.generic(method, path, b"{}", content_type="application/json", **away)
    assert answer.status_code in (200, 204, 400)


DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "secrets.md").read_text(encoding="utf-8")
CALL = re.compile(r"curl (?:-X (\w+) )?\$BASE(/\S+)(?: -H '[^']*' -d '([^']*)')?")


def test_the_documented_calls(api: Api) -> None:
    calls = [call for block in re.findall(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL) for call in CALL.findall(block)]
    assert len(calls) == DOCUMENT.count("curl ") >= 6
    for method, path, body in calls:
        answer = api.raw(method or "GET", path, body.encode())
        assert answer.status_code == {"PUT": 201, "DELETE": 204}.get(method, 200), (path, answer.content)
        for value in ("tok-1234567890", "sk-of-my-own"):
            assert value not in answer.content.decode()


def test_the_documented_definitions(api: Api) -> None:
    api.call("PUT", "/secrets/SHOP_TOKEN", {"value": VALUE}, status=201)
    blocks = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        assert api.call("POST", "/workflows/validate", json.loads(block), status=200)["warnings"] == []
