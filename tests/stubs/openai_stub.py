"""A server that speaks the OpenAI protocol, for tests. ``python -m tests.stubs.openai_stub --port N --key sk-test`` runs it.

Without a script every request is checked for its shape and answered well. ``stub.script(...)`` gives answers for the next
requests, in order, before that: ``OK``, ``rate_limited(2)``, ``error(500)``, ``HANG``, ``drip(0.2)``, ``MALFORMED``,
``CUT_STREAM``, ``NO_STREAM``, ``tool_calls(…)`` … A completion is streamed where the request asks for that.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import re
import struct
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from email.parser import BytesParser
from email.policy import HTTP
from functools import cache
from pathlib import Path
from typing import Any, cast

from dataflow.lib.cancellation import Cancellation
from tasks_lib import audio
from tests.stubs.server import Handler, Recorded, StubServer

KEY = "sk-test"
JSON = {"Content-Type": "application/json"}
_RATE = 24_000
_COMPLETION_KEYS = frozenset(
    [
        "model",
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "frequency_penalty",
        "presence_penalty",
        "response_format",
        "stream",
        "stream_options",
        "tools",
        "tool_choice",
    ]
)
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
EVENTS = {"Content-Type": "text/event-stream; charset=utf-8"}

Answer = Callable[["OpenAIStub", Handler, Recorded], None]


@dataclass(eq=False)
class Refused(Exception):
    """A request that does not keep to the protocol."""

    status: int
    message: str
    code: str | None = None
    param: str | None = None


def _ok(stub: OpenAIStub, handler: Handler, request: Recorded) -> None:
    """The good answer."""
    stub.answer_well(handler, request)


def _malformed(stub: OpenAIStub, handler: Handler, request: Recorded) -> None:
    """A 200 that is not what it says."""
    handler.send(200, b'{"choices": [', JSON)


def _hang(stub: OpenAIStub, handler: Handler, request: Recorded) -> None:
    """No answer at all."""
    stub.closing.wait(60)
    handler.close_connection = True


def _cut(stub: OpenAIStub, handler: Handler, request: Recorded) -> None:
    """The connection breaks in the middle of the answer."""
    kind = {"Content-Type": "audio/mpeg"} if request.path.endswith("/speech") else JSON
    handler.send(200, b'{"id"', kind | {"Content-Length": "1000"})
    handler.close_connection = True


def _no_stream(stub: OpenAIStub, handler: Handler, request: Recorded) -> None:
    """A server that knows no streams answers in one piece."""
    body = {name: value for name, value in json.loads(request.body).items() if name not in ("stream", "stream_options")}
    stub.answer_well(handler, replace(request, body=json.dumps(body).encode()))


def _cut_stream(stub: OpenAIStub, handler: Handler, request: Recorded) -> None:
    """The connection breaks in the middle of a stream."""
    events = _events(_whole(_model(request), "It rained all day", "stop"))[:3]
    length = sum(len(event) for event in events) + 1000
    handler.send(200, b"".join(events), EVENTS | {"Content-Length": str(length)})
    handler.close_connection = True


def _short_stream(stub: OpenAIStub, handler: Handler, request: Recorded) -> None:
    """A stream that ends well before its answer does."""
    handler.send_chunks(200, EVENTS, _events(_whole(_model(request), "It rained all day", "stop"))[:3])


OK: Answer = _ok
MALFORMED: Answer = _malformed
HANG: Answer = _hang
CUT: Answer = _cut
NO_STREAM: Answer = _no_stream
CUT_STREAM: Answer = _cut_stream
SHORT_STREAM: Answer = _short_stream


def reply(body: object, status: int = 200) -> Answer:
    """Any JSON as the answer."""
    return lambda _stub, handler, _request: handler.send(status, json.dumps(body).encode(), JSON)


def completion(text: str | None, *, finish_reason: str = "stop", refusal: str | None = None) -> Answer:
    """A completion with this text."""
    return lambda _stub, handler, request: _send_completion(
        handler, request, _whole("gpt-test", text, finish_reason, refusal=refusal)
    )


def tool_calls(*calls: tuple[str, Any], text: str | None = None) -> Answer:
    """A completion that calls tools: their names, and arguments as JSON or as text that is none."""
    told = [
        {
            "id": f"call_{place}",
            "type": "function",
            "function": {"name": name, "arguments": given if isinstance(given, str) else json.dumps(given)},
        }
        for place, (name, given) in enumerate(calls)
    ]
    return lambda _stub, handler, request: _send_completion(
        handler, request, _whole("gpt-test", text, "tool_calls", calls=told)
    )


def events(*data: object, seconds: float = 0) -> Answer:
    """A stream of these events, ``seconds`` after one another, and its end."""

    def bytes_of(stub: OpenAIStub) -> Iterator[bytes]:
        for one in data:
            if seconds and stub.closing.wait(seconds):
                return
            yield _event(one)
        yield b"data: [DONE]\n\n"

    return lambda stub, handler, _request: handler.send_chunks(200, EVENTS, bytes_of(stub))


def redirect(to: str) -> Answer:
    """A redirect elsewhere."""
    return lambda _stub, handler, _request: handler.send(307, b"", {"Location": to})


def error(status: int, message: str = "as scripted", *, code: str | None = None, **headers: str) -> Answer:
    """An error in the protocol's shape; ``retry_after="2"`` sets that header."""
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}
    body = {"error": {"message": message, "type": code or "scripted", "param": None, "code": code}}
    return lambda _stub, handler, _request: handler.send(status, json.dumps(body).encode(), JSON | named)


