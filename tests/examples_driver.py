"""Runs the example of a task type as its page offers it: a workflow of one task, real engine, servers on loopback."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink

from dataflow.preparation import example_documents
from executions.models import Execution, TaskRun
from executions.samples import FOLDER, SAMPLE_WORKFLOWS, SAMPLES, keep_samples
from executions.worker.node import Node
from tasks_lib.base import TaskType
from tests.api_client import Api
from tests.carrier_driver import go_on
from tests.executions_driver import age_due_times, age_wake
from tests.plugins.stack import free_port
from tests.stubs.openai_stub import KEY, OpenAIStub
from tests.stubs.web_stub import WebStub
from workflows.services import create_workflow

#: Beginnings of the URLs in examples that a stand-in answers for, and where on it.
OUTSIDE = {"https://example.com": "", "https://www.youtube.com/watch": "/watch.mp4"}
#: Rounds of a worker that an example may take: a wait, an approval, a few other executions.
MAX_ROUNDS = 20
ENDED = {"COMPLETED", "FAILED", "CANCELLED"}
PAGE = (
    "<html lang='en'><head><title>Example</title></head><body><main><h1>Example</h1>"
    "<p>This page stands in for a page of somebody else.</p></main></body></html>"
)
FEED = (
    '<?xml version="1.0"?><rss version="2.0"><channel><title>News</title><link>https://example.com/</link>'
    "<description>What is new</description><item><title>First</title><link>https://example.com/1</link>"
    "<guid>1</guid><pubDate>Mon, 23 Nov 2026 08:00:00 GMT</pubDate><description>One</description></item>"
    "</channel></rss>"
)
#: What the stand-in gives for a path with such an ending; a page for any other.
CONTENT = {
    ".json": (b'{"ok": true}', "application/json"),
    ".xml": (FEED.encode(), "application/rss+xml"),
    ".rss": (FEED.encode(), "application/rss+xml"),
    **{
        PurePosixPath(name).suffix: ((FOLDER / name).read_bytes(), content_type)
        for name, content_type in SAMPLES.values()
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What examples find outside."""

    web: WebStub
    openai: OpenAIStub
    folder: Path
    stack: ExitStack

    def connect(self, task_type: TaskType) -> None:
        """Make the connection that the example names, of the kind of its group."""
        if (name := task_type.example.get("connection")) is None:
            return
        kind = task_type.name.partition(".")[0]
        document = {"kind": kind, "settings": getattr(self, f"_{kind}")()}
        Api().call("PUT", f"/connections/{name}", document, status=201)

    def _sql(self) -> dict[str, Any]:
        path = self.folder / "example.sqlite3"
        sqlite3.connect(path).close()
        return {"url": f"sqlite:///{path}"}

    def _slack(self) -> dict[str, Any]:
        return {"webhook_url": self.web.page("/slack", "ok", content_type="text/plain")}

    def _s3(self) -> dict[str, Any]:
        """A bucket that has the one object, and takes it. The protocol's fine points are tested with the types."""
        # The same answer to both: as the content of an object, and as the XML that an answer may hold.
        self.web.page("/examples/hello.txt", "<hello/>", content_type="text/plain", etag='"1"')
        keys = {"access_key_id": "key-id", "secret_access_key": "not-a-secret"}
        return {"bucket": "examples", "endpoint_url": self.web.url("")} | keys

    def _email(self) -> dict[str, Any]:
        port = free_port()
        server = Controller(Sink(), hostname="127.0.0.1", port=port)
        server.start()
        self.stack.callback(server.stop)
        return {"host": "127.0.0.1", "port": port, "security": "none", "sender": "flows@example.com"}

    def inputs(self, example: Mapping[str, Any]) -> dict[str, Any]:
        """The example with every ``https://example.com/…`` on the stand-in, which has something there."""
        return {name: self._local(value) for name, value in example.items()}

    def _local(self, value: Any) -> Any:
        match value:
            case str() if begin := next((one for one in OUTSIDE if value.startswith(one)), ""):
                address = OUTSIDE[begin] + value.removeprefix(begin) or "/"
                path = urlsplit(address).path
                body, content_type = CONTENT.get(PurePosixPath(path).suffix, (PAGE.encode(), "text/html"))
                self.web.page(path, body, content_type=content_type)
                return self.web.url(address)
            case dict():
                return {name: self._local(inner) for name, inner in value.items()}
            case list():
                return [self._local(inner) for inner in value]
            case _:
                return value


@pytest.fixture
def example_world(settings: Any, tmp_path: Path) -> Iterator[World]:
    """Sample files and the sample workflow, a web site, and a server that speaks the OpenAI protocol."""
    keep_samples()
    documents = example_documents()
    for name, workflow_id in SAMPLE_WORKFLOWS.items():
        create_workflow(document=documents[name], workflow_id=workflow_id)
    with WebStub() as web, OpenAIStub(key=KEY) as openai, ExitStack() as stack:
        settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY = openai.base_url, KEY
        yield World(web=web, openai=openai, folder=tmp_path, stack=stack)


def document_of(task_type: TaskType, world: World, *, spelling: str = "") -> dict[str, Any]:
    """A workflow of one task that has exactly the example as its inputs."""
    world.connect(task_type)
    task = {"name": "example", "type": spelling or task_type.name, "inputs": world.inputs(task_type.example)}
    return {"title": f"Example of {task_type.name}", "tasks": [task]}


def finished(document: Mapping[str, Any], inputs: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Create the workflow, start it with ``inputs``, and work until it has ended: the execution as the API shows it."""
    api = Api()
    workflow = api.call("POST", "/workflows", document, status=201)["workflow_id"]
    base = f"/workflows/{workflow}/executions"
    started = api.call("POST", base, {"inputs": inputs or {}}, status=201)["workflow_execution_id"]
    for _ in range(MAX_ROUNDS):
        go_on(Node(threads=1).run)
        shown: dict[str, Any] = api.call("GET", f"{base}/{started}", status=200)
        if shown["status"] in ENDED:
            return shown
        _let_pass(api, base, started)
    raise AssertionError(f"It has not ended: {json.dumps(shown)[:2000]}")


def outputs_of(execution: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs of its one task."""
    (task,) = execution["tasks"]
    outputs: dict[str, Any] = task["outputs"]
    return outputs


def _let_pass(api: Api, base: str, execution_id: str) -> None:
    """What the execution waits for comes: a person approves, time passes."""
    execution = Execution.objects.get(pk=execution_id)
    for run in TaskRun.objects.filter(execution=execution, status="WAITING"):
        if run.waiting["for"] == "approval":
            api.call("POST", f"{base}/{execution_id}/tasks/{run.name}/approve", {}, status=202)
        elif run.due_at is not None:
            age_due_times(execution)
            age_wake(execution, seconds=3600)
