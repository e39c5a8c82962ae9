"""Embeddings, images, moderation, classification, extraction and named connections, against a server of the protocol."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dataflow.lib.errors import TaskError
from tasks_lib import registry
from tasks_lib.base import TaskType
from tasks_lib.types import openai_embedding, openai_image
from tests.stubs import openai_stub
from tests.stubs.context import StubContext, run, start
from tests.stubs.openai_stub import KEY, Answer, OpenAIStub
from tests.stubs.web_stub import WebStub

TYPES = registry.load().types
EMBEDDING, IMAGE, MODERATION = TYPES["openai.embedding"], TYPES["openai.image"], TYPES["openai.moderation"]
CLASSIFY, EXTRACT = TYPES["ai.classify"], TYPES["ai.extract"]
#: Every type that speaks the protocol, with inputs that work; a file is put in its place.
EVERY: dict[str, dict[str, Any]] = {
    "openai.completion": {"text": "It rained.", "prompt": "Translate"},
    "openai.chat": {"messages": [{"role": "user", "content": "Hello"}]},
    "openai.embedding": {"text": "It rained."},
    "openai.image": {"prompt": "A lighthouse"},
    "openai.moderation": {"text": "Good day"},
    "openai.audio.text_to_speech": {"text": "Hello"},
    "openai.audio.transcription": {"file": None},
    "ai.classify": {"text": "It rained.", "labels": ["weather", "sport"]},
    "ai.extract": {"text": "Ann is 40.", "schema": {"type": "object", "properties": {"age": {"type": "integer"}}}},
}
SCHEMA = EVERY["ai.extract"]["schema"]


@pytest.fixture
def server() -> Iterator[OpenAIStub]:
    with OpenAIStub() as stub:
        yield stub


@pytest.fixture
def context(server: OpenAIStub, tmp_path: Path) -> StubContext:
    return StubContext(tmp_path / "files", openai_base_url=server.base_url, secrets={"OPENAI_API_KEY": KEY})


def sent(server: OpenAIStub, index: int = -1) -> dict[str, Any]:
    return dict(json.loads(server.requests[index].body))


def failure(task_type: TaskType, context: StubContext, **inputs: Any) -> TaskError:
    with pytest.raises(TaskError) as raised:
        start(task_type, context, **inputs)
    return raised.value


def inputs_of(name: str, context: StubContext) -> dict[str, Any]:
    """Inputs of ``EVERY``; where they name a file, there is one."""
    given = EVERY[name]
    return given | (
        {"file": context.files.add("a.mp3", "audio/mpeg", openai_stub.tone("mp3"))} if "file" in given else {}
    )


def test_every_type_is_here() -> None:
    assert sorted(EVERY) == [name for name, found in TYPES.items() if "OPENAI_API_KEY" in found.secrets]


@pytest.mark.parametrize("name", EVERY)
def test_it_works_and_records_what_it_used(server: OpenAIStub, context: StubContext, name: str) -> None:
    run(TYPES[name], context, **inputs_of(name, context))
    assert isinstance(context.used["model"], str)
    assert len(context.used) > 1
    assert all(request.headers["authorization"] == f"Bearer {KEY}" for request in server.requests)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    ("answer", "code", "retryable"),
    [
        (openai_stub.rate_limited(3), "rate_limited", True),
        (openai_stub.error(500, f"about {KEY[:3]}"), "provider_error", True),
        (openai_stub.error(401), "authentication", False),
        (openai_stub.MALFORMED, "provider_error", True),
        (openai_stub.reply([1]), "provider_error", True),
        (openai_stub.reply({}), "provider_error", True),
        (openai_stub.CUT, "communication", True),
        (openai_stub.redirect("http://127.0.0.1:9/v1"), "validation", False),
    ],
    ids=["429", "500", "401", "malformed", "list", "empty", "cut", "redirect"],
)
def test_faults(
    server: OpenAIStub, context: StubContext, name: str, answer: Answer, code: str, *, retryable: bool
) -> None:
    server.script(answer)
    error = failure(TYPES[name], context, **inputs_of(name, context))
    assert (error.code, error.retryable) == (code, retryable), error.message
    assert KEY not in error.message
    assert len(server.requests) == 1, "neither repeated nor led elsewhere"
    assert not retryable or code in TYPES[name].retried


@pytest.mark.parametrize("name", EVERY)
def test_cancelling_interrupts(server: OpenAIStub, context: StubContext, name: str) -> None:
    """A server that says nothing holds nobody up."""
    given = inputs_of(name, context)
    run(TYPES[name], context, **given)  # the package is imported now
    server.script(openai_stub.HANG)
    stopped: list[float] = []

    def stop() -> None:
        stopped.append(time.monotonic())
        context.cancellation.stop(TaskError("cancelled", "stop"))

    threading.Timer(0.3, stop).start()
    assert failure(TYPES[name], context, **given).code == "cancelled"
    assert time.monotonic() - stopped[0] < 1


@pytest.mark.parametrize("name", EVERY)
def test_a_connection_stands_alone(context: StubContext, name: str) -> None:
    """Its address, key and model; nothing of the installation's."""
    with OpenAIStub(key="sk-other") as other:
        settings = {"base_url": other.base_url, "api_key": "sk-other", "default_model": "house-model"}
        context.connections["main"] = ("openai", settings)
        context.openai_base_url, context.secrets = "http://127.0.0.1:9/v1", {"OPENAI_API_KEY": "sk-installation"}
        run(TYPES[name], context, **inputs_of(name, context), connection="main")
        assert len(other.requests) == 1
        request = other.requests[0]
        assert request.headers["authorization"] == "Bearer sk-other"
        assert b"house-model" in request.body
        run(TYPES[name], context, **inputs_of(name, context), connection="main", model="my-model")
        assert b"my-model" in other.requests[1].body