def rate_limited(retry_after: float) -> Answer:
    """A 429 that says when to come back, in seconds."""
    return error(429, "Rate limit reached", code="rate_limit_exceeded", retry_after=f"{retry_after:g}")


def drip(seconds: float, content_type: str = "application/json") -> Answer:
    """An answer whose body comes a byte at a time, one every ``seconds``, and never ends."""

    def bytes_of(stub: OpenAIStub) -> Iterator[bytes]:
        while not stub.closing.wait(seconds):
            yield b" "

    return lambda stub, handler, _request: handler.send_chunks(200, {"Content-Type": content_type}, bytes_of(stub))


class OpenAIStub(StubServer):
    """The server. ``base_url`` is what ``OPENAI_BASE_URL`` has to be; only ``key`` is let in."""

    def __init__(self, port: int = 0, *, key: str = KEY) -> None:
        super().__init__(port)
        self.key = key
        self._script: list[Answer] = []
        self._script_lock = threading.Lock()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def script(self, *answers: Answer) -> None:
        """Answers for the next requests, in order, whatever their path; after them all is well again."""
        with self._script_lock:
            self._script.extend(answers)

    def answer(self, handler: Handler, request: Recorded) -> None:
        with self._script_lock:
            scripted = self._script.pop(0) if self._script else OK
        scripted(self, handler, request)

    def answer_well(self, handler: Handler, request: Recorded) -> None:
        """Check the key and the shape of the request, then answer as OpenAI would."""
        try:
            answer = self._checked(request)
        except Refused as refused:
            details = {"type": "invalid_request_error", "code": refused.code, "param": refused.param}
            handler.send(refused.status, json.dumps({"error": {"message": refused.message} | details}).encode(), JSON)
            return
        if isinstance(answer, dict):
            _send_completion(handler, request, answer)
        else:
            handler.send(200, *answer)

    def _checked(self, request: Recorded) -> tuple[bytes, dict[str, str]] | dict[str, Any]:
        if request.headers.get("authorization") != f"Bearer {self.key}":
            raise Refused(401, "Incorrect API key provided.", code="invalid_api_key")
        routes: dict[str, Callable[[Recorded], tuple[bytes, dict[str, str]] | dict[str, Any]]] = {
            "/v1/chat/completions": _chat,
            "/v1/audio/speech": _speech,
            "/v1/audio/transcriptions": _transcription,
            "/v1/embeddings": _embeddings,
            "/v1/images/generations": _images,
            "/v1/moderations": _moderation,
        }
        if request.method != "POST" or request.path not in routes:
            raise Refused(404, f"Unknown request URL: {request.method} {request.path}.", code="unknown_url")
        return routes[request.path](request)


