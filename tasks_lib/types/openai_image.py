"""``openai.image``: pictures of what a text says."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dataflow.lib.errors import TaskError
from dataflow.lib.sniffing import HEAD, media_type
from tasks_lib.base import Field, FileValue, JsonValue, TaskContext, TaskType
from tasks_lib.clients import openai_calls
from tasks_lib.clients.openai_client import RETRIED, endpoint_of
from tasks_lib.literals import fractions
from tasks_lib.model_inputs import CONNECTION, model_field, record_usage

#: What comes after `gpt-image-1`, which its maker shut down in October 2026.
_MODEL = "gpt-image-2"
#: Bytes of one picture.
MAX_IMAGE = 50 * 1024 * 1024
_KINDS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif"}
#: Characters of base64 that are decoded at a time: a multiple of four.
_PIECE = 1024 * 1024


class OpenAIImage(TaskType):
    """Lets a model draw."""

    name = "openai.image"
    title = "Image"
    category = "AI"
    description = "Draws one or several pictures of what a text says."
    inputs = (
        Field(
            name="prompt",
            type="text",
            required=True,
            min_length=1,
            max_length=32_000,
            description="What to draw",
            example="A lighthouse in a storm, as a woodcut",
        ),
        model_field(_MODEL),
        Field(
            name="size", type="text", description="Width and height, where not the model's usual", example="1024x1024"
        ),
        Field(
            name="quality", type="text", description="`low`, `medium`, `high` …, as the model knows it", example="low"
        ),
        Field(name="n", type="number", default=1, minimum=1, maximum=10, description="How many pictures"),
        CONNECTION,
    )
    outputs = (
        Field(name="image", type="file", description="The first picture"),
        Field(name="images", type="list", description="All pictures, as files"),
        Field(name="revised_prompt", type="text", description="What was drawn, where the model changed the text"),
        Field(name="usage", type="object", description="Tokens used, where the provider counts them"),
        Field(name="model", type="text", description="The model that was asked"),
    )
    secrets = ("OPENAI_API_KEY",)
    retried = RETRIED
    example = {"prompt": "A lighthouse in a storm, as a woodcut"}

    def check(self, given: Mapping[str, JsonValue]) -> Iterable[tuple[str, str]]:
        """That a number of pictures is given."""
        return fractions(given, "n")

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Draw. Raises ``TaskError``."""
        endpoint = endpoint_of(context, inputs["connection"])
        model = endpoint.model(inputs["model"], _MODEL)
        options: dict[str, Any] = {"model": model, "prompt": inputs["prompt"], "n": int(inputs["n"])}
        options |= {name: inputs[name] for name in ("size", "quality") if inputs[name]}
        if model.startswith("dall-e"):
            options["response_format"] = "b64_json"  # else an address; later models know no such option
        answer = openai_calls.draw(context, endpoint, **options)
        drawn = answer["data"]
        record_usage(context, model, answer.get("usage"), images=len(drawn))
        images = [_kept(context, one, place) for place, one in enumerate(drawn)]
        revised = drawn[0].get("revised_prompt")
        return {
            "image": images[0],
            "images": images,
            "revised_prompt": revised if isinstance(revised, str) else None,
            "usage": answer.get("usage"),
            "model": model,
        }


def _kept(context: TaskContext, drawn: Mapping[str, JsonValue], place: int) -> FileValue:
    """A picture as a file. What it is, its content says."""
    encoded, url = drawn.get("b64_json"), drawn.get("url")
    if isinstance(encoded, str) and encoded:
        chunks = _decoded(encoded)
    elif isinstance(url, str) and url:
        chunks = _fetched(context, url)
    else:
        raise _no_picture("is neither content nor an address")
    first = next(chunks, b"")
    ending = _KINDS.get(kind := media_type(first[:HEAD]))
    if ending is None:
        raise _no_picture(f"is {kind}")
    with context.files.create(f"image{place + 1 if place else ''}.{ending}", kind) as file:
        size = file.write(first)
        for chunk in chunks:
            size += file.write(chunk)
            if size > MAX_IMAGE:
                raise TaskError("too_large", f"A picture has more than {MAX_IMAGE:,} bytes.")
    return file.value


def _decoded(encoded: str) -> Iterator[bytes]:
    try:
        for start in range(0, len(encoded), _PIECE):
            yield base64.b64decode(encoded[start : start + _PIECE], validate=True)
    except (binascii.Error, ValueError) as error:
        raise _no_picture("is not base64") from error


def _fetched(context: TaskContext, url: str) -> Iterator[bytes]:
    """From where the provider keeps it, without any key."""
    with context.http.request("GET", url, max_bytes=MAX_IMAGE) as answer:
        if answer.status != 200:
            retryable = answer.status >= 500
            raise TaskError("communication", f"The picture could not be fetched: {answer.status}.", retryable=retryable)
        yield from answer.iter_bytes()


def _no_picture(what: str) -> TaskError:
    return TaskError("provider_error", f"A picture in the provider's answer {what}.", retryable=True)
