"""``openai.completion``: a text, an instruction, and what a model makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.clients import openai_chat
from tasks_lib.clients.openai_client import RETRIED, endpoint_of
from tasks_lib.literals import fractions, wrong_inputs
from tasks_lib.model_inputs import (
    CONNECTION,
    SAMPLING_FIELDS,
    model_field,
    progress_of_text,
    record_usage,
    sampling_options,
)
from tasks_lib.schema_check import require_object
from tasks_lib.structured import checked_json, require_answer, response_format

_MODEL = "gpt-4o-mini"


class OpenAICompletion(TaskType):
    """Asks a model what ``prompt`` says about ``text``."""

    name = "openai.completion"
    title = "Completion"
    category = "AI"
    description = (
        "Gives a text and an instruction to a language model. With `response_schema` the answer is checked JSON."
    )
    inputs = (
        Field(name="text", type="text", required=True, description="The text to work on", example="It rained all day."),
        Field(
            name="prompt",
            type="text",
            required=True,
            aliases=("instructions",),
            description="What to do with the text",
            example="Translate to French",
        ),
        model_field(_MODEL),
        *SAMPLING_FIELDS,
        Field(name="response_schema", type="object", description="JSON schema that the answer must keep to"),
        CONNECTION,
    )
    outputs = (
        Field(name="completion", type="text", description="What the model answered"),
        Field(name="json", type="object", description="The answer as JSON, when `response_schema` is given"),
        Field(name="usage", type="object", description="Tokens used, as the provider counts them"),
        Field(name="model", type="text", description="The model that answered"),
        Field(name="finish_reason", type="text", description="Why it ended: `stop`, `length` …", example="stop"),
    )
    secrets = ("OPENAI_API_KEY",)
    retried = (*RETRIED, "output_invalid")
    example = {"text": "It rained all day.", "prompt": "Translate to French"}

    def check(self, given: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
        """The schema and the limit, where they are known."""
        yield from wrong_inputs(given, {"response_schema": require_object})
        yield from fractions(given, "max_tokens")

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Ask the model. Raises ``TaskError``; ``output_invalid`` when the answer does not keep to the schema."""
        schema: dict[str, JsonValue] | None = inputs["response_schema"]
        if schema is not None:
            require_object(schema)
        endpoint = endpoint_of(context, inputs["connection"])
        options = sampling_options(inputs, endpoint.model(inputs["model"], _MODEL))
        if schema is not None:
            options["response_format"] = response_format(schema)
        messages = [{"role": "system", "content": inputs["prompt"]}, {"role": "user", "content": inputs["text"]}]
        tell = progress_of_text(context, inputs["max_tokens"])
        answer = openai_chat.complete(context, endpoint, messages=messages, on_text=tell, **options)
        record_usage(context, answer.model, answer.usage)
        require_answer(answer)
        return {
            "completion": answer.text,
            "json": None if schema is None else checked_json(answer, schema),
            "usage": answer.usage,
            "model": answer.model,
            "finish_reason": answer.finish_reason,
        }
