"""What else the protocol offers: speech, transcription, embeddings, images, moderation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Any

from tasks_lib.base import JsonValue, TaskContext
from tasks_lib.clients.openai_client import Endpoint, as_object, exchange, malformed

#: The header by which the local voice server says that it, and not OpenAI, has spoken.
VOICE_HEADER = "x-dataflow-voice"


@dataclass(frozen=True, slots=True)
class Speech:
    """Spoken sound on its way. ``local`` says that the local voice speaks."""

    local: bool
    chunks: Iterator[bytes]


@contextmanager
def speech(context: TaskContext, endpoint: Endpoint, *, text: str, **options: Any) -> Iterator[Speech]:
    """``text`` (at most 4,096 characters) spoken, as a stream that lives as long as the block. Raises ``TaskError``."""
    with ExitStack() as stack:
        client = stack.enter_context(exchange(context, endpoint))
        speaking = client.audio.speech.with_streaming_response.create(input=text, **options)
        answer = stack.enter_context(speaking)
        kind = answer.headers.get("content-type", "")
        if kind.startswith(("text/", "application/json")):
            malformed(f"is {kind.split(';')[0]}, not sound")
        yield Speech(answer.headers.get(VOICE_HEADER) == "local", answer.iter_bytes(64 * 1024))


def transcribe(
    context: TaskContext, endpoint: Endpoint, *, file: IO[bytes], name: str, content_type: str, **options: Any
) -> dict[str, JsonValue]:
    """The text of a sound file (at most 25 MB): the protocol's answer, ``{"text": …}`` for plain formats."""
    with exchange(context, endpoint) as client:
        answer: Any = client.audio.transcriptions.create(file=(name, file, content_type), **options)
        if isinstance(answer, str):
            if options.get("response_format") in ("json", "verbose_json"):
                malformed("is not JSON")
            return {"text": answer}
        data = as_object(answer)
    if not isinstance(data.get("text"), str):
        malformed("has no text")
    return data


def embed(context: TaskContext, endpoint: Endpoint, *, texts: Sequence[str], **options: Any) -> dict[str, JsonValue]:
    """``{"embeddings", "model", "usage"}`` with a list of numbers for each text, in their order."""
    with exchange(context, endpoint) as client:
        # As numbers: the package asks for base64 unless told, which not every server knows.
        answer: Any = client.embeddings.create(input=list(texts), encoding_format="float", **options)
        data = as_object(answer)
    found = data.get("data")
    if not isinstance(found, list) or len(found) != len(texts) or not all(isinstance(one, dict) for one in found):
        malformed("has not one embedding for each text")
    ordered = sorted(found, key=lambda one: index if isinstance(index := one.get("index"), int) else 0)
    vectors = [one.get("embedding") for one in ordered]
    if not all(_is_vector(vector) for vector in vectors):
        malformed("has an embedding that is no list of numbers")
    return {"embeddings": vectors, "model": data.get("model"), "usage": data.get("usage")}


def draw(context: TaskContext, endpoint: Endpoint, **options: Any) -> dict[str, JsonValue]:
    """Images of a prompt: ``{"data": [{"b64_json"} or {"url"}, …], "usage"}``."""
    with exchange(context, endpoint) as client:
        answer: Any = client.images.generate(**options)
        data = as_object(answer)
    found = data.get("data")
    if not isinstance(found, list) or not found or not all(isinstance(one, dict) for one in found):
        malformed("has no images")
    return data


def moderate(context: TaskContext, endpoint: Endpoint, *, text: str, **options: Any) -> dict[str, JsonValue]:
    """``{"flagged", "categories", "scores", "model"}`` of a text."""
    with exchange(context, endpoint) as client:
        answer: Any = client.moderations.create(input=text, **options)
        data = as_object(answer)
    results = data.get("results")
    result = results[0] if isinstance(results, list) and results else None
    if not isinstance(result, dict) or not isinstance(result.get("flagged"), bool):
        malformed("does not say whether the text was flagged")
    told = {name: result.get(theirs) for name, theirs in _MODERATED.items()}
    if not all(isinstance(value, dict) for value in told.values()):
        malformed("has no categories")
    return {"flagged": result["flagged"], **told, "model": data.get("model")}


_MODERATED = {"categories": "categories", "scores": "category_scores"}


def _is_vector(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(number) in (int, float) for number in value)
