"""The ``openai.*`` task types against a server that speaks the protocol."""

from __future__ import annotations

import gzip
import json
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from tasks_lib import registry
from tasks_lib.clients import ffmpeg
from tasks_lib.types import openai_audio_transcription
from tests.stubs import openai_stub
from tests.stubs.context import StubContext, run
from tests.stubs.openai_stub import KEY, Answer, OpenAIStub, form_of

COMPLETION = registry.load().types["openai.completion"]
SPEECH = registry.load().types["openai.audio.text_to_speech"]
TRANSCRIPTION = registry.load().types["openai.audio.transcription"]
ASK = {"text": "It rained.", "prompt": "Translate"}
SCHEMA = {
    "type": "object",
    "properties": {"mood": {"type": "string", "enum": ["good", "bad"]}},
    "required": ["mood"],
    "additionalProperties": False,
}


@pytest.fixture
def server() -> Iterator[OpenAIStub]:
    with OpenAIStub() as stub:
        yield stub


@pytest.fixture
def context(server: OpenAIStub, tmp_path: Path) -> StubContext:
    return StubContext(tmp_path / "files", openai_base_url=server.base_url, secrets={"OPENAI_API_KEY": KEY})


def sent(server: OpenAIStub, index: int = -1) -> dict[str, Any]:
    """A request, without what asks for a stream."""
    body = dict(json.loads(server.requests[index].body))
    assert body.pop("stream", True) is True
    assert body.pop("stream_options", {"include_usage": True}) == {"include_usage": True}
    return body


def failure(task_type: Any, context: StubContext, **inputs: Any) -> TaskError:
    with pytest.raises(TaskError) as raised:
        run(task_type, context, **inputs)
    return raised.value


def test_completion(server: OpenAIStub, context: StubContext) -> None:
    outputs = run(COMPLETION, context, **ASK)
    assert outputs["completion"] == "Translate: It rained."
    assert (outputs["json"], outputs["finish_reason"], outputs["model"]) == (None, "stop", "gpt-4o-mini")
    assert outputs["usage"]["total_tokens"] == 18
    assert context.used == {"model": "gpt-4o-mini", "input_tokens": 11, "output_tokens": 7, "cached_tokens": 3}
    assert sent(server) == {
        "model": "gpt-4o-mini",
        "messages": [{"role": "system", "content": "Translate"}, {"role": "user", "content": "It rained."}],
        "temperature": 0.7,
        "top_p": 1.0,
        "frequency_penalty": 0,
        "presence_penalty": 0,
    }
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_a_compressed_answer_is_not_unpacked(server: OpenAIStub, context: StubContext) -> None:
    """Half a megabyte can become gigabytes."""

    def bomb(_stub: Any, handler: Any, request: Any) -> None:
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        handler.send(200, gzip.compress(b" " * 50_000_000), headers)

    server.script(bomb)
    error = failure(COMPLETION, context, **ASK)
    assert (error.code, "gzip" in error.message) == ("provider_error", True)
    assert server.requests[-1].headers["accept-encoding"] == "identity"


def test_completion_options(server: OpenAIStub, context: StubContext) -> None:
    run(COMPLETION, context, **ASK, model="m", max_tokens=5, temperature=0, top_p=0.5, frequency_penalty=1)
    assert {"model": "m", "max_tokens": 5, "temperature": 0, "top_p": 0.5, "frequency_penalty": 1}.items() <= sent(
        server
    ).items()


@pytest.mark.parametrize("model", ["o3-mini", "gpt-5", "gpt-5.1-mini", "o1"])
def test_models_that_reason(server: OpenAIStub, context: StubContext, model: str) -> None:
    run(COMPLETION, context, **ASK, model=model, max_tokens=5)
    assert set(sent(server)) == {"model", "messages", "max_completion_tokens"}
    run(COMPLETION, context, **ASK, model=model, temperature=0.1)
    assert sent(server)["temperature"] == 0.1


def test_completion_with_a_schema(server: OpenAIStub, context: StubContext) -> None:
    outputs = run(COMPLETION, context, **ASK, response_schema=SCHEMA)
    assert outputs["json"] == {"mood": "good"}
    form = sent(server)["response_format"]
    assert (form["type"], form["json_schema"]["schema"], form["json_schema"]["strict"]) == ("json_schema", SCHEMA, True)
    run(COMPLETION, context, **ASK, response_schema={"type": "object"})
    assert sent(server)["response_format"]["json_schema"]["strict"] is False


