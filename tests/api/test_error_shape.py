"""Every address with every wrong method, unknown id and odd header answers in the one shape of an error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.urls import URLPattern, get_resolver

from dataflow.urls import urlpatterns
from executions.secret_store import put_connection, set_secret
from executions.triggers.hooks import create_hook
from executions.triggers.schedules import create_schedule
from tests.api_client import Api, assert_problem
from tests.factories import make_execution, make_file, make_task_run
from workflows.models import Workflow

pytestmark = pytest.mark.django_db

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "FOO")
#: What each address takes, besides HEAD where it takes GET and OPTIONS everywhere.
ALLOWED = {
    "workflows": {"GET", "POST"},
    "workflows/validate": {"POST"},
    "workflows/ID": {"GET", "PUT", "PATCH", "DELETE"},
    "workflows/ID/versions": {"GET"},
    "workflows/ID/versions/1": {"GET"},
    "workflows/ID/versions/1/restore": {"POST"},
    "workflows/ID/executions": {"GET", "POST"},
    "workflows/ID/executions/ID": {"GET"},
    "workflows/ID/executions/ID/cancel": {"POST"},
    "workflows/ID/executions/ID/resume": {"POST"},
    "workflows/ID/executions/ID/rerun": {"POST"},
    "workflows/ID/executions/ID/tasks/ID/approve": {"POST"},
    "workflows/ID/executions/ID/tasks/ID/reject": {"POST"},
    "workflows/ID/executions/cancel": {"POST"},
    "workflows/ID/executions/resume": {"POST"},
    "workflows/ID/executions/rerun": {"POST"},
    "workflows/ID/executions/ID/events": {"GET"},
    "workflows/ID/executions/ID/logs": {"GET"},
    "workflows/ID/executions/ID/tasks/ID/items": {"GET"},
    "workflows/ID/schedules": {"GET", "POST"},
    "workflows/ID/schedules/ID": {"GET", "PUT", "PATCH", "DELETE"},
    "workflows/ID/hooks": {"GET", "POST"},
    "workflows/ID/hooks/ID": {"GET", "PATCH", "DELETE"},
    "workflows/ID/hooks/ID/rotate": {"POST"},
    "hooks/TOKEN": {"POST"},
    "executions": {"GET"},
    "executions/cancel": {"POST"},
    "executions/resume": {"POST"},
    "executions/rerun": {"POST"},
    "secrets": {"GET"},
    "secrets/ID": {"GET", "PUT", "DELETE"},
    "connections": {"GET"},
    "connections/ID": {"GET", "PUT", "DELETE"},
    "task-types": {"GET"},
    "task-types/text.size": {"GET"},
    "files": {"POST"},
    "files/ID": {"GET"},
    "files/ID/content": {"GET"},
    "healthz": {"GET"},
    "readyz": {"GET"},
}
WRONG = [(path, method) for path, allowed in ALLOWED.items() for method in METHODS if method not in allowed]


#: A named group of a pattern, which may hold one group more.
GROUP = re.compile(r"\(\?P<(\w+)>((?:[^()]|\([^()]*\))*)\)")


def shapes(pattern: str) -> Iterator[str]:
    """The pattern of an address as it stands in ``ALLOWED``: once for each verb that it takes."""
    verbs = next((found[2].split("|") for found in GROUP.finditer(pattern) if found[1] == "verb"), [""])
    named = GROUP.sub(lambda match: f"<{match[1]}>", pattern).removeprefix("^").removesuffix("/?$")
    named = named.replace("<number>", "1").replace("task-types/<name>", "task-types/text.size")
    named = named.replace("<token>", "TOKEN")
    for verb in verbs:
        yield re.sub(r"<\w+>", "ID", named.replace("<verb>", verb))


def routes() -> Iterator[str]:
    """Every address of the API, from the URL map itself."""
    for entry in urlpatterns:
        if isinstance(entry, URLPattern) and (pattern := str(entry.pattern)) and pattern.startswith("^"):
            yield from shapes(pattern)


def unknown(path: str) -> str:
    """The address with ids that nothing has."""
    kinds = (("workflows", "wf"), ("executions", "we"), ("files", "fl"), ("schedules", "sc"), ("hooks", "hk"))
    for prefix, name in kinds:
        path = path.replace(f"{prefix}/ID", f"{prefix}/{name}-unknown")
    return f"/{path}"


@pytest.fixture
def known(workflow: Workflow) -> dict[str, str]:
    """Each address with ids that exist."""
    execution = make_execution(workflow)
    schedule = create_schedule(workflow=workflow, document={"every_minutes": 5, "inputs": {"text": "x"}})
    hook = create_hook(workflow=workflow, document={"inputs": {"text": "x"}})
    set_secret(name="TOKEN", value="a value nobody sees")
    put_connection(name="main", document={"kind": "openai", "settings": {}})
    ids = {"workflows/ID": f"workflows/{workflow.pk}", "executions/ID": f"executions/{execution.pk}",
           "files/ID": f"files/{make_file().pk}", "tasks/ID": f"tasks/{make_task_run(execution, 'first').name}",
           "schedules/ID": f"schedules/{schedule.pk}", "hooks/ID": f"hooks/{hook.hook.pk}",
           "hooks/TOKEN": f"hooks/{hook.token}", "secrets/ID": "secrets/TOKEN", "connections/ID": "connections/main"}  # fmt: skip
    found = {}
    for path in ALLOWED:
        address = path
        for name, value in ids.items():
            address = address.replace(name, value)
        found[path] = f"/{address}"
    return found


def test_the_table_above_is_the_url_map() -> None:
    assert sorted(routes()) == sorted(ALLOWED)
    assert get_resolver().url_patterns[-1].pattern.regex.pattern == ""


@pytest.mark.parametrize(("path", "method"), WRONG)
def test_wrong_methods(api: Api, path: str, method: str) -> None:
    answer = api.raw(method, unknown(path), b"{}")
    assert_problem(answer, 405, "method_not_allowed")
    allowed = {word.strip() for word in answer.headers["Allow"].split(",")}
    assert allowed - {"OPTIONS", "HEAD"} == ALLOWED[path]


@pytest.mark.parametrize("path", [path for path in ALLOWED if "ID" in path or "TOKEN" in path])
def test_unknown_ids(api: Api, path: str) -> None:
    named = path in ("secrets/ID", "connections/ID")
    for method in ALLOWED[path] - ({"PUT"} if named else set()):  # which makes one of that name
        for slash in ("", "/"):
            assert_problem(
                api.raw(method, unknown(path) + slash, b'{"title": "x"}' if method == "PATCH" else b"{}"),
                404,
                "not_found",
            )


@pytest.mark.parametrize(
    "path",
    [
        "nothing",
        "workflows/",
        "api/workflows",
        "workflows//executions",
        "executions/we-1",
        "files/fl-1/x",
        "favicon.ico/x",
        "workflows/wf-1/executions/we-1/resume",
    ],
)
@pytest.mark.parametrize("debug", [True, False])
def test_no_such_address(api: Api, settings: Any, path: str, debug: bool) -> None:
    settings.DEBUG = debug
    for method in METHODS:
        answer = api.raw(method, f"/{path}x", b"{}")
        problem = assert_problem(answer, 404, "not_found")
        assert path[:8] in problem["detail"]


@pytest.mark.parametrize("debug", [True, False])
def test_a_person_gets_a_page_that_says_so(api: Api, settings: Any, debug: bool) -> None:
    settings.DEBUG = debug
    for path in ("/nothing", "/workflows/x"):
        answer = api.raw("GET", path, Accept="text/html,application/xhtml+xml,*/*;q=0.8")
        assert answer.status_code == 404
        assert answer.headers["Content-Type"].startswith("text/html")
        assert "Traceback" not in answer.content.decode()


def test_a_page_that_is_not_found_in_production(api: Api, settings: Any) -> None:
    settings.DEBUG = False
    api.force_login(get_user_model().objects.create_user("reader"))
    answer = api.raw("GET", "/task-types/no.such", Accept="text/html")
    assert answer.status_code == 404


@pytest.mark.parametrize("path", sorted(ALLOWED))
@pytest.mark.parametrize("accept", ["application/xml", "image/png", "text/csv;q=0.5"])
def test_other_types_than_json(api: Api, known: dict[str, str], path: str, accept: str) -> None:
    method = "GET" if "GET" in ALLOWED[path] else "POST"
    answer = api.raw(method, known[path], b"{}", Accept=accept)
    if path == "hooks/TOKEN":  # senders ask for what they like
        assert answer.status_code == 201
    elif path.endswith("/content"):
        assert answer.status_code == 200
        answer.getvalue()
    else:
        problem = assert_problem(answer, 406, "not_acceptable")
        assert "application/json" in problem["detail"]


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/*",
        "application/json",
        "application/json; q=0.5, text/html;q=0.1",
        ";",
        ",,,",
        "a/b/c",
        "é",
        "x" * 5000,
        "text/html;q=é",
        "*/*;q=",
        "/;q=1,*/*",
    ],
)
def test_odd_accept_headers_are_no_server_error(api: Api, workflow: Workflow, accept: str) -> None:
    assert api.raw("GET", f"/workflows/{workflow.pk}", Accept=accept).status_code in (200, 406)


@pytest.mark.parametrize("path", sorted(ALLOWED))
def test_with_and_without_a_trailing_slash(api: Api, known: dict[str, str], path: str) -> None:
    method = "GET" if "GET" in ALLOWED[path] else "POST"
    answers = [api.raw(method, known[path] + slash, b"{}") for slash in ("", "/")]
    for answer in answers:
        answer.getvalue()
    statuses = {answer.status_code for answer in answers}
    assert len(statuses) == 1
    assert not statuses & {301, 302, 307, 308, 404}


@pytest.mark.parametrize("path", sorted(path for path in ALLOWED if "GET" in ALLOWED[path]))
def test_head_is_get_without_body(api: Api, known: dict[str, str], path: str) -> None:
    got, head = api.raw("GET", known[path]), api.raw("HEAD", known[path])
    assert head.status_code == got.status_code
    assert head.getvalue() == b""
    assert head.headers["Content-Type"] == got.headers["Content-Type"]
    got.getvalue()
    missing = api.raw("HEAD", "/workflows/wf-unknown")
    assert missing.status_code == 404


@pytest.mark.parametrize("path", sorted(ALLOWED))
def test_options(api: Api, known: dict[str, str], path: str) -> None:
    answer = api.raw("OPTIONS", known[path])
    assert answer.status_code == 200
    assert {word.strip() for word in answer.headers["Allow"].split(",")} >= ALLOWED[path] | {"OPTIONS"}
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=b",
        "application/xml",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "application/json5",
        "x",
        "/",
        "application/json/x",
    ],
)
def test_other_content_types_than_json(api: Api, known: dict[str, str], content_type: str) -> None:
    takes_body = [(path, method) for path in ALLOWED for method in ALLOWED[path] & {"POST", "PUT", "PATCH"}]
    for path, method in takes_body:
        if path == "files" or path.endswith(("restore", "rotate")):
            continue
        if path == "hooks/TOKEN" and content_type.endswith("urlencoded"):
            continue
        if content_type.startswith("multipart") and path.endswith("/executions"):
            continue  # a start may bring the files of its inputs
        answer = api.raw(method, known[path], b'{"title": "x"}', content_type=content_type)
        problem = assert_problem(answer, 415, "unsupported_media_type")
        assert "application/json" in problem["detail"]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        'application/json; charset="utf-8"',
        "APPLICATION/JSON",
        "application/json; indent=2",
    ],
)
def test_content_types_that_are_json(api: Api, content_type: str) -> None:
    answer = api.raw("POST", "/workflows/validate", b"{}", content_type=content_type)
    assert_problem(answer, 400, "validation")


def test_the_request_id_is_the_callers_when_it_is_harmless(api: Api) -> None:
    answer = api.raw("GET", "/workflows/wf-unknown", X_Request_ID="mine-1")
    assert assert_problem(answer, 404)["request_id"] == "mine-1"
    for odd in ("x" * 65, "a b", "é", "<script>", "a\nb", ""):
        assert assert_problem(api.raw("GET", "/workflows/wf-unknown", X_Request_ID=odd), 404)["request_id"] != odd


@pytest.mark.parametrize("debug", [True, False])
def test_a_host_that_is_not_ours(api: Api, settings: Any, debug: bool) -> None:
    settings.DEBUG = debug
    for host in ("evil.example", "a b", "127.0.0.1:x", "é"):
        assert_problem(api.raw("GET", "/workflows", Host=host), 400)


def test_too_many_parameters(api: Api) -> None:
    assert_problem(api.raw("GET", "/workflows?" + "a=1&" * 1100), 400, "validation")


@pytest.mark.parametrize("path", ["workflows", "workflows/ID/executions", "files"])
def test_a_body_without_a_length_is_refused_not_ignored(api: Api, known: dict[str, str], path: str) -> None:
    answer = api.generic("POST", known[path], b"", headers={"Transfer-Encoding": "chunked"})
    problem = assert_problem(answer, 411, "length_required")
    assert "Content-Length" in problem["detail"]
