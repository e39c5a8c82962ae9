"""Who may: in development everybody on this machine, else who is signed in; changes need staff."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from tests.api_client import Api, assert_problem, rows
from tests.factories import DOCUMENT, make_execution, make_file
from workflows.models import Workflow

pytestmark = pytest.mark.django_db

CROSS_SITE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Origin": "https://evil.example"}


@pytest.fixture
def reads(workflow: Workflow) -> list[str]:
    """Every address that can be read."""
    path = f"/workflows/{workflow.pk}"
    execution, stored = make_execution(workflow), make_file()
    return [
        "/workflows", path, f"{path}/versions", f"{path}/versions/1", f"{path}/executions", f"{path}/executions/{execution.pk}",
        f"{path}/schedules", f"{path}/hooks", "/executions", "/task-types", "/task-types/text.size", f"/files/{stored.pk}", f"/files/{stored.pk}/content",
    ]  # fmt: skip


@pytest.fixture
def changes(workflow: Workflow) -> list[tuple[str, str]]:
    """Every method and address that changes something, or starts work."""
    path = f"/workflows/{workflow.pk}"
    execution = make_execution(workflow)
    return [
        ("POST", "/workflows"), ("POST", "/workflows/validate"), ("PUT", path), ("PATCH", path), ("DELETE", path),
        ("POST", f"{path}/versions/1/restore"), ("POST", f"{path}/executions"),
        ("POST", f"{path}/executions/{execution.pk}/cancel"), ("POST", "/files"),
        ("POST", f"{path}/schedules"), ("POST", f"{path}/hooks"),
        *(("POST", f"{path}/executions/{execution.pk}/{verb}") for verb in ("resume", "rerun")),
        *(("POST", f"{path}/executions/{execution.pk}/tasks/first/{verb}") for verb in ("approve", "reject")),
        *(("POST", f"{where}/{verb}") for where in ("/executions", f"{path}/executions") for verb in ("cancel", "resume", "rerun")),
    ]  # fmt: skip


def refused(api: Api, method: str, path: str, status: int, **extra: Any) -> None:
    answer = api.generic(method, path, b"{}", content_type="application/json", **extra)
    code = "authentication" if status == 401 else "authorization"
    assert_problem(answer, status, code)
    assert ("WWW-Authenticate" in answer.headers) is (status == 401)


def allowed(api: Api, method: str, path: str, **extra: Any) -> None:
    answer = api.generic(method, path, b"{}", content_type="application/json", **extra)
    assert answer.status_code not in (401, 403), answer.content
    answer.getvalue()


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"}


@pytest.mark.parametrize("address", ["127.0.0.1", "127.5.5.5", "::1", "::ffff:127.0.0.1"])
def test_it_works(api: Api, reads: list[str], changes: list[tuple[str, str]], address: str) -> None:
    """Development, on this machine: open, as the documented calls stand."""
    for path in reads:
        allowed(api, "GET", path, REMOTE_ADDR=address)
    for method, path in changes:
        allowed(api, method, path, REMOTE_ADDR=address)


@pytest.mark.parametrize(
    "address", ["192.168.1.5", "8.8.8.8", "::ffff:8.8.8.8", "fe80::1", "", "localhost", "127.0.0.1, 8.8.8.8", "0.0.0.0"]
)
def test_callers_from_elsewhere(api: Api, reads: list[str], changes: list[tuple[str, str]], address: str) -> None:
    before = rows()
    for method, path in [*(("GET", path) for path in reads), *changes]:
        refused(api, method, path, 401, REMOTE_ADDR=address)
    assert rows() == before


@pytest.mark.parametrize("value", ["8.8.8.8", "127.0.0.1", ""])
def test_callers_behind_a_proxy(api: Api, reads: list[str], value: str) -> None:
    for path in reads:
        refused(api, "GET", path, 401, headers={"X-Forwarded-For": value})


def test_production_is_never_open(api: Api, settings: Any, reads: list[str], changes: list[tuple[str, str]]) -> None:
    settings.DEBUG = False
    before = rows()
    for method, path in [*(("GET", path) for path in reads), *changes]:
        refused(api, method, path, 401)
        refused(api, method, f"{path}/", 401)
    assert rows() == before


def test_an_unknown_id_is_not_told_from_a_known_one(api: Api, settings: Any) -> None:
    settings.DEBUG = False
    for path in (
        "/workflows/wf-unknown",
        "/files/fl-unknown",
        "/files/fl-unknown/content",
        "/workflows/wf-unknown/executions/we-unknown",
    ):
        refused(api, "GET", path, 401)


def test_probes_are_open(api: Api, settings: Any) -> None:
    settings.DEBUG = False
    assert api.generic("GET", "/healthz", REMOTE_ADDR="10.1.1.1").status_code == 200
    assert api.generic("GET", "/readyz", REMOTE_ADDR="10.1.1.1").status_code == 503


@pytest.mark.parametrize("way", ["session", "basic"])
def test_a_reader_reads(api: Api, settings: Any, reads: list[str], changes: list[tuple[str, str]], way: str) -> None:
    settings.DEBUG = False
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    reader = get_user_model().objects.create_user("reader", password="secret")
    extra: dict[str, Any] = {"headers": basic("reader", "secret")} if way == "basic" else {}
    if way == "session":
        api.force_login(reader)
    before = rows()
    for path in reads:
        allowed(api, "GET", path, **extra)
    for method, path in changes:
        refused(api, method, path, 403, **extra)
    assert rows() == before


@pytest.mark.parametrize("way", ["session", "basic"])
def test_staff_change(api: Api, settings: Any, changes: list[tuple[str, str]], way: str) -> None:
    settings.DEBUG = False
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    staff = get_user_model().objects.create_user("staff", password="secret", is_staff=True)
    extra: dict[str, Any] = {"headers": basic("staff", "secret")} if way == "basic" else {}
    if way == "session":
        api.force_login(staff)
    for method, path in changes:
        allowed(api, method, path, **extra)


def test_a_wrong_password(api: Api, settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    get_user_model().objects.create_user("staff", password="secret", is_staff=True)
    for debug in (True, False):
        settings.DEBUG = debug
        for name, password in (("staff", "wrong"), ("nobody", "secret"), ("", ""), ("é", "é")):
            refused(api, "GET", "/workflows", 401, headers=basic(name, password))


def test_an_inactive_user(api: Api, settings: Any) -> None:
    settings.DEBUG = False
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    get_user_model().objects.create_user("gone", password="secret", is_staff=True, is_active=False)
    refused(api, "GET", "/workflows", 401, headers=basic("gone", "secret"))


def test_a_session_needs_its_token(settings: Any) -> None:
    settings.DEBUG = False
    api = Api(enforce_csrf_checks=True)
    api.force_login(get_user_model().objects.create_user("staff", is_staff=True))
    assert_problem(api.send("POST", "/workflows", DOCUMENT, status=403), 403, "authorization")
    assert not Workflow.objects.exists()


@pytest.mark.parametrize(
    "headers",
    [
        CROSS_SITE,
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "null"},
        {"Origin": "http://testserver.evil.example"},
        {"Origin": "http://testserver:81"},
    ],
)
def test_a_page_of_another_site_cannot_change(
    api: Api, changes: list[tuple[str, str]], headers: dict[str, str]
) -> None:
    """Also with the content types and the empty bodies that a browser sends without asking first."""
    before = rows()
    for method, path in changes:
        refused(api, method, path, 401, headers=headers)
        answer = api.generic(method, path, b"", content_type="text/plain", headers=headers)
        assert_problem(answer, 401, "authentication")
    assert rows() == before


def test_a_page_of_another_site_cannot_read(api: Api, reads: list[str]) -> None:
    for path in reads:
        refused(api, "GET", path, 401, headers=CROSS_SITE)


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {}]
)
def test_our_own_pages_and_programs_can(api: Api, changes: list[tuple[str, str]], headers: dict[str, str]) -> None:
    for method, path in changes:
        allowed(api, method, path, headers=headers)