@pytest.mark.parametrize(
    ("text", "finish_reason", "said"),
    [
        ("hello", "stop", "not JSON"),
        ('{"mood": "odd"}', "stop", "mood"),
        ("{}", "stop", "mood"),
        ('{"mood": "good", "mood": "bad"}', "stop", "not JSON"),
        ('{"mo', "length", "max_tokens"),
        ("[" * 100_000, "stop", "not JSON"),
    ],
)
def test_an_answer_against_its_schema(
    server: OpenAIStub, context: StubContext, text: str, finish_reason: str, said: str
) -> None:
    server.script(openai_stub.completion(text, finish_reason=finish_reason))
    error = failure(COMPLETION, context, **ASK, response_schema=SCHEMA)
    assert (error.code, error.retryable) == ("output_invalid", True)
    assert said in error.message


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "no such"},
        {"patternProperties": {"(a+)+$": {}}},
        {"properties": {"x": {"patternProperties": {}}}},
        {"$ref": "#/$defs/missing"},
        {"$ref": "http://127.0.0.1:1/schema.json"},
        {"$ref": "#"},
        {"properties": {"mood": {"pattern": "(?=x)"}}},
    ],
)
def test_schemas_that_cannot_be_used(server: OpenAIStub, context: StubContext, schema: dict[str, Any]) -> None:
    server.script(openai_stub.completion('{"mood": "good"}'))
    error = failure(COMPLETION, context, **ASK, response_schema=schema)
    assert (error.code, error.retryable) == ("validation", False)


def test_patterns_take_linear_time(server: OpenAIStub, context: StubContext) -> None:
    server.script(openai_stub.completion(json.dumps({"mood": "a" * 40 + "!"})))
    started = time.monotonic()
    schema = {"properties": {"mood": {"type": "string", "pattern": "^(a+)+$"}}}
    assert failure(COMPLETION, context, **ASK, response_schema=schema).code == "output_invalid"
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("answer", "code", "retryable", "retry_after"),
    [
        (openai_stub.rate_limited(2), "rate_limited", True, 2),
        (openai_stub.error(429), "rate_limited", True, None),
        (openai_stub.error(429, code="insufficient_quota"), "budget_exceeded", False, None),
        (openai_stub.error(400), "validation", False, None),
        (openai_stub.error(400, code="content_policy_violation"), "content_refused", False, None),
        (openai_stub.error(401), "authentication", False, None),
        (openai_stub.error(403), "authorization", False, None),
        (openai_stub.error(404), "validation", False, None),
        (openai_stub.error(408), "timeout", True, None),
        (openai_stub.error(409), "provider_error", True, None),
        (openai_stub.error(413), "too_large", False, None),
        (openai_stub.error(422), "validation", False, None),
        (openai_stub.error(500), "provider_error", True, None),
        (openai_stub.error(503, retry_after="7"), "provider_error", True, 7),
        (openai_stub.reply({"error": "odd"}, 500), "provider_error", True, None),
        (openai_stub.reply([1], 400), "validation", False, None),
        (openai_stub.MALFORMED, "provider_error", True, None),
        (openai_stub.CUT, "communication", True, None),
        (openai_stub.reply({}), "provider_error", True, None),
        (openai_stub.reply([]), "provider_error", True, None),
        (openai_stub.reply("text"), "provider_error", True, None),
        (openai_stub.reply({"choices": [{"message": {"content": None}}]}), "provider_error", True, None),
        (openai_stub.reply({"choices": [None]}), "provider_error", True, None),
        (openai_stub.completion(None, refusal="I cannot help with that."), "content_refused", False, None),
        (openai_stub.completion("", finish_reason="content_filter"), "content_refused", False, None),
    ],
)
def test_errors(
    server: OpenAIStub, context: StubContext, answer: Answer, code: str, *, retryable: bool, retry_after: float | None
) -> None:
    server.script(answer)
    error = failure(COMPLETION, context, **ASK)
    assert (error.code, error.retryable, error.retry_after) == (code, retryable, retry_after)
    assert len(server.requests) == 1, "the package must not retry by itself"


def test_a_wrong_key(server: OpenAIStub, context: StubContext) -> None:
    context.secrets["OPENAI_API_KEY"] = "sk-wrong"
    error = failure(COMPLETION, context, **ASK)
    assert (error.code, error.retryable) == ("authentication", False)
    assert "X-OpenAI-Key" in error.message
    assert "sk-wrong" not in error.message


def test_no_key(tmp_path: Path) -> None:
    error = failure(COMPLETION, StubContext(tmp_path), **ASK)
    assert (error.code, error.retryable) == ("authentication", False)


def test_nobody_there(tmp_path: Path) -> None:
    error = failure(COMPLETION, StubContext(tmp_path, openai_base_url="http://127.0.0.1:9/v1"), **ASK)
    assert (error.code, error.retryable) == ("communication", True)


