"""Bad requests of all kinds to every address that takes JSON: each a 4xx problem that names the place; no row stays.

An exception in a view fails the test by itself, so none is a 500.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest

from tests.api_client import Api, assert_problem, rows
from tests.factories import DOCUMENT, make_execution
from workflows.models import Workflow

pytestmark = pytest.mark.django_db

#: Bodies that are no JSON of ours at all, wherever they are sent.
UNREADABLE: dict[str, bytes] = {
    "lists nested 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "objects nested 100,000 deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "only opening brackets": b"[" * 100_000,
    "nested 51 deep": b"[" * 51 + b"]" * 51,
    "nested in a field": b'{"title": ' + b"[" * 60 + b"]" * 60 + b"}",
    "NaN": b'{"title": NaN}',
    "Infinity": b'{"timeout": Infinity}',
    "-Infinity": b'{"timeout": -Infinity}',
    "1e999": b'{"timeout": 1e999}',
    "-1e999": b'{"inputs": {"text": -1e999}}',
    "integer of 5,000 digits": b'{"timeout": ' + b"9" * 5000 + b"}",
    "integer of 1,000,000 digits": b'{"timeout": ' + b"9" * 1_000_000 + b"}",
    "2^63": b'{"timeout": 9223372036854775808}',
    "-2^63-1": b'{"timeout": -9223372036854775809}',
    "NUL in a text": b'{"title": "a\\u0000b"}',
    "NUL in a key": b'{"a\\u0000b": 1}',
    "raw NUL in a text": b'{"title": "a\0b"}',
    "lone high surrogate": b'{"title": "\\ud800"}',
    "lone low surrogate": b'{"title": "x\\udfffx"}',
    "lone surrogate in a key": b'{"\\ud800": 1}',
    "surrogates the wrong way round": b'{"inputs": {"text": "\\udc00\\ud800"}}',
    "raw surrogate in UTF-8": b'{"title": "\xed\xa0\x80"}',
    "duplicate key": b'{"title": "a", "title": "b"}',
    "duplicate key below": b'{"inputs": {"text": "a", "text": "a"}}',
    "duplicate key by escape": b'{"title": "a", "titl\\u0065": "b"}',
    "UTF-8 with BOM": b'\xef\xbb\xbf{"title": "x"}',
    "UTF-16": '{"title": "x"}'.encode("utf-16"),
    "UTF-16 without BOM": '{"title": "x"}'.encode("utf-16-le"),
    "UTF-32": '{"title": "x"}'.encode("utf-32"),
    "latin-1": '{"title": "é"}'.encode("latin-1"),
    "overlong UTF-8": b'{"title": "\xc0\xaf"}',
    "cut UTF-8": b'{"title": "\xe2\x82"}',
    "truncated object": b'{"title": "x"',
    "truncated text": b'{"title": "x',
    "truncated escape": b'{"title": "\\u00',
    "truncated word": b'{"title": tru',
    "only white space": b" \r\n\t ",
    "only NUL": b"\0",
    "two documents": b"{} {}",
    "comma at the end": b'{"title": "x",}',
    "single quotes": b"{'title': 'x'}",
    "no quotes": b"{title: 1}",
    "comment": b'{"title": "x"} // done',
    "hexadecimal": b'{"timeout": 0x10}',
    "leading zero": b'{"timeout": 010}',
    "plus sign": b'{"timeout": +1}',
    "bare point": b'{"timeout": .5}',
    "control character": b'{"title": "a\nb"}',
    "bad escape": b'{"title": "\\x41"}',
    "form": b"title=x&tasks=y",
    "XML": b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
    "pickle": b"\x80\x04\x95\x10\x00\x00\x00.",
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "page separator between": b'{"title":\xe2\x80\xa8"x"}',
}
#: JSON that is no object.
NO_OBJECT: dict[str, bytes] = {
    "list": b"[]",
    "list of objects": b'[{"title": "x"}]',
    "text": b'"text"',
    "null": b"null",
    "true": b"true",
    "number": b"5",
    "float": b"-1.5e-7",
}


@pytest.fixture
def addresses(workflow: Workflow) -> list[tuple[str, str]]:
    """Every method and address that takes JSON."""
    path = f"/workflows/{workflow.pk}"
    execution = make_execution(workflow)
    return [
        ("POST", "/workflows"),
        ("POST", "/workflows/validate"),
        ("PUT", path),
        ("PATCH", path),
        ("POST", f"{path}/executions"),
        ("POST", f"{path}/executions/{execution.pk}/cancel"),
    ]


@pytest.fixture(autouse=True)
def nothing_is_left(addresses: list[tuple[str, str]]) -> Iterator[None]:
    """No request of this file leaves a row in any table."""
    before = rows()
    yield
    assert rows() == before


def test_it_works(api: Api, addresses: list[tuple[str, str]]) -> None:
    """A good definition would be accepted: what is refused below is refused for its fault."""
    assert api.call("POST", "/workflows/validate", DOCUMENT, status=200)["valid"]


def test_there_are_enough() -> None:
    assert len(UNREADABLE) + len(NO_OBJECT) + len(DEFINITIONS) + len(EXPRESSIONS) + len(STARTS) >= 100


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_bodies(api: Api, addresses: list[tuple[str, str]], name: str) -> None:
    for method, path in addresses:
        problem = assert_problem(api.raw(method, path, UNREADABLE[name]), 400, "invalid_json")
        assert len(problem["errors"]) == 1
        assert len(problem["detail"]) < 500


@pytest.mark.parametrize("name", NO_OBJECT)
def test_json_that_is_no_object(api: Api, addresses: list[tuple[str, str]], name: str) -> None:
    for method, path in addresses:
        assert_problem(api.raw(method, path, NO_OBJECT[name]), 400, at=[""])


def test_pointers_of_the_parser(api: Api) -> None:
    for body, pointer in [
        (b'{"tasks": [{"a/b": NaN}]}', "/tasks/0/a~1b"),
        (b'{"tasks": [1, {"x": "\\u0000"}]}', "/tasks/1/x"),
        (b'{"inputs": {"k": 1, "k": 2}}', "/inputs/k"),
    ]:
        assert_problem(api.raw("POST", "/workflows", body), 400, "invalid_json", at=[pointer])


def test_a_body_over_the_limit(api: Api, addresses: list[tuple[str, str]]) -> None:
    body = b'{"title": "' + b"x" * (11 * 2**20) + b'"}'
    for method, path in addresses:
        problem = assert_problem(api.raw(method, path, body), 413, "too_large")
        assert "10 MiB" in problem["detail"]


def test_a_large_body_within_the_limit(api: Api) -> None:
    body = json.dumps({"title": "x" * (9 * 2**20)}).encode()
    answer = api.raw("POST", "/workflows", body)
    assert_problem(answer, 400, "validation", at=["/title", "/tasks"])
    assert len(answer.content) < 2000


def test_many_wrong_things_have_a_short_answer(api: Api, addresses: list[tuple[str, str]]) -> None:
    body = json.dumps({f"{place}{'k' * 5000}": {} for place in range(1000)}).encode()
    for method, path in addresses:
        answer = api.raw(method, path, body)
        assert_problem(answer, 400, "validation")
        assert len(answer.content) < 600_000


def changed(path: str, value: Any) -> dict[str, Any]:
    """``DOCUMENT`` with another value at a place such as ``tasks.0.inputs``."""
    document: Any = deepcopy(DOCUMENT)
    place = document
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in way:
        place = place[part]
    place[last] = value
    return dict(document)


def many_tasks(number: int) -> list[Any]:
    return [{"name": f"t{place}", "type": "text.static", "inputs": {"text": "x"}} for place in range(number)]


def chain(*dependencies: list[str]) -> list[Any]:
    """Tasks a, b, … with those dependencies."""
    return [
        {"name": chr(97 + place), "type": "text.static", "inputs": {"text": "x"}, "depends_on": wanted}
        for place, wanted in enumerate(dependencies)
    ]


#: A definition's fault and a pointer that its problem must have.
DEFINITIONS: list[tuple[str, Any, str]] = [
    *((place, wrong, f"/{place.replace('.', '/')}") for place, wrong in [
        ("title", []), ("title", {}), ("title", None), ("title", " \n"), ("title", "x" * 201), ("title", True),
        ("description", 5), ("description", "x" * 10_001), ("description", []),
        ("inputs", {}), ("inputs", "x"), ("inputs", None), ("inputs.0", "x"), ("inputs.0", []), ("inputs.0", None),
        ("inputs.0.name", ""), ("inputs.0.name", "1a"), ("inputs.0.name", "a b"), ("inputs.0.name", "a.b"),
        ("inputs.0.name", "é"), ("inputs.0.name", "x" * 65), ("inputs.0.name", []), ("inputs.0.name", {"a": 1}),
        ("inputs.0.name", "a\n"), ("inputs.0.name", "__class__.x"), ("inputs.0.type", "str"), ("inputs.0.type", []),
        ("inputs.0.type", None), ("inputs.0.required", "yes"), ("inputs.0.required", 1), ("inputs.0.default", 5),
        ("inputs.0.enum", []), ("inputs.0.enum", "a"), ("inputs.0.enum", {}), ("inputs.0.minimum", 1),
        ("inputs.0.min_length", -1), ("inputs.0.max_length", 1.5), ("inputs.0.pattern", "("),
        ("inputs.0.pattern", "(?=x)"), ("inputs.0.pattern", "(a" * 10_000), ("inputs.0.pattern", "a{1000}" * 5000),
        ("inputs.0.sensitive", "yes"), ("inputs.0.sensitive", 1), ("inputs.0.typ", "text"),
        ("tasks", {}), ("tasks", []), ("tasks", None), ("tasks", many_tasks(501)), ("tasks", "x"),
        ("tasks.0", []), ("tasks.0", "x"), ("tasks.0", None), ("tasks.0.name", "x y"), ("tasks.0.name", None),
        ("tasks.0.type", "no.such.type"), ("tasks.0.type", []), ("tasks.0.type", {}), ("tasks.0.type", ""),
        ("tasks.0.type", "x" * 1_000_000), ("tasks.0.inputs", "x"), ("tasks.0.inputs", None), ("tasks.0.inputs", 5),
        ("tasks.0.outputs", {}), ("tasks.0.depends_on", "first"), ("tasks.0.depends_on", {}),
        ("tasks.0.condition", "{{"), ("tasks.0.retry", 3), ("tasks.0.retry", []), ("tasks.0.timeout", "5"),
        ("tasks.0.timeout", 0), ("tasks.0.timeout", -1), ("tasks.0.timeout", 1e300), ("tasks.0.fallback", "text.static"),
        ("tasks.0.fallback", []), ("tasks.0.continue_on_failure", "no"), ("tasks.0.continue_on_failure", None),
        ("tasks.0.for_each", "{{inputs.text}}"), ("tasks.0.concurrency", 5), ("tasks.0.input", {}),
        ("tasks.0.inputs.text", []), ("tasks.0.inputs.text", {}), ("tasks.0.inputs.tex", "x"),
        ("outputs", {}), ("outputs", "x"), ("outputs.0", 5), ("outputs.0.name", "a-b"), ("outputs.0.type", "string"),
        ("outputs.0.val", 1), ("timeout", "1"), ("timeout", 0), ("timeout", -5), ("timeout", True), ("timeout", []),
        ("labels", []), ("labels", "x"), ("labels", {str(n): "" for n in range(51)}), ("concurrency", {}), ("$schema", "x"),
        ("__proto__", {}), ("monitoring", []), ("monitoring", {}), ("monitoring", "https://x"),
    ]),
    ("inputs", [{"name": "a", "type": "text"}] * 2, "/inputs/1/name"),
    ("inputs", many_tasks(501), "/inputs"),
    ("tasks", many_tasks(1) * 2, "/tasks/1/name"),
    ("tasks.0.inputs", [{"name": "text"}], "/tasks/0/inputs/0/value"),
    ("tasks.0.inputs", [5], "/tasks/0/inputs/0"),
    ("tasks.0.inputs", [{"name": "text", "value": "x", "x": 1}], "/tasks/0/inputs/0/x"),
    ("tasks.0.depends_on", [5], "/tasks/0/depends_on/0"),
    ("tasks.0.depends_on", ["frist"], "/tasks/0/depends_on/0"),
    ("tasks.0.depends_on", [{}], "/tasks/0/depends_on/0"),
    ("tasks.0.retry", {"attempts": 101}, "/tasks/0/retry/attempts"),
    ("tasks.0.retry", {"attempts": 1.5}, "/tasks/0/retry/attempts"),
    ("tasks.0.retry", {"delay": -1}, "/tasks/0/retry/delay"),
    ("tasks.0.retry", {"on": ["no_such"]}, "/tasks/0/retry/on/0"),
    ("tasks.0.retry", {"on": [{}]}, "/tasks/0/retry/on/0"),
    ("tasks.0.retry", {"jitter": 2}, "/tasks/0/retry/jitter"),
    ("tasks.0.retry", {"tries": 2}, "/tasks/0/retry/tries"),
    ("tasks.0.fallback", {"task": "no.such"}, "/tasks/0/fallback/task"),
    ("tasks.0.fallback", {"task": []}, "/tasks/0/fallback/task"),
    ("labels", {"a": 1}, "/labels/a"),
    ("labels", {"a/b": []}, "/labels/a~1b"),
    ("labels", {"x" * 65: "a"}, "/labels/" + "x" * 65),
    ("monitoring", {"webhook_url": 5}, "/monitoring/webhook_url"),
    ("monitoring", {"webhook_url": []}, "/monitoring/webhook_url"),
    ("monitoring", {"webhook": []}, "/monitoring/webhook"),
    ("monitoring", {"webhook": {}}, "/monitoring/webhook"),
    ("monitoring", {"webhook": {"url": "https://x", "events": "all"}}, "/monitoring/webhook/events"),
    ("monitoring", {"webhook": {"url": "https://x", "events": ["x"]}}, "/monitoring/webhook/events/0"),
    ("monitoring", {"webhook": {"url": "https://x", "events": [{}]}}, "/monitoring/webhook/events/0"),
    ("monitoring", {"webhook": {"url": "https://x", "secret": 5}}, "/monitoring/webhook/secret"),
    ("monitoring", {"webhook": {"url": "https://x", "header": 5}}, "/monitoring/webhook/header"),
    *(("monitoring", {"webhook_url": url}, "/monitoring/webhook_url") for url in [
        "", "x", "ftp://x", "file:///etc/passwd", "javascript:alert(1)", "http://", "http:///x", "https://a b", "http://[::1",
        "http://x:99999/", "http://user:pass@x/", "https://" + "x" * 3000, "http://x\r\nHost: y", "http://x\\@y", "//x", "gopher://x",
    ]),
    ("tasks", chain(["b"], ["a"]), "/tasks/0/depends_on"),
    ("tasks", chain(["a"]), "/tasks/0/depends_on"),
    ("tasks", chain(["c"], ["a"], ["b"]), "/tasks/0/depends_on"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(DEFINITIONS)), ids=lambda number: f"{number} {DEFINITIONS[number][0]}")
def test_faulty_definitions(api: Api, addresses: list[tuple[str, str]], number: int) -> None:
    place, wrong, pointer = DEFINITIONS[number]
    body = json.dumps(changed(place, wrong)).encode()
    for method, path in addresses[:3]:
        answer = api.raw(method, path, body)
        problem = assert_problem(answer, 400, "validation")
        found = [error["pointer"] for error in problem["errors"]]
        assert any(one == pointer or one.startswith(f"{pointer}/") for one in found), problem
        assert len(answer.content) < 300_000


#: Templates of a task's input that must be refused when the workflow is made.
EXPRESSIONS = [
    "{{inputs.txt}}", "{{tasks.frist.outputs.text}}", "{{tasks.first.outputs.text}}", "{{tasks.second.outputs.text}}",
    "{{", "{{}}", "{{ }}", "{{inputs.text", "{{inputs.}}", "{{inputs..text}}", "{{inputs[}}", "{{inputs}", "{{1 +}}", "{{)}}",
    "{{inputs.text.map(x, x)}}", "{{[1].all(x, x > 0)}}", "{{[1].exists(x, x > 0)}}", "{{[1].filter(x, true)}}",
    "{{" + "x" * 2001 + "}}", "{{" + "(" * 900 + "1" + ")" * 900 + "}}",
    "{{" + "[" * 900 + "]" * 900 + "}}", "{{" + "1+" * 900 + "}}", "{{__import__('os').system('id')}}",
    "{{inputs.__class__}}", "{{inputs.text.__class__.__mro__}}", "{{open('/etc/passwd')}}",
    "{{environ.HOME}}", "{{settings.SECRET_KEY}}", "{{secrets}}", "{{no_such_function(1)}}", '{{"unclosed}}',
    "{{ {{inputs.text}} }}", "{{tasks}}", "{{tasks.first}}", "{{item}}", "{{index}}", "{% for x in y %}{{x}}{% endfor %}",
    "{{inputs.text | upper}}", "{{" + "a.b" * 600 + "}}", "{{workflow.secret}}",
    "{{9223372036854775808}}", "{{'\\ud800'}}", "{{1e999}}", "{{9" + "9" * 1500 + "}}",
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(EXPRESSIONS)), ids=lambda number: f"{number} {EXPRESSIONS[number][:20]!r}")
def test_faulty_expressions(api: Api, number: int) -> None:
    document = changed("tasks.0.inputs.text", EXPRESSIONS[number])
    answer = api.send("POST", "/workflows/validate", document, status=400)
    problem = assert_problem(answer, 400, "validation")
    assert "/tasks/0/inputs/text" in [error["pointer"] for error in problem["errors"]]


#: The body of a start, and where its problem is.
STARTS: list[tuple[Any, str]] = [
    ({}, "/inputs/text"), ({"inputs": []}, "/inputs"), ({"inputs": "x"}, "/inputs"), ({"inputs": 5}, "/inputs"),
    ({"inputs": True}, "/inputs"), ({"inputs": {"text": {}}}, "/inputs/text"), ({"inputs": {"text": []}}, "/inputs/text"),
    ({"inputs": {"text": 1e308}}, "/inputs/text"), ({"inputs": {"text": "x", "": 1}}, "/inputs/"),
    ({"inputs": {"text": "x", "__proto__": {}}}, "/inputs/__proto__"), ({"inputs": {"text": "x", "a/b": 1}}, "/inputs/a~1b"),
    ({"inputs": {"text": "x", "k" * 100_000: 1}}, "/inputs"),
    ({"inputs": {"text": "x"}, "labels": 5}, "/labels"), ({"inputs": {"text": "x"}, "labels": {"": "x"}}, "/labels/"),
    ({"inputs": {"text": "x"}, "labels": {"a": None}}, "/labels/a"),
    ({"inputs": {"text": "x"}, "labels": {"a": "x" * 257}}, "/labels/a"),
    ({"inputs": {"text": "x"}, "labels": {str(number): "" for number in range(51)}}, "/labels"),
    ({"inputs": {"text": "x"}, "monitoring": 5}, "/monitoring"),
    ({"inputs": {"text": "x"}, "monitoring": {"webhook_url": "http://x", "webhook": {"url": "http://x"}}}, "/monitoring"),
    ({"inputs": {"text": "x"}, "monitoring": {"webhook_url": None}}, "/monitoring/webhook_url"),
    ({"inputs": {"text": "x"}, "workflow_version": -1}, "/workflow_version"),
    ({"inputs": {"text": "x"}, "workflow_version": []}, "/workflow_version"),
    ({"inputs": {"text": "x"}, "workflow_version": 2**62}, "/workflow_version"),
    ({"inputs": {"text": "x"}, "workflow_version": 1.0}, "/workflow_version"),
    ({"inputs": {"text": "x"}, "delay": -5}, "/delay"), ({"text": "x"}, "/text"), ({"Inputs": {"text": "x"}}, "/Inputs"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(STARTS)))
def test_faulty_starts(api: Api, workflow: Workflow, number: int) -> None:
    body, pointer = STARTS[number]
    answer = api.send("POST", f"/workflows/{workflow.pk}/executions", body, status=400)
    problem = assert_problem(answer, 400, "validation")
    assert pointer in [error["pointer"] for error in problem["errors"]]


def test_merge_patches_that_break_the_definition(api: Api, workflow: Workflow) -> None:
    for patch in (
        {"tasks": None},
        {"tasks": {}},
        {"inputs": None},
        {"title": {"a": 1}},
        {"tasks": {"0": {}}},
        {"x": {"y": 1}},
    ):
        assert_problem(api.send("PATCH", f"/workflows/{workflow.pk}", patch, status=400), 400, "validation")


def test_odd_paths(api: Api, workflow: Workflow) -> None:
    odd = [
        "%00",
        "wf-%00",
        "wf-a%0a",
        "%ff%fe",
        "wf-'--",
        "wf-" + "a" * 5000,
        "%2e%2e",
        "%F0%9F%98%80",
        "wf-a;b",
        "*",
        "wf-٣",
    ]
    for part in odd:
        for path in (
            f"/workflows/{part}",
            f"/workflows/{part}/executions",
            f"/workflows/{workflow.pk}/executions/{part}/cancel",
        ):
            assert_problem(api.raw("POST", path, b"{}"), 405 if path == "/workflows/validate" else 404, "not_found")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", "Basic !!!"),
        ("Authorization", "Basic"),
        ("Authorization", "Basic YQBiOmM="),  # a NUL in the name
        ("Authorization", "Basic /////w=="),
        ("Authorization", "Basic " + "QUFB" * 20_000),
        ("Cookie", "sessionid=" + "x" * 40),
        ("Cookie", 'sessionid="abcdefgh\\000ijkl"'),  # unquoted to a NUL
        ("Cookie", ";;==;"),
        ("If-Match", "\0"),
        ("X-Forwarded-For", "\0"),
        ("X-Forwarded-Host", "evil"),
        ("Origin", "\0"),
        ("Origin", "http://["),
        ("Sec-Fetch-Site", "é"),
        ("Accept-Language", "x" * 5000),
        ("Accept-Encoding", "br;q=x"),
        ("If-Modified-Since", "yesterday"),
        ("X-HTTP-Method-Override", "DELETE"),
    ],
)
def test_odd_headers(api: Api, workflow: Workflow, name: str, value: str) -> None:
    """Sent with a body that is refused in any case."""
    for method, path in (("POST", "/workflows"), ("PATCH", f"/workflows/{workflow.pk}")):
        answer = api.generic(method, path, b"[]", content_type="application/json", headers={name: value})
        assert 400 <= answer.status_code < 500
        assert_problem(answer, answer.status_code)