@pytest.mark.parametrize("name", EVERY)
def test_the_usual_model(server: OpenAIStub, context: StubContext, name: str) -> None:
    """A connection without a default model asks the type's own."""
    context.connections["main"] = ("openai", {"base_url": server.base_url, "api_key": KEY})
    run(TYPES[name], context, **inputs_of(name, context), connection="main")
    usual = next(field.default for field in TYPES[name].inputs if field.name == "model")
    assert usual.encode() in server.requests[0].body


def test_a_key_of_a_connection_that_is_refused(server: OpenAIStub, context: StubContext) -> None:
    context.connections["main"] = ("openai", {"base_url": server.base_url, "api_key": "sk-wrong"})
    error = failure(EMBEDDING, context, text="x", connection="main")
    assert (error.code, error.retryable) == ("authentication", False)
    assert "connection main" in error.message
    assert "sk-wrong" not in error.message
    assert "X-OpenAI-Key" not in error.message


def test_a_connection_is_held_to_the_address_rules(server: OpenAIStub, tmp_path: Path) -> None:
    context = StubContext(tmp_path / "closed", allow_loopback=False)
    context.connections["main"] = ("openai", {"base_url": server.base_url})
    error = failure(EMBEDDING, context, text="x", connection="main")
    assert (error.code, error.retryable) == ("blocked_address", False)
    assert server.requests == []


def test_the_installations_own_names_stay_at_home(
    server: OpenAIStub, context: StubContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-installation")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-installation")
    context.connections["main"] = ("openai", {"base_url": server.base_url, "api_key": KEY})
    run(EMBEDDING, context, text="x", connection="main")
    assert not {"openai-organization", "openai-project"} & set(server.requests[0].headers)
    context.connections["main"][1]["organisation"] = "org-theirs"
    run(EMBEDDING, context, text="x", connection="main")
    assert server.requests[1].headers["openai-organization"] == "org-theirs"


def test_no_such_connection(context: StubContext) -> None:
    assert failure(EMBEDDING, context, text="x", connection="other").code == "validation"


def test_embedding(server: OpenAIStub, context: StubContext) -> None:
    outputs = run(EMBEDDING, context, text="It rained.", dimensions=4)
    assert len(outputs["embedding"]) == outputs["dimensions"] == 4
    assert outputs["embeddings"] == [outputs["embedding"]]
    assert sent(server) == {
        "input": ["It rained."],
        "model": "text-embedding-3-small",
        "encoding_format": "float",
        "dimensions": 4,
    }
    assert context.used == {"model": "text-embedding-3-small", "input_tokens": 3}


def test_embeddings_in_batches(server: OpenAIStub, context: StubContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_embedding, "BATCH_TEXTS", 3)
    texts = [f"Text {number}" for number in range(7)]
    outputs = run(EMBEDDING, context, texts=texts)
    assert [len(sent(server, at)["input"]) for at in range(3)] == [3, 3, 1]
    alone = [run(EMBEDDING, context, text=text)["embedding"] for text in texts]
    assert outputs["embeddings"] == alone, "in the order of the texts, though the server answers in another"
    assert context.progressed[:3] == [(0, "0 of 7 texts"), (3 / 7, "3 of 7 texts"), (6 / 7, "6 of 7 texts")]


def test_batches_by_length() -> None:
    long = "x" * 150_000
    assert [len(batch) for batch in openai_embedding.batches([long, "a", long, "b"])] == [2, 2]