def test_no_proxy_of_the_environment(server: OpenAIStub, context: StubContext, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert run(COMPLETION, context, **ASK)["finish_reason"] == "stop"


@pytest.mark.parametrize("answer", [openai_stub.HANG, openai_stub.drip(0.1), openai_stub.drip(5)])
def test_the_deadline_holds(server: OpenAIStub, context: StubContext, answer: Answer) -> None:
    run(COMPLETION, context, **ASK)  # the package is imported now
    server.script(answer)
    context.cancellation = Cancellation(0.5)
    started = time.monotonic()
    error = failure(COMPLETION, context, **ASK)
    assert (error.code, error.retryable) == ("timeout", True)
    assert time.monotonic() - started < 1.5


@pytest.mark.parametrize(
    ("task_type", "inputs", "answer"),
    [
        (COMPLETION, ASK, openai_stub.HANG),
        (COMPLETION, ASK, openai_stub.drip(0.1)),
        (COMPLETION, ASK, openai_stub.drip(5)),
        (SPEECH, {"text": "Hello"}, openai_stub.HANG),
        (SPEECH, {"text": "Hello"}, openai_stub.drip(0.1, "audio/mpeg")),
        (SPEECH, {"text": "Hello"}, openai_stub.drip(5, "audio/mpeg")),
    ],
)
def test_cancelling_interrupts(
    server: OpenAIStub, context: StubContext, task_type: Any, inputs: dict[str, Any], answer: Answer
) -> None:
    run(COMPLETION, context, **ASK)
    server.script(answer)
    stopped: list[float] = []

    def stop() -> None:
        stopped.append(time.monotonic())
        context.cancellation.stop(TaskError("cancelled", "stop"))

    threading.Timer(0.3, stop).start()
    assert failure(task_type, context, **inputs).code == "cancelled"
    assert time.monotonic() - stopped[0] < 1
    assert context.files.names() == []


def loudness(path: Path) -> int:
    """The loudest sample of a sound file, decoded by ffmpeg."""
    ffmpeg.run(
        [*ffmpeg.source(path), "-f", "s16le", "-ac", "1", "decoded.raw"],
        folder=path.parent,
        cancellation=Cancellation(20),
    )
    data = (path.parent / "decoded.raw").read_bytes()
    return int(max(abs(sample) for (sample,) in struct.iter_unpack("<h", data)))


def test_speech(server: OpenAIStub, context: StubContext) -> None:
    spoken = run(SPEECH, context, text="Hello, world!", instructions="cheerful")["audio"]
    assert (spoken["name"], spoken["content_type"]) == ("speech.mp3", "audio/mpeg")
    assert context.files.read(spoken) == openai_stub.tone("mp3")
    assert context.files.metadata[spoken["file_id"]] == {}
    assert context.used == {"model": "tts-1", "characters": 13}
    assert sent(server) == {
        "input": "Hello, world!", "voice": "alloy", "model": "tts-1", "speed": 1.0, "response_format": "mp3",
        "instructions": "cheerful",
    }  # fmt: skip


def test_nothing_to_speak(server: OpenAIStub, context: StubContext) -> None:
    assert failure(SPEECH, context, text=" \n ").code == "validation"
    assert server.requests == []


@pytest.mark.parametrize("kind", ["mp3", "wav", "flac", "opus", "aac", "pcm"])
def test_a_long_text_is_split_and_joined(server: OpenAIStub, context: StubContext, kind: str) -> None:
    text = "This is a sentence. " * 500
    spoken = run(SPEECH, context, text=text, format=kind)["audio"]
    inputs = [sent(server, index)["input"] for index in range(len(server.requests))]
    assert len(inputs) == 3
    assert all(len(part) <= 4096 and part.endswith("sentence.") for part in inputs)
    assert " ".join(inputs) == text.strip()
    path = context.files.path(spoken)
    if kind == "pcm":
        assert len(context.files.read(spoken)) == pytest.approx(3 * 0.6 * 48_000, rel=0.02)
    else:
        assert loudness(path) > 5_000
        seconds = ffmpeg.duration(path, cancellation=Cancellation(20))
        assert seconds == pytest.approx(3 * 0.6, abs=0.35)
    assert [fraction for fraction, _ in context.progressed] == [0, 1 / 3, 2 / 3, 0.99]


def test_a_failing_part_leaves_no_file(server: OpenAIStub, context: StubContext) -> None:
    server.script(openai_stub.OK, openai_stub.error(500))
    assert failure(SPEECH, context, text="This is a sentence. " * 500).code == "provider_error"
    assert context.files.names() == []


@pytest.mark.parametrize("answer", [openai_stub.reply({"text": "no sound"}), openai_stub.MALFORMED])
def test_what_is_no_sound(server: OpenAIStub, context: StubContext, answer: Answer) -> None:
    server.script(answer)
    error = failure(SPEECH, context, text="Hello")
    assert (error.code, error.retryable) == ("provider_error", True)
    assert context.files.names() == []


def transcribe(context: StubContext, data: bytes = b"", **inputs: Any) -> Mapping[str, Any]:
    value = context.files.add("talk.MP3", "audio/mpeg", data or openai_stub.tone("mp3"))
    return run(TRANSCRIPTION, context, file=value, **inputs)


def test_transcription(server: OpenAIStub, context: StubContext) -> None:
    sound = openai_stub.tone("mp3")
    outputs = transcribe(context, language="en", prompt="Names: Ann")
    assert outputs["text"] == f"Heard {len(sound)} bytes."
    assert outputs["duration"] == pytest.approx(0.6, abs=0.1)
    form = form_of(server.requests[0])
    assert form["file"] == ("sound.mp3", sound)
    told = {name: content.decode() for name, (_, content) in form.items() if name != "file"}
    assert told == {
        "model": "whisper-1", "language": "en", "prompt": "Names: Ann", "response_format": "json", "temperature": "0",
    }  # fmt: skip
    assert context.used["model"] == "whisper-1"
    assert context.used["seconds"] == outputs["duration"]


@pytest.mark.parametrize(
    ("kind", "beginning"),
    [("text", "Heard"), ("srt", "1\n00:00:00,000 -->"), ("vtt", "WEBVTT"), ("verbose_json", "Heard")],
)
def test_transcription_formats(server: OpenAIStub, context: StubContext, kind: str, beginning: str) -> None:
    outputs = transcribe(context, response_format=kind)
    assert outputs["text"].startswith(beginning)
    if kind == "verbose_json":
        assert (outputs["language"], outputs["duration"], outputs["segments"][0]["end"]) == ("english", 1.5, 1.5)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (openai_stub.reply({"other": 1}), "provider_error"),
        (openai_stub.MALFORMED, "provider_error"),
        (openai_stub.error(401), "authentication"),
    ],
)
def test_transcription_errors(server: OpenAIStub, context: StubContext, answer: Answer, code: str) -> None:
    server.script(answer)
    with pytest.raises(TaskError) as raised:
        transcribe(context)
    assert raised.value.code == code


