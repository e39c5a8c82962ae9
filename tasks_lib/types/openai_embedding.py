"""``openai.embedding``: texts as vectors of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dataflow.lib.errors import TaskError
from tasks_lib.base import MISSING, Field, JsonValue, TaskContext, TaskType
from tasks_lib.clients import openai_calls
from tasks_lib.clients.openai_client import RETRIED, endpoint_of
from tasks_lib.literals import fractions
from tasks_lib.model_inputs import CONNECTION, model_field, record_usage

_MODEL = "text-embedding-3-small"
#: Of one task: texts, and numbers of all vectors together (about 30 MB of JSON).
MAX_TEXTS, MAX_NUMBERS = 10_000, 2_000_000
#: Of one request: texts, and characters, so that it stays below 300,000 tokens in any language.
BATCH_TEXTS, BATCH_CHARACTERS = 512, 200_000
_ONE_OF = "Give either `text` or `texts`."


class OpenAIEmbedding(TaskType):
    """Gives each text a vector; texts that mean the same have vectors that are near."""

    name = "openai.embedding"
    title = "Embedding"
    category = "AI"
    description = (
        "Turns a text, or each of a list of texts, into a vector of numbers: near vectors mean similar texts. Long "
        "lists are sent in batches."
    )
    inputs = (
        Field(name="text", type="text", description="The text; or give `texts`", example="It rained all day."),
        Field(name="texts", type="list", description="Several texts", example=["It rained.", "The sun shone."]),
        model_field(_MODEL),
        Field(
            name="dimensions",
            type="number",
            minimum=1,
            maximum=10_000,
            description="Length of the vectors, for models that let it be chosen",
            example=256,
        ),
        CONNECTION,
    )
    outputs = (
        Field(name="embedding", type="list", description="The vector of the text, or of the first one"),
        Field(name="embeddings", type="list", description="The vectors of all texts, in their order"),
        Field(name="dimensions", type="number", description="Length of a vector"),
        Field(name="usage", type="object", description="Tokens used: `prompt_tokens`, `total_tokens`"),
        Field(name="model", type="text", description="The model that answered"),
    )
    secrets = ("OPENAI_API_KEY",)
    retried = RETRIED
    example = {"text": "It rained all day."}

    def check(self, given: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
        """That there is either one text or several."""
        both = [given.get("text"), given.get("texts")]
        if MISSING not in both and both.count(None) != 1:
            yield "text", _ONE_OF
        yield from fractions(given, "dimensions")

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Embed the texts. Raises ``TaskError``."""
        texts = _texts(inputs["text"], inputs["texts"])
        endpoint = endpoint_of(context, inputs["connection"])
        options: dict[str, Any] = {"model": endpoint.model(inputs["model"], _MODEL)}
        if inputs["dimensions"] is not None:
            options["dimensions"] = int(inputs["dimensions"])
        vectors: list[list[float]] = []
        usage: dict[str, int] = {}
        model = options["model"]
        for batch in batches(texts):
            context.progress(len(vectors) / len(texts), f"{len(vectors):,} of {len(texts):,} texts")
            answer = openai_calls.embed(context, endpoint, texts=batch, **options)
            model = answer["model"] or model
            record_usage(context, model, answer["usage"])
            for name, amount in (answer["usage"] or {}).items():
                usage[name] = usage.get(name, 0) + (amount if type(amount) is int else 0)
            vectors += answer["embeddings"]
            _require_room(vectors, len(texts))
        return {
            "embedding": vectors[0],
            "embeddings": vectors,
            "dimensions": len(vectors[0]),
            "usage": usage,
            "model": model,
        }


def batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """``texts`` in requests that a provider takes. A text is never cut: one that is too long is refused by it."""
    batch: list[str] = []
    size = 0
    for text in texts:
        if batch and (len(batch) == BATCH_TEXTS or size + len(text) > BATCH_CHARACTERS):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += len(text)
    yield batch


def _texts(text: JsonValue, texts: JsonValue) -> list[str]:
    if (text is None) == (texts is None):
        raise TaskError("validation", _ONE_OF)
    wanted = [text] if texts is None else texts
    if not 1 <= len(wanted) <= MAX_TEXTS:
        raise TaskError("validation", f"`texts` must have 1 to {MAX_TEXTS:,} entries; it has {len(wanted):,}.")
    for place, one in enumerate(wanted):
        if not isinstance(one, str) or not one.strip():
            where = "text" if texts is None else f"texts[{place}]"
            raise TaskError("validation", f"`{where}` must be a text with something in it.")
    return list(wanted)


def _require_room(vectors: Sequence[Sequence[float]], count: int) -> None:
    """Refuse early what could not be kept as an output."""
    if len(vectors[0]) * count > MAX_NUMBERS:
        message = (
            f"{count:,} vectors of {len(vectors[0]):,} numbers are more than the {MAX_NUMBERS:,} numbers of one task. "
            "Give fewer texts, or fewer `dimensions`."
        )
        raise TaskError("too_large", message)