def test_what_was_embedded_before_a_failure_is_paid(
    server: OpenAIStub, context: StubContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_embedding, "BATCH_TEXTS", 1)
    server.script(openai_stub.OK, openai_stub.error(500))
    assert failure(EMBEDDING, context, texts=["one two three", "b"]).code == "provider_error"
    assert context.used["input_tokens"] == 4


@pytest.mark.parametrize(
    "inputs",
    [{}, {"text": "a", "texts": ["b"]}, {"text": " "}, {"texts": []}, {"texts": ["a", ""]}, {"texts": ["a", 1]}],
)
def test_texts_that_are_refused(server: OpenAIStub, context: StubContext, inputs: dict[str, Any]) -> None:
    assert failure(EMBEDDING, context, **inputs).code == "validation"
    assert server.requests == []


def test_embeddings_are_bounded(context: StubContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_embedding, "MAX_NUMBERS", 10)
    assert failure(EMBEDDING, context, texts=["a", "b"]).code == "too_large"


@pytest.mark.parametrize(
    "data", [[], [{"embedding": []}], [{"embedding": ["a"]}], [{"embedding": "AAAA"}], [{}], ["x"], "x", [{}, {}]]
)
def test_embeddings_that_are_none(server: OpenAIStub, context: StubContext, data: Any) -> None:
    server.script(openai_stub.reply({"model": "m", "data": data, "usage": None}))
    error = failure(EMBEDDING, context, text="x")
    assert (error.code, error.retryable) == ("provider_error", True)


def test_image(server: OpenAIStub, context: StubContext) -> None:
    outputs = run(IMAGE, context, prompt="A lighthouse", n=2, size="1024x1024", quality="low")
    assert [(image["name"], image["content_type"]) for image in outputs["images"]] == [
        ("image.png", "image/png"),
        ("image2.png", "image/png"),
    ]
    assert outputs["image"] == outputs["images"][0]
    assert context.files.read(outputs["image"]) == openai_stub.picture()
    assert sent(server)["n"] == 2
    assert context.used == {"model": "gpt-image-2", "images": 2, "input_tokens": 9, "output_tokens": 2000}


def test_an_image_by_its_address(server: OpenAIStub, context: StubContext) -> None:
    with WebStub() as web:
        web.page("/picture", openai_stub.picture(), content_type="text/html")
        server.script(openai_stub.reply({"data": [{"url": web.url("/picture"), "revised_prompt": "A tall one"}]}))
        outputs = run(IMAGE, context, prompt="A lighthouse", model="dall-e-3")
        assert sent(server)["response_format"] == "b64_json"
        assert (outputs["image"]["content_type"], outputs["revised_prompt"]) == ("image/png", "A tall one")
        assert "authorization" not in web.requests[0].headers


@pytest.mark.parametrize(
    ("drawn", "code"),
    [
        ({"b64_json": "no base64!"}, "provider_error"),
        ({"b64_json": base64.b64encode(b"<html></html>").decode()}, "provider_error"),
        ({"b64_json": ""}, "provider_error"),
        ({}, "provider_error"),
        ({"url": "http://169.254.169.254/latest"}, "blocked_address"),
        ({"url": "file:///etc/passwd"}, "validation"),
    ],
)
def test_images_that_are_none(server: OpenAIStub, context: StubContext, drawn: dict[str, Any], code: str) -> None:
    server.script(openai_stub.reply({"data": [drawn]}))
    assert failure(IMAGE, context, prompt="A lighthouse").code == code
    assert context.files.names() == []
    assert context.used["images"] == 1


def test_an_image_is_bounded(server: OpenAIStub, context: StubContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_image, "MAX_IMAGE", 100)
    monkeypatch.setattr(openai_image, "_PIECE", 40)
    large = base64.b64encode(openai_stub.picture() + b"\0" * 200).decode()
    server.script(openai_stub.reply({"data": [{"b64_json": large}]}))
    assert failure(IMAGE, context, prompt="A lighthouse").code == "too_large"
    assert context.files.names() == []


def test_moderation(server: OpenAIStub, context: StubContext) -> None:
    outputs = run(MODERATION, context, text="I will kill you")
    assert outputs["flagged"] is True
    assert outputs["categories"] == {"violence": True, "harassment/threatening": False}
    assert outputs["scores"]["violence"] == 0.98
    assert run(MODERATION, context, text="Good day")["flagged"] is False
    assert context.used == {"model": "omni-moderation-latest", "characters": 23}


