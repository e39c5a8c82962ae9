"""``openai.completion`` as a stream, and ``openai.chat`` with tools, against a server that speaks the protocol."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dataflow.lib.errors import TaskError
from tasks_lib import conversation, registry
from tasks_lib.base import MISSING, Resumed, Wait
from tests.stubs import openai_stub
from tests.stubs.context import StubContext, run, start
from tests.stubs.openai_stub import KEY, Answer, OpenAIStub

COMPLETION = registry.load().types["openai.completion"]
CHAT = registry.load().types["openai.chat"]
ASK = {"text": "It rained.", "prompt": "Translate"}
HELLO = [{"role": "user", "content": "Hello"}]
LOOK_UP = {
    "workflow": "wf-customers",
    "name": "look_up",
    "description": "Looks a customer up",
    "parameters": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
}
ADD = {"workflow": "wf-add"}


@pytest.fixture
def server() -> Iterator[OpenAIStub]:
    with OpenAIStub() as stub:
        yield stub


@pytest.fixture
def context(server: OpenAIStub, tmp_path: Path) -> StubContext:
    return StubContext(
        tmp_path / "files",
        openai_base_url=server.base_url,
        secrets={"OPENAI_API_KEY": KEY},
        workflows={"wf-add": {"type": "object", "properties": {"a": {"type": "number"}}}},
    )


def sent(server: OpenAIStub, index: int = -1) -> dict[str, Any]:
    return dict(json.loads(server.requests[index].body))


def failure(task_type: Any, context: StubContext, **inputs: Any) -> TaskError:
    with pytest.raises(TaskError) as raised:
        start(task_type, context, **inputs)
    return raised.value


def wait(context: StubContext, **inputs: Any) -> Wait:
    waits = start(CHAT, context, **inputs)
    assert isinstance(waits, Wait)
    assert waits.kind == "child"
    return waits


def after(context: StubContext, waits: Wait, outputs: Mapping[str, Any] | None, **how: Any) -> StubContext:
    """The context of the next call, when the child has ended. The state has been kept as JSON."""
    state = json.loads(json.dumps(waits.state))
    told = {"status": "COMPLETED", "error": None, "execution_id": "we-child"} | how
    context.resumed = Resumed(state=state, outputs=outputs, **told)
    return context


def test_it_streams_and_tells_progress(server: OpenAIStub, context: StubContext) -> None:
    server.script(openai_stub.completion("x" * 40))
    outputs = run(COMPLETION, context, **ASK, max_tokens=20)
    assert outputs["completion"] == "x" * 40
    assert (sent(server)["stream"], sent(server)["stream_options"]) == (True, {"include_usage": True})
    assert (0.5, "40 characters") in context.progressed
    assert [fraction for fraction, _ in context.progressed] == sorted(fraction for fraction, _ in context.progressed)


def test_progress_without_a_limit_never_ends(server: OpenAIStub, context: StubContext) -> None:
    server.script(openai_stub.completion("x" * 5000))
    run(COMPLETION, context, **ASK)
    assert context.progressed[-1][1] == "5,000 characters"
    assert 0.6 < context.progressed[-1][0] < 0.8


def test_a_server_without_streams(server: OpenAIStub, context: StubContext) -> None:
    server.script(openai_stub.NO_STREAM)
    outputs = run(COMPLETION, context, **ASK)
    assert outputs["completion"] == "Translate: It rained."
    assert context.used["output_tokens"] == 7


def test_a_server_that_refuses_streams(server: OpenAIStub, context: StubContext) -> None:
    server.script(openai_stub.error(400, "Unknown parameter: stream_options"))
    assert run(COMPLETION, context, **ASK)["completion"] == "Translate: It rained."
    assert "stream" not in sent(server)
    assert len(server.requests) == 2


def chunk(**delta: Any) -> dict[str, Any]:
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": delta.pop("end", None)}]}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (openai_stub.CUT_STREAM, "communication"),
        (openai_stub.SHORT_STREAM, "communication"),
        (openai_stub.events(), "communication"),
        (
            openai_stub.events(chunk(content="a"), {"error": {"message": "overloaded", "type": "server"}}),
            "provider_error",
        ),
        (
            openai_stub.events({"error": {"message": "slow down", "code": "rate_limit_exceeded", "type": "requests"}}),
            "rate_limited",
        ),
        (openai_stub.events([1]), "provider_error"),
        (openai_stub.events("text"), "provider_error"),
        (openai_stub.events(chunk(tool_calls=[{"index": 0}])), "provider_error"),
        (openai_stub.events(chunk(tool_calls=[{"index": 0, "function": {}}], end="tool_calls")), "provider_error"),
        (
            openai_stub.events(
                chunk(tool_calls=[{"index": at, "function": {"name": "f"}} for at in range(500)], end="tool_calls")
            ),
            "provider_error",
        ),
    ],
)
def test_streams_that_go_wrong(server: OpenAIStub, context: StubContext, answer: Answer, code: str) -> None:
    server.script(answer)
    error = failure(COMPLETION, context, **ASK)
    assert (error.code, error.retryable) == (code, True), error.message
    assert KEY not in error.message


def test_a_stream_that_is_no_json(server: OpenAIStub, context: StubContext) -> None:
    server.script(lambda _stub, handler, _request: handler.send_chunks(200, openai_stub.EVENTS, [b"data: {x\n\n"]))
    error = failure(COMPLETION, context, **ASK)
    assert (error.code, error.retryable) == ("provider_error", True)


def test_a_refusal_in_a_stream(server: OpenAIStub, context: StubContext) -> None:
    server.script(openai_stub.completion(None, refusal="I will not."))
    error = failure(COMPLETION, context, **ASK)
    assert (error.code, error.retryable) == ("content_refused", False)
    assert "I will not." in error.message
    assert context.used["input_tokens"] == 11, "a refusal is paid"


def test_cancelling_ends_a_slow_stream(server: OpenAIStub, context: StubContext) -> None:
    run(COMPLETION, context, **ASK)  # the package is imported now
    server.script(openai_stub.events(*[chunk(content="a")] * 200, seconds=0.1))
    stopped: list[float] = []

    def stop() -> None:
        stopped.append(time.monotonic())
        context.cancellation.stop(TaskError("cancelled", "stop"))

    threading.Timer(0.4, stop).start()
    assert failure(COMPLETION, context, **ASK).code == "cancelled"
    assert time.monotonic() - stopped[0] < 1


def test_fenced_json(server: OpenAIStub, context: StubContext) -> None:
    server.script(openai_stub.completion('```json\n{"a": 1}\n```'))
    assert run(COMPLETION, context, **ASK, response_schema={"type": "object"})["json"] == {"a": 1}


def test_chat(server: OpenAIStub, context: StubContext) -> None:
    outputs = run(CHAT, context, messages=[{"role": "system", "content": "Echo"}, *HELLO])
    assert outputs["message"] == "Echo: Hello"
    assert outputs["messages"][-1] == {"role": "assistant", "content": "Echo: Hello"}
    assert (outputs["turns"], outputs["tool_calls"], outputs["finish_reason"]) == (1, [], "stop")
    assert outputs["usage"] == {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    assert "tools" not in sent(server)
    assert context.used == {"model": "gpt-4o-mini", "input_tokens": 11, "output_tokens": 7, "cached_tokens": 3}


def test_chat_with_a_picture(server: OpenAIStub, context: StubContext) -> None:
    picture = context.files.add("photo.txt", "text/plain", openai_stub.picture())
    content = [{"type": "text", "text": "What is it?"}, {"type": "image", "image": picture}]
    outputs = run(CHAT, context, messages=[{"role": "user", "content": content}])
    url = sent(server)["messages"][0]["content"][1]["image_url"]["url"]
    assert url.startswith("data:image/png;base64,iVBOR")
    assert outputs["messages"][0]["content"] == content, "files stay references"


def test_a_picture_that_is_none(server: OpenAIStub, context: StubContext) -> None:
    picture = context.files.add("photo.png", "image/png", b"<svg></svg>")
    messages = [{"role": "user", "content": [{"type": "image", "image": picture}]}]
    assert failure(CHAT, context, messages=messages).code == "validation"
    assert server.requests == []


def test_pictures_are_bounded(server: OpenAIStub, context: StubContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "MAX_IMAGES", 100)
    picture = context.files.add("photo.png", "image/png", openai_stub.picture())
    messages = [{"role": "user", "content": [{"type": "image", "image": picture}] * 2}]
    assert failure(CHAT, context, messages=messages).code == "too_large"


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "1 to 1000"),
        (["hello"], "messages[0]"),
        ([{"role": "robot", "content": "x"}], "role"),
        ([*HELLO, {"role": "user"}], "messages[1]"),
        ([{"role": "user", "content": []}], "content"),
        ([{"role": "user", "content": [{"type": "image", "image": {}}]}], "content[0]"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc"}}]}], "content[0]"),
        ([{"role": "tool", "content": "x"}], "role"),
    ],
)
def test_messages_that_are_refused(server: OpenAIStub, context: StubContext, messages: Any, said: str) -> None:
    error = failure(CHAT, context, messages=messages)
    assert (error.code, error.retryable) == ("validation", False)
    assert said in error.message
    assert server.requests == []
    assert [name for name, _ in CHAT.check({"messages": messages})] == ["messages"]


@pytest.mark.parametrize(
    ("tool", "said"),
    [
        ("wf-1", "object"),
        ({}, "workflow"),
        ({"workflow": "wf 1"}, "name"),
        ({"workflow": "wf-1", "name": "a b"}, "name"),
        ({"workflow": "wf-1", "extra": 1}, "extra"),
        ({"workflow": "wf-1", "parameters": {"type": "array"}}, "parameters"),
        ({"workflow": "wf-1", "parameters": {"type": "object", "required": 1}}, "JSON schema"),
        ({"workflow": "wf-1", "version": 0}, "version"),
        ({"workflow": "wf-1", "description": ["x"]}, "description"),
    ],
)
def test_tools_that_are_refused(context: StubContext, tool: Any, said: str) -> None:
    error = failure(CHAT, context, messages=HELLO, tools=[tool])
    assert (error.code, error.retryable) == ("validation", False)
    assert said in error.message
    assert "tools[0]" in error.message


def test_two_tools_of_one_name(context: StubContext) -> None:
    assert "two tools" in failure(CHAT, context, messages=HELLO, tools=[ADD, ADD]).message


def test_what_is_decided_later_is_not_checked() -> None:
    assert list(CHAT.check({"messages": MISSING, "tools": None})) == []


def test_a_tool_is_a_child_execution(server: OpenAIStub, context: StubContext) -> None:
    server.script(openai_stub.tool_calls(("look_up", {"name": "Ann"})))
    given = {"messages": HELLO, "tools": [LOOK_UP, ADD]}
    waits = wait(context, **given)
    assert waits.data == {"workflow_id": "wf-customers", "inputs": {"name": "Ann"}, "version": None}
    told = [tool["function"] for tool in sent(server)["tools"]]
    assert [tool["name"] for tool in told] == ["look_up", "wf-add"]
    assert told[0]["parameters"] == LOOK_UP["parameters"]
    assert told[1]["parameters"] == context.workflows["wf-add"], "as the workflow declares them"

    photo = {"file_id": "fl-1", "name": "ann.png"}
    outputs = run(CHAT, after(context, waits, {"age": 40, "photo": photo}), **given)
    assert outputs["turns"] == 2
    assert outputs["tool_calls"] == [
        {
            "name": "look_up",
            "workflow_id": "wf-customers",
            "arguments": {"name": "Ann"},
            "status": "COMPLETED",
            "execution_id": "we-child",
        }
    ]
    roles = [message["role"] for message in sent(server)["messages"]]
    assert roles == ["user", "assistant", "tool"]
    assert json.loads(sent(server)["messages"][2]["content"]) == {"age": 40, "photo": photo}
    assert [message["role"] for message in outputs["messages"]] == [*roles, "assistant"]
    assert outputs["usage"]["total_tokens"] == 36


def test_several_calls_run_one_after_the_other(server: OpenAIStub, context: StubContext) -> None:
    server.script(openai_stub.tool_calls(("wf-add", {"a": 1}), ("wf-add", {"a": 2}), text="A moment"))
    given = {"messages": HELLO, "tools": [ADD]}
    first = wait(context, **given)
    second = wait(after(context, first, {"sum": 1}), **given)
    assert (first.data["inputs"], second.data["inputs"]) == ({"a": 1}, {"a": 2})
    assert len(server.requests) == 1
    outputs = run(CHAT, after(context, second, {"sum": 2}), **given)
    contents = [message["content"] for message in sent(server)["messages"] if message["role"] == "tool"]
    assert contents == ['{"sum": 1}', '{"sum": 2}']
    assert [call["status"] for call in outputs["tool_calls"]] == ["COMPLETED"] * 2


@pytest.mark.parametrize("status", ["FAILED", "CANCELLED"])
def test_a_child_that_failed_is_told(server: OpenAIStub, context: StubContext, status: str) -> None:
    server.script(openai_stub.tool_calls(("wf-add", {})))
    given = {"messages": HELLO, "tools": [ADD]}
    waits = wait(context, **given)
    error = {"code": "timeout", "message": "It took too long."} if status == "FAILED" else None
    outputs = run(CHAT, after(context, waits, None, status=status, error=error, execution_id=""), **given)
    told = json.loads(sent(server)["messages"][-1]["content"])["error"]
    assert told["code"] == ("timeout" if status == "FAILED" else "cancelled")
    assert (outputs["tool_calls"][0]["status"], outputs["tool_calls"][0]["execution_id"]) == (status, None)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("look_up", "{", "not JSON"),
        ("look_up", "[1]", "object"),
        ("look_up", {"name": 5}, "do not fit"),
        ("look_up", {}, "do not fit"),
        ("look_down", {}, "no such tool"),
    ],
)
def test_calls_that_cannot_be_made(
    server: OpenAIStub, context: StubContext, name: str, arguments: Any, said: str
) -> None:
    server.script(openai_stub.tool_calls((name, arguments)))
    outputs = run(CHAT, context, messages=HELLO, tools=[LOOK_UP])
    assert said in sent(server)["messages"][-1]["content"]
    assert outputs["tool_calls"][0]["status"] == "REFUSED"
    assert outputs["turns"] == 2


def test_turns_are_bounded(server: OpenAIStub, context: StubContext) -> None:
    server.script(*[openai_stub.tool_calls(("look_up", "{"))] * 3)
    error = failure(CHAT, context, messages=HELLO, tools=[LOOK_UP], max_turns=3)
    assert (error.code, error.retryable) == ("output_invalid", True)
    assert "max_turns" in error.message
    assert [sent(server, at).get("tool_choice") for at in range(3)] == [None, None, "none"]
    assert context.used["input_tokens"] == 33


def test_calls_of_one_id(server: OpenAIStub, context: StubContext) -> None:
    call = {"id": "same", "type": "function", "function": {"name": "wf-add", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call, call]}
    server.script(openai_stub.reply({"model": "m", "choices": [{"message": message, "finish_reason": "tool_calls"}]}))
    given = {"messages": HELLO, "tools": [ADD]}
    second = wait(after(context, wait(context, **given), {}), **given)
    assert run(CHAT, after(context, second, {}), **given)["turns"] == 2


def test_the_state_is_bounded(server: OpenAIStub, context: StubContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "MAX_STATE", 500)
    server.script(openai_stub.tool_calls(("wf-add", {}), text="x" * 500))
    error = failure(CHAT, context, messages=HELLO, tools=[ADD])
    assert (error.code, error.retryable) == ("too_large", False)


def test_what_was_given_is_not_kept(server: OpenAIStub, context: StubContext) -> None:
    """It comes again, may have secrets in it, and is no part of what is bounded."""
    server.script(openai_stub.tool_calls(("wf-add", {})))
    given = {"messages": [{"role": "user", "content": "canary" * 300_000}], "tools": [ADD]}
    waits = wait(context, **given)
    assert "canary" not in json.dumps(waits.state)
    outputs = run(CHAT, after(context, waits, {}), **given)
    assert outputs["messages"][0] == given["messages"][0]


def test_a_state_may_be_used_twice(server: OpenAIStub, context: StubContext) -> None:
    """Another try begins from the very same one."""
    given = {"messages": HELLO, "tools": [ADD]}
    server.script(openai_stub.tool_calls(("wf-add", {})), openai_stub.error(500))
    waits = wait(context, **given)
    context.resumed = Resumed(state=waits.state or {}, status="COMPLETED", outputs={}, error=None)
    assert failure(CHAT, context, **given).code == "provider_error"
    assert run(CHAT, context, **given)["turns"] == 2


def test_a_long_result_is_cut(server: OpenAIStub, context: StubContext) -> None:
    server.script(openai_stub.tool_calls(("wf-add", {})))
    given = {"messages": HELLO, "tools": [ADD]}
    waits = wait(context, **given)
    run(CHAT, after(context, waits, {"text": "x" * 200_000}), **given)
    content = sent(server)["messages"][-1]["content"]
    assert len(content) < conversation.MAX_RESULT + 100
    assert "(cut: the result has 200,012 characters)" in content


def test_chat_with_a_schema(server: OpenAIStub, context: StubContext) -> None:
    schema = {"type": "object", "properties": {"mood": {"type": "string"}}, "required": ["mood"]}
    assert run(CHAT, context, messages=HELLO, response_schema=schema)["json"] == {"mood": "text"}
    server.script(openai_stub.completion("{}"))
    assert failure(CHAT, context, messages=HELLO, response_schema=schema).code == "output_invalid"
