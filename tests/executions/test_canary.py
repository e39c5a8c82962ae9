"""Secrets, passwords of connections, keys and sensitive inputs in every task type, to success and to failure.

Afterwards everything that an installation stores, shows, sends and logs is searched for them, in every form they could
be written in. The task types come from the registry; the tables below say only what some of them need.
"""

from __future__ import annotations

import base64
import html
import io
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import AuthResult
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from dataflow.lib.mask import MASK
from dataflow.logs import LineFormatter, RequestIdFilter
from executions import jobs, secret_store
from executions.models import Attempt, Delivery, Event, Execution, TaskRun
from tasks_lib import registry
from tasks_lib.base import TaskType
from tasks_lib.connections import KINDS
from tests.api_client import Api
from tests.examples_driver import World, example_world, finished
from tests.plugins.stack import free_port
from tests.stubs.openai_stub import error
from tests.stubs.server import Handler, Recorded, StubServer

__all__ = ["example_world"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

PLAIN = "canary-plain-8be1f0c7d2"
#: With characters that every encoding writes otherwise.
ODD = "cänary-odd/+&=\"<5'>~ q9"
PASSWORD = "canary-passw0rd-77f3a1"
KEY = "sk-canary-key-4c9e02ab61"
#: Not stored encrypted: tasks hand it on. It is shown nowhere.
SENSITIVE = "canary-sensitive-31d9e5"
EVERYWHERE = (PLAIN, ODD, PASSWORD, KEY)

BOTH = "{{secrets.PLAIN}} {{secrets.ODD}} {{inputs.pin}}"
QUERY = "key={{secrets.PLAIN}}&pin={{inputs.pin}}"
#: Inputs with which a type comes to success although canaries are in them, where putting them behind the text of its
#: example does not do. What is not named here is as in the example.
PAIR = "{{secrets.PLAIN}} {{inputs.pin}}"
GOOD: Mapping[str, Mapping[str, Any]] = {
    "csv.parse": {"text": f"name,price\n{PAIR},3\n"},
    "json.parse": {"text": f'{{"name": "{PAIR}"}}'},
    "json.query": {"json": {"name": BOTH}, "query": "name"},
    "http.request": {"method": "GET", "headers": {"X-Key": PAIR}},
    "openai.chat": {"messages": [{"role": "user", "content": BOTH}]},
    "s3.get": {"key": "hello-{{secrets.PLAIN}}.txt"},
    "s3.put": {"key": "hello-{{secrets.PLAIN}}.txt", "metadata": {"note": "{{secrets.PLAIN}}"}},
    # Secrets cannot go to another workflow.
    "workflow.run": {"inputs": {"text": "{{inputs.pin}}"}},
}
#: Inputs of the example that must stay as they are: what stands there is read, not passed on.
AS_IT_IS: Mapping[str, frozenset[str]] = {
    "ai.extract": frozenset({"schema"}),
    "data.filter": frozenset({"expression"}),
    "data.group": frozenset({"expression"}),
    "data.map": frozenset({"fields"}),
    "data.sort": frozenset({"expression"}),
    "email.send": frozenset({"to"}),
    "sql.query": frozenset({"query"}),
    "whisper.transcribe": frozenset({"language"}),
}
#: Types that cannot come to success here: they want a service that no test has, or never do.
NEVER_COMPLETE = frozenset({"flow.fail"})


class Echo(StubServer):
    """Refuses every request, and quotes it: what it asked for, with which headers and what body."""

    def answer(self, handler: Handler, request: Recorded) -> None:
        said = {"error": {"message": f"Not you: {request.headers} {request.query}"}, "headers": request.headers}
        body = json.dumps(said | {"query": request.query, "body": request.body.decode("utf-8", "replace")}).encode()
        handler.send(401, body, {"Content-Type": "application/json", "X-Echo": quote(json.dumps(request.headers))})


@dataclass(slots=True, kw_only=True)
class Canaries:
    """The installation with its canaries, and what left it."""

    world: World
    echo: Echo
    log: io.StringIO
    root: Client
    executions: list[Mapping[str, Any]] = field(default_factory=list)

    def run(self, task_type: TaskType, inputs: Mapping[str, Any]) -> str | None:
        """Run a workflow of one task; its status, ``None`` where no such workflow can be made."""
        document = {
            "title": f"Canary {task_type.name}",
            "inputs": [{"name": "pin", "type": "text", "sensitive": True}],
            "tasks": [{"name": "task", "type": task_type.name, "inputs": inputs}],
            "outputs": [{"name": "all", "type": "any", "value": "{{tasks.task.outputs}}"}],
            "monitoring": {"webhook": {"url": self.world.web.page("/hook", "thanks"), "events": HOOKED}},
        }
        if Api().raw("POST", "/workflows/validate", json.dumps(document).encode()).status_code != 200:
            return None
        execution = finished(document, {"pin": SENSITIVE})
        jobs.deliver(execution["workflow_execution_id"])
        self.executions.append(execution)
        return str(execution["status"])


HOOKED = ["started", "completed", "failed", "cancelled", "task"]


@pytest.fixture
def canaries(example_world: World, settings: Any) -> Iterator[Canaries]:
    settings.OPENAI_API_KEY = ""
    example_world.openai.key = KEY
    for name, value in (("PLAIN", PLAIN), ("ODD", ODD), ("OPENAI_API_KEY", KEY)):
        secret_store.set_secret(name=name, value=value)
    root = Client(headers={"accept": "text/html"})
    root.force_login(User.objects.create_superuser("root"))
    handler = logging.StreamHandler(log := io.StringIO())
    handler.setFormatter(LineFormatter())
    handler.addFilter(RequestIdFilter())
    logging.getLogger().addHandler(handler)
    try:
        with Echo() as echo:
            yield Canaries(world=example_world, echo=echo, log=log, root=root)
    finally:
        logging.getLogger().removeHandler(handler)


# The arrangements


def connect(world: World, kind: str, *, broken: Echo | None = None) -> None:
    """A connection ``main`` of this kind whose every secret setting is a canary; a ``broken`` one leads nowhere."""
    settings = {"sql": _sql, "slack": _slack, "email": _email, "openai": _openai, "s3": _s3}[kind](world, broken)
    secret_store.put_connection(name="main", document={"kind": kind, "settings": settings})


def _sql(world: World, broken: Echo | None) -> dict[str, Any]:
    if broken:
        return {"url": f"postgresql://reader:{PASSWORD}@127.0.0.1:{broken.port}/shop"}
    path = world.folder / f"{PASSWORD}.sqlite3"
    path.touch()
    return {"url": f"sqlite:///{path}"}


def _slack(world: World, broken: Echo | None) -> dict[str, Any]:
    path = f"/slack/{PASSWORD}"
    good = world.web.page(path, "ok", content_type="text/plain")
    return {"webhook_url": good if broken is None else f"http://127.0.0.1:{broken.port}{path}"}


def _email(world: World, broken: Echo | None) -> dict[str, Any]:
    port = free_port()
    accepts = AuthResult(success=broken is None, handled=False)  # else it would answer itself
    server = Controller(
        Sink(), hostname="127.0.0.1", port=port, authenticator=lambda *_: accepts, auth_require_tls=False
    )  # fmt: skip
    server.start()
    world.stack.callback(server.stop)
    login = {"username": "reader", "password": PASSWORD}
    return {"host": "127.0.0.1", "port": port, "security": "none", "sender": "flows@example.com"} | login


def _openai(world: World, broken: Echo | None) -> dict[str, Any]:
    base = world.openai.base_url if broken is None else f"http://127.0.0.1:{broken.port}/v1"
    return {"base_url": base, "api_key": KEY if broken is None else PASSWORD, "default_model": "gpt-test"}


def _s3(world: World, broken: Echo | None) -> dict[str, Any]:
    server = world.web if broken is None else broken
    world.web.page(f"/canary/hello-{PLAIN}.txt", "<hello/>", content_type="text/plain", etag='"1"')
    keys = {"access_key_id": "reader", "secret_access_key": PASSWORD}
    return {"bucket": "canary", "endpoint_url": f"http://127.0.0.1:{server.port}", **keys}


def kind_of(task_type: TaskType) -> str:
    """The kind of connection that a type takes, empty for one that takes none."""
    if "connection" not in {one.name for one in task_type.inputs}:
        return ""
    group = task_type.name.partition(".")[0]
    return group if group in KINDS else "openai"


def good_inputs(task_type: TaskType, world: World) -> dict[str, Any]:
    """The example with canaries behind every text in it."""
    given, good = world.inputs(task_type.example), GOOD.get(task_type.name, {})
    kept = AS_IT_IS.get(task_type.name, frozenset())
    for one in task_type.inputs:
        if one.name in given and one.name not in kept and takes_text(task_type, one.name) and not one.enum:
            given[one.name] = _behind(given[one.name])
    return given | dict(good)


def hard_inputs(task_type: TaskType, world: World, echo: Echo) -> dict[str, Any]:
    """A canary in the place of every text, and in every input that takes any; servers refuse and quote."""
    given = world.inputs(task_type.example)
    for one in task_type.inputs:
        if not takes_text(task_type, one.name) or one.enum:
            continue
        value = given.get(one.name)
        if isinstance(value, str) and value.startswith("http"):
            given[one.name] = f"http://127.0.0.1:{echo.port}/?{QUERY}"
        else:
            given[one.name] = {"object": {"a": BOTH}, "list": [BOTH]}.get(one.type, BOTH)
    return given


def takes_text(task_type: TaskType, name: str) -> bool:
    kind = next(one.type for one in task_type.inputs if one.name == name)
    return kind in ("text", "any", "object", "list") and name not in ("connection", "workflow_id")


def _behind(value: Any) -> Any:
    match value:
        case str() if value.startswith("http"):
            return f"{value}{'&' if '?' in value else '?'}{QUERY}"
        case str() if value.startswith("fl-"):
            return value
        case str():
            return f"{value} {BOTH}"
        case dict():
            return {name: _behind(inner) for name, inner in value.items()}
        case list():
            return [_behind(inner) for inner in value]
        case _:
            return value


# The search


def forms_of(value: str) -> set[str]:
    """Every form of a canary that could be found, worked out without the redactor's help."""
    data = value.encode()
    around = [
        base64.b64encode(b"?" * before + data + b"?" * after).decode() for before in range(3) for after in range(3)
    ]
    cores = {text[4 : len(text) - 4] for text in around}
    cores |= {text.replace("+", "-").replace("/", "_") for text in cores}
    quoted = {quote(value), quote(value, safe=""), quote_plus(value), html.escape(value)}
    written = {
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        json.dumps(json.dumps(value))[3:-3],
    }
    return {value, *cores, *quoted, *{one.lower() for one in quoted}, *written, repr(value)[1:-1]}


def found_in(text: str, values: tuple[str, ...]) -> list[str]:
    """Where canaries are found, with what stands around them."""
    folded = text.lower()
    return [
        text[max(0, at - 200) : at + 60]
        for value in values
        for form in forms_of(value)
        if (at := folded.find(form.lower())) >= 0
    ]


def tables() -> Iterator[tuple[str, str]]:
    """Every table as it is stored, raw."""
    for name in connection.introspection.table_names():
        with connection.cursor() as cursor:
            cursor.execute(f'SELECT * FROM "{name}"')
            yield f"table {name}", str(cursor.fetchall())


def for_people() -> Iterator[tuple[str, str]]:
    """What is stored for people only: there sensitive values are masked when they are written."""
    yield "inputs as sent", str(list(TaskRun.objects.values("inputs", "error", "reason", "log", "progress_message")))
    yield "tries", str(list(Attempt.objects.values()))
    yield "events", str(list(Event.objects.values("data")))
    yield "bodies of webhooks", str(list(Delivery.objects.values("body")))
    yield "errors", str(list(Execution.objects.values("error")))


def answers(canaries: Canaries) -> Iterator[tuple[str, str]]:
    """Every page and answer about the executions."""
    api, root = Api(), canaries.root
    for execution in canaries.executions:
        key, path = execution["workflow_execution_id"], execution["url"]
        for address in (path, f"{path}/events", f"{path}/logs", f"{path.rsplit('/', 1)[0]}"):
            yield f"GET {address}", api.get(address).content.decode()
        pages = [
            path,
            f"/pages/executions/{key}",
            f"/pages/executions/{key}/rerun",
            f"/admin/executions/execution/{key}/change/",
        ]
        pages += [f"/workflows/{execution['workflow_id']}/run?from={key}"]
        names = [f"kind=outputs&task=task&name={name}" for name in execution["tasks"][0]["outputs"] or ()]
        names += [f"kind=inputs&task=task&name={name}" for name in execution["tasks"][0]["inputs"] or ()]
        pages += [
            f"/pages/executions/{key}/value?{query}"
            for query in [*names, "kind=inputs&name=pin", "kind=outputs&name=all"]
        ]
        for run in TaskRun.objects.filter(execution=key):
            pages.append(f"/admin/executions/taskrun/{run.pk}/change/")
        for delivery in Delivery.objects.filter(execution=key):
            pages.append(f"/admin/executions/delivery/{delivery.pk}/change/")
        for page in pages:
            yield page, root.get(page).content.decode()
    for page in ("/executions", "/workflows", "/secrets", "/connections/main", "/admin/executions/secret/"):
        yield page, root.get(page).content.decode()
    for address in ("/executions", "/secrets", "/connections"):
        yield f"GET {address}", api.get(address).content.decode()


def leaks(canaries: Canaries) -> list[tuple[str, list[str]]]:
    """Everything in which a canary was found."""
    shown = [("log", canaries.log.getvalue()), *answers(canaries), *for_people()]
    shown += [
        (f"webhook {number}", request.body.decode())
        for number, request in enumerate(canaries.world.web.requests)
        if request.path == "/hook"
    ]
    found = [(where, found_in(text, (*EVERYWHERE, SENSITIVE))) for where, text in shown]
    found += [(where, found_in(text, EVERYWHERE)) for where, text in tables()]
    return [(where, places) for where, places in found if places]


# The tests


@pytest.mark.parametrize("name", list(registry.names()))
def test_nothing_leaks(name: str, canaries: Canaries) -> None:
    task_type = registry.get(name)
    assert task_type is not None
    if said := task_type.missing():
        pytest.skip(said)
    world, kind = canaries.world, kind_of(task_type)
    if needs_connection := kind and "connection" in task_type.example:
        connect(world, kind)
    canaries.run(task_type, good_inputs(task_type, world))
    if kind and not needs_connection:
        connect(world, kind)
        canaries.run(task_type, good_inputs(task_type, world) | {"connection": "main"})
    good = list(canaries.executions)
    sent = json.dumps([execution["tasks"][0]["inputs"] for execution in good])
    # Else the test would show nothing. A type that takes a file and no text has its canaries in the second run.
    assert MASK in sent or "{{" not in json.dumps(good_inputs(task_type, world))
    world.openai.script(*[error(401, f"Incorrect API key provided: {KEY}.", code="invalid_api_key")] * 3)
    canaries.run(task_type, hard_inputs(task_type, world, canaries.echo))
    if kind:
        connect(world, kind, broken=canaries.echo)
        inputs = good_inputs(task_type, world) | {"connection": "main"}
        assert canaries.run(task_type, inputs) == "FAILED"
    assert leaks(canaries) == []
    ended = {execution["status"]: execution["error"] for execution in good}
    wanted = "FAILED" if name in NEVER_COMPLETE else "COMPLETED"
    assert ended.keys() == {wanted}, (ended, "add what it needs to GOOD, or to NEVER_COMPLETE with the reason")


def test_the_search_finds_what_is_there(canaries: Canaries) -> None:
    """Else everything above would pass with a search that finds nothing."""
    for value in (*EVERYWHERE, SENSITIVE):
        data = value.encode()
        for text in (
            value,
            quote(value, safe=""),
            json.dumps({"a": value}),
            base64.b64encode(b"xy" + data + b"z").decode(),
        ):
            assert found_in(f"before {text} after", (value,)), text
    Event.objects.bulk_create([])
    User.objects.create_user(PLAIN)
    assert any(found_in(text, (PLAIN,)) for _, text in tables())
    assert {model._meta.db_table for model in apps.get_models()} <= {name.split(" ")[1] for name, _ in tables()}
    logging.getLogger("canary").error("this is %s", "kept out of the log: " + KEY)
    assert "kept out of the log: ***" in canaries.log.getvalue()