def test_an_empty_file(server: OpenAIStub, context: StubContext) -> None:
    value = context.files.add("empty.mp3", "audio/mpeg", b"")
    assert failure(TRANSCRIPTION, context, file=value).code == "validation"
    assert server.requests == []


@pytest.mark.parametrize("kind", ["json", "text", "srt", "vtt", "verbose_json"])
def test_a_large_file_is_split_and_joined(
    server: OpenAIStub, context: StubContext, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_audio_transcription, "MAX_UPLOAD", 100_000)
    monkeypatch.setattr(openai_audio_transcription, "PART_SECONDS", 1)
    outputs = transcribe(context, openai_stub.tone("wav", 2.5), response_format=kind)
    assert len(server.requests) == 3
    assert outputs["duration"] == pytest.approx(2.5, abs=0.3)
    if kind in ("json", "text"):
        assert outputs["text"].count("Heard") == 3
    elif kind == "verbose_json":
        assert [segment["id"] for segment in outputs["segments"]] == [0, 1, 2]
        starts = [segment["start"] for segment in outputs["segments"]]
        assert starts == sorted(starts)
        assert starts[2] == pytest.approx(2, abs=0.3)
    else:
        assert outputs["text"].count(" --> ") == 3
        assert "00:00:02" in outputs["text"]


def test_a_long_file_for_a_model_that_takes_short_ones(
    server: OpenAIStub, context: StubContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_audio_transcription, "MAX_SECONDS", 2)
    monkeypatch.setattr(openai_audio_transcription, "PART_SECONDS", 1)
    transcribe(context, openai_stub.tone("wav", 2.5), model="whisper-1")
    assert len(server.requests) == 1
    transcribe(context, openai_stub.tone("wav", 2.5), model="gpt-4o-transcribe")
    assert len(server.requests) == 4


@pytest.mark.parametrize(("told", "shown"), [("2.95", 2.95), (None, 0.6), ("long", 0.6), (-1, 0.6)])
def test_a_duration_that_is_no_number(server: OpenAIStub, context: StubContext, told: Any, shown: float) -> None:
    server.script(openai_stub.reply({"text": "x", "duration": told}))
    assert transcribe(context)["duration"] == pytest.approx(shown, abs=0.1)
    assert context.used["seconds"] == pytest.approx(shown, abs=0.1)


def test_a_large_file_for_a_model_without_times(
    server: OpenAIStub, context: StubContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_audio_transcription, "MAX_UPLOAD", 1000)
    with pytest.raises(TaskError) as raised:
        transcribe(context, response_format="srt", model="gpt-4o-transcribe")
    assert raised.value.code == "validation"
