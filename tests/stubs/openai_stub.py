"""A server that speaks the OpenAI protocol, for tests. ``python -m tests.stubs.openai_stub --port N --key sk-test`` runs it.

Without a script every request is checked for its shape and answered well. ``stub.script(...)`` gives answers for the next
requests, in order, before that: ``OK``, ``rate_limited(2)``, ``error(500)``, ``HANG``, ``drip(0.2)``, ``MALFORMED`` …
"""

from __future__ import annotations

import argparse
import json
import math
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
    ]
)

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
    handler.send(200, b'{"id"', JSON | {"Content-Length": "1000"})
    handler.close_connection = True


OK: Answer = _ok
MALFORMED: Answer = _malformed
HANG: Answer = _hang
CUT: Answer = _cut


def reply(body: object, status: int = 200) -> Answer:
    """Any JSON as the answer."""
    return lambda _stub, handler, _request: handler.send(status, json.dumps(body).encode(), JSON)


def completion(text: str | None, *, finish_reason: str = "stop", refusal: str | None = None) -> Answer:
    """A completion with this text."""
    return lambda _stub, handler, _request: handler.send(
        200, _completion("gpt-test", text, finish_reason, refusal), JSON
    )


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
            body, headers = self._checked(request)
        except Refused as refused:
            details = {"type": "invalid_request_error", "code": refused.code, "param": refused.param}
            handler.send(refused.status, json.dumps({"error": {"message": refused.message} | details}).encode(), JSON)
            return
        handler.send(200, body, headers)

    def _checked(self, request: Recorded) -> tuple[bytes, dict[str, str]]:
        if request.headers.get("authorization") != f"Bearer {self.key}":
            raise Refused(401, "Incorrect API key provided.", code="invalid_api_key")
        routes = {
            "/v1/chat/completions": _chat,
            "/v1/audio/speech": _speech,
            "/v1/audio/transcriptions": _transcription,
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


def _chat(request: Recorded) -> tuple[bytes, dict[str, str]]:
    body = _json_body(request, {"model": str, "messages": list})
    unknown = sorted(set(body) - _COMPLETION_KEYS)
    _require(not unknown, f"Unrecognized request argument supplied: {', '.join(unknown)}", "body")
    messages = body["messages"]
    shaped = all(isinstance(item, dict) and isinstance(item.get("content"), str) for item in messages)
    _require(bool(messages) and shaped, "Invalid 'messages'.", "messages")
    _require(all(item["role"] in ("system", "user", "assistant") for item in messages), "Invalid role.", "messages")
    told = next((item["content"] for item in messages if item["role"] == "system"), "")
    text = f"{told}: {messages[-1]['content'][:60]}"
    if (schema := body.get("response_format", {}).get("json_schema", {}).get("schema")) is not None:
        text = json.dumps(_sample(schema))
    return _completion(body["model"], text, "stop", None), JSON


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


def _completion(model: str, text: str | None, finish_reason: str, refusal: str | None) -> bytes:
    message = {"role": "assistant", "content": text, "refusal": refusal}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    whole = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": model}
    return json.dumps(whole | {"choices": [choice], "usage": usage}).encode()


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
    return {"string": "text", "integer": 1, "number": 1.5, "boolean": True, "array": []}.get(schema.get("type", ""))


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