def form_of(request: Recorded) -> dict[str, tuple[str | None, bytes]]:
    """The parts of a multipart request: name to file name and content."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + request.body)
    return {
        str(part.get_param("name", header="content-disposition")): (
            part.get_filename(),
            cast("bytes", part.get_payload(decode=True)),
        )
        for part in message.iter_parts()
    }


def _chat(request: Recorded) -> dict[str, Any]:
    body = _json_body(request, {"model": str, "messages": list})
    unknown = sorted(set(body) - _COMPLETION_KEYS)
    _require(not unknown, f"Unrecognized request argument supplied: {', '.join(unknown)}", "body")
    _require("stream_options" not in body or body.get("stream"), "'stream_options' needs 'stream'.", "stream_options")
    _require("tool_choice" not in body or body.get("tools"), "'tool_choice' needs 'tools'.", "tool_choice")
    _check_messages(body["messages"])
    for tool in body.get("tools", []):
        function = tool.get("function", {})
        shaped = tool.get("type") == "function" and isinstance(function.get("parameters"), dict)
        _require(shaped and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", function.get("name", "")), "Invalid tool.", "tools")
    told = next((item["content"] for item in body["messages"] if item["role"] == "system"), "")
    text = f"{told}: {_words(body['messages'][-1]['content'])[:60]}"
    if (schema := body.get("response_format", {}).get("json_schema", {}).get("schema")) is not None:
        text = json.dumps(_sample(schema))
    elif body.get("response_format", {}).get("type") == "json_object":
        text = "{}"
    return _whole(body["model"], text, "stop")


def _check_messages(messages: list[Any]) -> None:
    """Roles and contents; a tool's answer follows the call that it answers, and no call stays without one."""
    _require(messages and all(isinstance(item, dict) for item in messages), "Invalid 'messages'.", "messages")
    open_calls: set[str] = set()
    for item in messages:
        role, content = item.get("role"), item.get("content")
        _require(role in _ROLES, "Invalid role.", "messages")
        if role == "tool":
            _require(item.get("tool_call_id") in open_calls, "A tool message answers no call.", "messages")
            open_calls.discard(item["tool_call_id"])
            _require(isinstance(content, str), "Invalid content.", "messages")
            continue
        _require(not open_calls, "A tool call has no answer.", "messages")
        open_calls = {call["id"] for call in item.get("tool_calls", [])}
        parts = isinstance(content, list) and all(_is_part(part) for part in content)
        _require(isinstance(content, str) or parts or (content is None and open_calls), "Invalid content.", "messages")
    _require(not open_calls, "A tool call has no answer.", "messages")


def _is_part(part: dict[str, Any]) -> bool:
    if part.get("type") == "text":
        return isinstance(part.get("text"), str)
    url = part.get("image_url", {}).get("url", "")
    return part.get("type") == "image_url" and url.startswith(("data:image/", "https://"))