@pytest.mark.parametrize("labels", [["weather", "sport"], {"weather": "rain and sun", "sport": ""}])
def test_classify(server: OpenAIStub, context: StubContext, labels: Any) -> None:
    outputs = run(CLASSIFY, context, text="It rained.", labels=labels, instructions="Think of Scotland")
    assert (outputs["label"], outputs["labels"], outputs["confidence"]) == ("weather", ["weather"], 0.5)
    told = json.dumps(sent(server)["messages"])
    assert "sport" in told
    assert "Scotland" in told
    assert sent(server)["response_format"]["json_schema"]["strict"] is True


def test_classify_with_several_or_none(server: OpenAIStub, context: StubContext) -> None:
    server.script(
        openai_stub.completion('{"labels": ["b", "a", "b"], "confidence": 1}'),
        openai_stub.completion('{"labels": [], "confidence": 0.2}'),
    )
    outputs = run(CLASSIFY, context, text="x", labels=["a", "b"], multiple=True)
    assert (outputs["label"], outputs["labels"]) == ("b", ["b", "a"])
    outputs = run(CLASSIFY, context, text="x", labels=["a", "b"], multiple=True)
    assert (outputs["label"], outputs["labels"]) == (None, [])


@pytest.mark.parametrize(
    "answer",
    [
        '{"labels": ["c"], "confidence": 1}',
        '{"labels": [], "confidence": 1}',
        '{"labels": ["a"], "confidence": 7}',
        "a",
    ],
)
def test_a_label_of_its_own(server: OpenAIStub, context: StubContext, answer: str) -> None:
    server.script(openai_stub.completion(answer))
    error = failure(CLASSIFY, context, text="x", labels=["a", "b"])
    assert (error.code, error.retryable) == ("output_invalid", True)
    assert context.used["input_tokens"] == 11


@pytest.mark.parametrize("labels", [[], ["a", "a"], ["a", 1], "a", 5, {}, {"a": 1}, [""], ["x" * 201], [["a"]]])
def test_labels_that_are_refused(server: OpenAIStub, context: StubContext, labels: Any) -> None:
    assert failure(CLASSIFY, context, text="x", labels=labels).code == "validation"
    assert server.requests == []
    assert [name for name, _ in CLASSIFY.check({"labels": labels})] == ["labels"]


def test_extract(server: OpenAIStub, context: StubContext) -> None:
    assert run(EXTRACT, context, text="Ann is 40.", schema=SCHEMA)["data"] == {"age": 1}
    assert sent(server)["response_format"]["json_schema"]["schema"] == SCHEMA
    assert sent(server)["temperature"] == 0
    run(EXTRACT, context, text="Ann is 40.", schema=SCHEMA, model="o3-mini")
    assert "temperature" not in sent(server)


def test_extract_where_schemas_are_not_known(server: OpenAIStub, context: StubContext) -> None:
    refused = openai_stub.error(400, "response_format is not supported by this model")
    server.script(refused, refused, openai_stub.completion('```json\n{"age": 40}\n```'))
    assert run(EXTRACT, context, text="Ann is 40.", schema=SCHEMA)["data"] == {"age": 40}
    forms = [sent(server, at).get("response_format", {}).get("type") for at in range(3)]
    assert forms == ["json_schema", "json_object", None]
    assert all('"age"' in sent(server, at)["messages"][0]["content"] for at in range(3))


def test_extract_refuses_other_errors_at_once(server: OpenAIStub, context: StubContext) -> None:
    server.script(openai_stub.error(400, "This model's maximum context length is 8192 tokens"))
    assert failure(EXTRACT, context, text="Ann is 40.", schema=SCHEMA).code == "validation"
    assert len(server.requests) == 1


@pytest.mark.parametrize("answer", ['{"age": "old"}', "[]", "Ann is 40", ""])
def test_extract_holds_the_answer_to_the_schema(server: OpenAIStub, context: StubContext, answer: str) -> None:
    server.script(openai_stub.completion(answer))
    error = failure(EXTRACT, context, text="Ann is 40.", schema=SCHEMA)
    assert (error.code, error.retryable) == ("output_invalid", True)


@pytest.mark.parametrize(
    "schema", [{}, {"type": "array"}, {"type": "object", "properties": 1}, {"type": "object", "patternProperties": {}}]
)
def test_schemas_that_are_refused(server: OpenAIStub, context: StubContext, schema: Mapping[str, Any]) -> None:
    error = failure(EXTRACT, context, text="x", schema=schema)
    assert (error.code, error.retryable) == ("validation", False)
    assert "`schema`" in error.message
    assert [name for name, _ in EXTRACT.check({"schema": schema})] == ["schema"]
