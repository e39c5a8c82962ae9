"""Whole executions through real processes: waiting, branches, timeouts, cancel, providers, webhooks."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import imageio_ffmpeg
import pytest
from standardwebhooks.webhooks import Webhook

from tests.plugins.stack import ROOT, Stack, wait_until
from tests.stack_driver import Installation, download
from tests.stubs.openai_stub import KEY, OpenAIStub, rate_limited
from tests.stubs.server import Handler, Recorded
from tests.stubs.watched_stub import WatchedStub
from tests.stubs.web_stub import Page

pytestmark = [pytest.mark.slow, pytest.mark.processes]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SUMMARY = [
    download("page", "{{inputs.url}}"),
    {"name": "text", "type": "web.extract_text", "inputs": {"html": "{{tasks.page.outputs.html}}"}},
    {
        "name": "summary",
        "type": "openai.completion",
        "inputs": {"text": "{{tasks.text.outputs.text}}", "prompt": "Summarise"},
        "retry": {"attempts": 3, "delay": 0.1},
    },
]
SUMMARY_FIELDS = {
    "inputs": [{"name": "url", "type": "text"}],
    "outputs": [{"name": "summary", "type": "text", "value": "{{tasks.summary.outputs.completion}}"}],
}


# --- many at once ---
def test_fifty_executions_wait_at_the_same_time(stack: Installation, web: WatchedStub) -> None:
    workflow = stack.workflow(download("page", web.url("/held/{{execution.id}}")))
    executions = [stack.start(workflow) for _ in range(50)]
    wait_until(lambda: web.now == 50, timeout=20, what="all fifty wait for the web server")
    web.release()
    stack.all_end(executions)
    assert stack.statuses(executions) == {"COMPLETED"}
    assert len(web.requests) == 50


def test_tasks_with_files_hold_no_database_connection_while_they_wait(stack: Installation, openai: OpenAIStub) -> None:
    """More transcriptions at once than the worker processes have connections."""
    waiting, go_on = threading.Semaphore(0), threading.Event()

    def slow(stub: OpenAIStub, handler: Handler, request: Recorded) -> None:
        waiting.release()
        go_on.wait(25)
        stub.answer_well(handler, request)

    file = stack.stack.request(
        "POST", "/files", files={"file": ("talk.mp3", b"ID3" + b"x" * 1000, "audio/mpeg")}
    ).json()
    tasks = {"name": "hear", "type": "openai.audio.transcription", "inputs": {"file": "{{inputs.file}}"}}
    workflow = stack.workflow(tasks, inputs=[{"name": "file", "type": "file"}])
    openai.script(*[slow] * 30)
    executions = [stack.start(workflow, key=KEY, inputs={"file": file["file_id"]}) for _ in range(30)]
    try:
        assert all(waiting.acquire(timeout=20) for _ in executions), "not all wait for the provider at the same time"
    finally:
        go_on.set()
    stack.all_end(executions)
    assert stack.statuses(executions) == {"COMPLETED"}


def test_branches_overlap(stack: Installation, web: WatchedStub) -> None:
    """The page is only answered when four wait for it."""
    branches = [download(name, web.url("/meet/4/page"), depends_on=[]) for name in "abcd"]
    ended = stack.end_of(stack.run(*branches, download("join", web.url("/counted/join"), depends_on=list("abcd"))))
    assert ended["status"] == "COMPLETED"
    assert web.most == 4
    started = {task["name"]: task["started_at"] for task in ended["tasks"]}
    assert started["join"] >= max(task["completed_at"] for task in ended["tasks"] if task["name"] != "join")


# --- interruptions ---
def test_a_timeout_interrupts_a_page_that_hangs(stack: Installation, web: WatchedStub) -> None:
    ended = stack.end_of(stack.run(download("page", web.url("/watched/t"), timeout=0.5)), timeout=10)
    assert (ended["status"], ended["error"]["code"], ended["error"]["task"]) == ("FAILED", "timeout", "page")
    wait_until(lambda: "/watched/t" in web.hung_up, timeout=2, what="the connection is dropped")


def test_the_workflows_timeout_interrupts_too(stack: Installation, web: WatchedStub) -> None:
    started = stack.run(download("page", web.url("/watched/w")), download("next", web.url("/counted/n")), timeout=1)
    ended = stack.end_of(started, timeout=10)
    assert (ended["status"], ended["error"]["code"]) == ("FAILED", "timeout")
    wait_until(lambda: "/watched/w" in web.hung_up, timeout=3, what="the connection is dropped")
    assert web.count("/counted/n") == 0


def test_cancel_interrupts_within_two_seconds(stack: Installation, web: WatchedStub) -> None:
    started = stack.run(download("page", web.url("/watched/c")), download("next", web.url("/counted/n")))
    wait_until(lambda: web.count("/watched/c"), timeout=10, what="it runs")
    asked = time.monotonic()
    stack.cancel(started)
    state = stack.state(started)
    assert (state["status"], [task["status"] for task in state["tasks"]]) == ("CANCELLED", ["CANCELLED"] * 2)
    wait_until(lambda: "/watched/c" in web.hung_up, timeout=5, what="the connection is dropped")
    assert web.hung_up["/watched/c"] - asked < 2
    assert stack.state(started)["status"] == "CANCELLED"
    assert web.count("/counted/n") == 0


def test_cancel_interrupts_an_input_that_is_fetched(stack: Installation, web: WatchedStub) -> None:
    task = {"name": "a", "type": "text.static", "inputs": {"text": "x"}}
    workflow = stack.workflow(task, inputs=[{"name": "f", "type": "file"}])
    started = stack.start(workflow, inputs={"f": {"url": web.url("/watched/f")}})
    wait_until(lambda: web.count("/watched/f"), timeout=10, what="it is fetched")
    asked = time.monotonic()
    stack.cancel(started)
    wait_until(lambda: "/watched/f" in web.hung_up, timeout=5, what="the connection is dropped")
    assert web.hung_up["/watched/f"] - asked < 2
    assert stack.state(started)["status"] == "CANCELLED"


def test_a_failed_branch_interrupts_the_others(stack: Installation, web: WatchedStub) -> None:
    good = download("good", web.url("/watched/g"), depends_on=[])
    bad = download("bad", web.url("/meet/1/x"), depends_on=[], condition="{{true}}") | {
        "inputs": {"url": web.url("/status?code=404")}
    }
    ended = stack.end_of(stack.run(good, bad))
    assert (ended["status"], ended["error"]["task"]) == ("FAILED", "bad")
    if web.count("/watched/g"):
        wait_until(lambda: "/watched/g" in web.hung_up, timeout=5, what="the other branch is interrupted")


# --- failures that are not the end ---
def test_fallback_and_continue_on_failure(stack: Installation, web: WatchedStub) -> None:
    spare = {"task": "web.download", "inputs": {"url": web.page("/spare", "<p>spare</p>")}}
    ended = stack.end_of(
        stack.run(
            download("a", web.url("/status?code=503"), retry={"attempts": 1, "delay": 0.1}, fallback=spare),
            download("b", web.url("/missing"), continue_on_failure=True),
            {"name": "c", "type": "text.echo", "inputs": {"text": "{{tasks.a.outputs.html}}"}},
            outputs=[
                {"name": "page", "type": "text", "value": "{{tasks.c.outputs.text}}"},
                {"name": "gone", "type": "text", "value": "{{tasks.b.outputs.html}}"},
            ],
        )
    )
    assert (ended["status"], ended["outputs"]) == ("COMPLETED", {"page": "<p>spare</p>", "gone": None})
    a, b, c = ended["tasks"]
    assert [(task["status"], len(task["attempts"])) for task in (a, b, c)] == [
        ("COMPLETED", 3),
        ("FAILED", 1),
        ("COMPLETED", 1),
    ]
    assert web.counts() == {"/status": 2, "/spare": 1, "/missing": 1}


# --- providers ---
def test_a_summary_after_a_429(stack: Installation, web: WatchedStub, openai: OpenAIStub) -> None:
    openai.script(rate_limited(1))
    seen = len(openai.requests)
    url = web.page("/article", "<html><body><main><p>Rain is expected in the north tomorrow.</p></main></body></html>")
    started = stack.start(stack.workflow(*SUMMARY, **SUMMARY_FIELDS), key=KEY, inputs={"url": url})
    ended = stack.end_of(started)
    assert ended["status"] == "COMPLETED", ended["error"]
    assert "Rain is expected" in ended["outputs"]["summary"]
    asked = openai.requests[seen:]
    assert [request.headers["authorization"] for request in asked] == [f"Bearer {KEY}"] * 2
    first, second = ended["tasks"][2]["attempts"]
    assert (first["error"]["code"], first["error"]["retry_after"]) == ("rate_limited", 1)
    assert (second["status"], web.count("/article")) == ("COMPLETED", 1)
    assert stack.sql(f"SELECT secrets FROM executions_execution WHERE id = '{started.id}'") == [("",)]
    assert KEY not in json.dumps(ended)


def test_a_wrong_key_is_not_tried_again(stack: Installation, web: WatchedStub, openai: OpenAIStub) -> None:
    seen = len(openai.requests)
    url = web.page("/article", "<html><body><main><p>Rain is expected.</p></main></body></html>")
    started = stack.start(stack.workflow(*SUMMARY, **SUMMARY_FIELDS), key="sk-wrong-key", inputs={"url": url})
    ended = stack.end_of(started)
    assert (ended["status"], ended["error"]["code"], ended["error"]["task"]) == ("FAILED", "authentication", "summary")
    assert len(ended["tasks"][2]["attempts"]) == 1
    assert [request.headers["authorization"] for request in openai.requests[seen:]] == ["Bearer sk-wrong-key"]
    assert stack.sql(f"SELECT secrets FROM executions_execution WHERE id = '{started.id}'") == [("",)]


def test_hello_world_makes_audible_speech(shared_stack: Stack, tmp_path: Any) -> None:
    installation = Installation(shared_stack)
    document = json.loads((ROOT / "examples" / "hello-world.json").read_text())
    workflow = shared_stack.post("/workflows", document)["workflow_id"]
    started = installation.start(workflow, inputs={document["inputs"][0]["name"]: "Hello, world"})
    ended = installation.end_of(started, timeout=60)
    assert ended["status"] == "COMPLETED", ended["error"]
    audio = next(value for value in ended["outputs"].values() if isinstance(value, dict))
    sound = shared_stack.request("GET", audio["url"]).content
    assert len(sound) == audio["size"]
    (tmp_path / "speech").write_bytes(sound)
    decode = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(tmp_path / "speech")]
    samples = subprocess.run(
        [*decode, "-f", "s16le", "-ac", "1", "-ar", "8000", "-"], capture_output=True, check=True
    ).stdout
    assert len(samples) / 2 / 8000 > 0.5
    loudest = max(abs(int.from_bytes(samples[at : at + 2], "little", signed=True)) for at in range(0, len(samples), 2))
    assert loudest > 1000


# --- webhooks ---
@pytest.fixture
def silent() -> Iterator[WatchedStub]:
    """A receiver that takes messages and never answers."""
    with WatchedStub() as stub:
        yield stub


def test_webhooks_come_in_order_signed_and_again_after_a_500(
    stack: Installation, web: WatchedStub, silent: WatchedStub
) -> None:
    hook = web.script("/hook", [Page(status=500), Page()])
    dead = stack.workflow(download("page", web.url("/counted/dead")), monitoring={"webhook_url": silent.url("/hang")})
    good = stack.workflow(download("page", web.url("/counted/good")))
    slow_ones = [stack.start(dead) for _ in range(4)]
    started = stack.start(good, monitoring={"webhook": {"url": hook, "secret": SECRET}})
    assert stack.end_of(started, timeout=10)["status"] == "COMPLETED"
    stack.all_end(slow_ones, timeout=10)  # while nobody answers their webhooks
    wait_until(lambda: web.count("/hook") == 3, timeout=20, what="both messages come, the first one twice")
    messages = [request for request in web.requests if request.path == "/hook"]
    said = [Webhook(SECRET).verify(request.body, request.headers) for request in messages]
    assert [body["type"] for body in said] == ["execution.started", "execution.started", "execution.completed"]
    assert messages[0].body == messages[1].body
    assert len({request.headers["webhook-id"] for request in messages}) == 2
    assert said[0]["sequence"] < said[2]["sequence"]
    wait_until(lambda: _delivered(stack, started.id) == 2, timeout=5, what="both are recorded as delivered")
    assert silent.count("/hang") >= 2


def _delivered(stack: Installation, execution: str) -> int:
    found = f"SELECT count(*) FROM executions_delivery WHERE execution_id = '{execution}' AND status = 'DELIVERED'"
    return int(stack.sql(found)[0][0])