def _words(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(part.get("text", "(image)") for part in content)
    return str(content or "")


def _embeddings(request: Recorded) -> tuple[bytes, dict[str, str]]:
    body = _json_body(request, {"model": str, "input": list})
    texts = body["input"]
    _require(1 <= len(texts) <= 2048, "input must have 1 to 2048 entries.", "input")
    _require(all(isinstance(text, str) and text for text in texts), "input cannot be an empty string.", "input")
    _require(body.get("encoding_format") == "float", "Ask for numbers.", "encoding_format")
    size = body.get("dimensions", 8)
    data = [
        {
            "object": "embedding",
            "index": at,
            "embedding": [(zlib.crc32(f"{text}{n}".encode()) % 997) / 997 for n in range(size)],
        }
        for at, text in enumerate(texts)
    ]
    used = sum(len(text) for text in texts) // 4 + 1
    usage = {"prompt_tokens": used, "total_tokens": used}
    whole = {"object": "list", "model": body["model"], "data": data[::-1], "usage": usage}
    return json.dumps(whole).encode(), JSON


def _images(request: Recorded) -> tuple[bytes, dict[str, str]]:
    body = _json_body(request, {"model": str, "prompt": str})
    count = body.get("n", 1)
    _require(1 <= count <= 10, "n must be 1 to 10.", "n")
    _require("response_format" not in body or body["model"].startswith("dall-e"), "Unknown.", "response_format")
    usage = {"input_tokens": 9, "output_tokens": 1000 * count, "total_tokens": 1000 * count + 9}
    data = [{"b64_json": base64.b64encode(picture()).decode()}] * count
    return json.dumps({"created": 1_700_000_000, "data": data, "usage": usage}).encode(), JSON


def _moderation(request: Recorded) -> tuple[bytes, dict[str, str]]:
    body = _json_body(request, {"model": str, "input": str})
    flagged = "kill" in body["input"]
    scores = {"violence": 0.98 if flagged else 0.01, "harassment/threatening": 0.02}
    result = {
        "flagged": flagged,
        "categories": {name: score > 0.5 for name, score in scores.items()},
        "category_scores": scores,
    }
    return json.dumps({"id": "modr-1", "model": body["model"], "results": [result]}).encode(), JSON


@cache
def picture() -> bytes:
    """A PNG of one grey pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\x80")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _speech(request: Recorded) -> tuple[bytes, dict[str, str]]:
    body = _json_body(request, {"model": str, "input": str, "voice": str})
    _require(1 <= len(body["input"]) <= 4096, "input must have 1 to 4096 characters.", "input")
    kind = body.get("response_format", "mp3")
    _require(kind in audio.FORMATS, "Invalid 'response_format'.", "response_format")
    return tone(kind), {"Content-Type": audio.FORMATS[kind].content_type}


def _transcription(request: Recorded) -> tuple[bytes, dict[str, str]]:
    _require(request.headers.get("content-type", "").startswith("multipart/form-data"), "Not multipart.", "file")
    form = form_of(request)
    _require("model" in form, "you must provide a model parameter", "model")
    name, content = form.get("file", (None, b""))
    _require(bool(name) and bool(content), "you must provide a file", "file")
    _require(len(content) <= 25 * 1024 * 1024, "Maximum content size limit exceeded", "file")
    kind = form["response_format"][1].decode() if "response_format" in form else "json"
    text = f"Heard {len(content)} bytes."
    segment = {"id": 0, "seek": 0, "start": 0.0, "end": 1.5, "text": text, "tokens": [], "temperature": 0.0}
    segment |= {"avg_logprob": -0.1, "compression_ratio": 1.0, "no_speech_prob": 0.0}
    verbose = {"task": "transcribe", "text": text, "language": "english", "duration": 1.5, "segments": [segment]}
    plain = {
        "text": text + "\n",
        "srt": f"1\n00:00:00,000 --> 00:00:01,500\n{text}\n",
        "vtt": f"WEBVTT\n\n00:00.000 --> 00:01.500\n{text}\n",
    }
    if kind in plain:
        return plain[kind].encode(), {"Content-Type": "text/plain; charset=utf-8"}
    return json.dumps(verbose if kind == "verbose_json" else {"text": text}).encode(), JSON


@cache
def tone(kind: str, seconds: float = 0.6) -> bytes:
    """A real sound file with a tone in it."""
    wave = (int(12_000 * math.sin(2 * math.pi * 440 * at / _RATE)) for at in range(int(seconds * _RATE)))
    with tempfile.TemporaryDirectory() as name:
        raw, target = Path(name, "tone.raw"), Path(name, "tone.out")
        raw.write_bytes(b"".join(struct.pack("<h", sample) for sample in wave))
        audio.encode(raw, _RATE, target, kind, comment="tone", cancellation=Cancellation(30))
        return target.read_bytes()


def _whole(
    model: str,
    text: str | None,
    finish_reason: str,
    *,
    refusal: str | None = None,
    calls: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """A completion as it is sent in one piece."""
    message = {"role": "assistant", "content": text, "refusal": refusal} | ({"tool_calls": calls} if calls else {})
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    usage: dict[str, Any] = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    usage["prompt_tokens_details"] = {"cached_tokens": 3}
    whole = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": model}
    return whole | {"choices": [choice], "usage": usage}


def _send_completion(handler: Handler, request: Recorded, whole: dict[str, Any]) -> None:
    """In one piece, or as a stream where the request asks for that."""
    asked = json.loads(request.body)
    if not asked.get("stream"):
        handler.send(200, json.dumps(whole).encode(), JSON)
        return
    usage = asked.get("stream_options", {}).get("include_usage", False)
    handler.send_chunks(200, EVENTS, _events(whole, usage=usage))


def _events(whole: dict[str, Any], *, usage: bool = False) -> list[bytes]:
    """A completion as events of a stream: a few characters at a time."""
    choice = whole["choices"][0]
    message = choice["message"]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    for name in ("content", "refusal"):
        text = message[name] or ""
        deltas += [{name: text[at : at + 5]} for at in range(0, len(text), 5)]
    for place, call in enumerate(message.get("tool_calls", [])):
        function = call["function"]
        head = {"id": call["id"], "type": "function", "function": {"name": function["name"], "arguments": ""}}
        told = [head] + [{"function": {"arguments": piece}} for piece in function["arguments"]]
        deltas += [{"tool_calls": [{"index": place} | piece]} for piece in told]
    chunk = {name: whole[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    told_chunks = [
        chunk | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}], "usage": None} for delta in deltas
    ]
    told_chunks.append(chunk | {"choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
    if usage:
        told_chunks.append(chunk | {"choices": [], "usage": whole["usage"]})
    return [*(_event(one) for one in told_chunks), b"data: [DONE]\n\n"]


def _event(data: object) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def _model(request: Recorded) -> str:
    return str(json.loads(request.body)["model"])


def _json_body(request: Recorded, needed: dict[str, type]) -> dict[str, Any]:
    try:
        body = json.loads(request.body)
    except ValueError as wrong:
        raise Refused(400, "We could not parse the JSON body of your request.") from wrong
    for name, kind in needed.items():
        _require(isinstance(body.get(name), kind), f"you must provide a {name} parameter", name)
    return dict(body)


def _require(condition: object, message: str, param: str) -> None:
    if not condition:
        raise Refused(400, message, param=param)


def _sample(schema: dict[str, Any]) -> Any:
    """A value that keeps to a simple schema."""
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object":
        return {name: _sample(inner) for name, inner in schema.get("properties", {}).items()}
    if schema.get("type") == "array":
        return [_sample(schema.get("items", {}))]
    return {"string": "text", "integer": 1, "number": 0.5, "boolean": True}.get(schema.get("type", ""))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", default=KEY)
    given = parser.parse_args()
    with OpenAIStub(given.port, key=given.key) as stub:
        print(f"ready: {stub.base_url}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
