"""``openai.completion``: a text, an instruction, and what a model makes of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NoReturn

from dataflow.lib.errors import TaskError
from dataflow.lib.jsonvalues import JsonError, parse_json
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.clients import openai_client
from tasks_lib.schema_check import is_strict, mismatch, require_schema

#: What each sampling option means when it is not given; such a value is not sent to models that take none.
_SAMPLING = {"temperature": 0.7, "top_p": 1.0, "frequency_penalty": 0, "presence_penalty": 0}
#: Models that reason take another name for the limit and no sampling options.
_REASONING = re.compile(r"(o\d|gpt-([5-9]|\d\d))(?!.*chat)")


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
        Field(name="model", type="text", default="gpt-4o-mini", description="Name of the model"),
        Field(name="max_tokens", type="number", minimum=1, description="Most tokens of the answer", example=300),
        Field(name="temperature", type="number", default=0.7, minimum=0, maximum=2, description="How free it is"),
        Field(name="top_p", type="number", default=1.0, minimum=0, maximum=1, description="Share of likely tokens"),
        Field(name="frequency_penalty", type="number", default=0, minimum=-2, maximum=2, description="Less repetition"),
        Field(name="presence_penalty", type="number", default=0, minimum=-2, maximum=2, description="More new topics"),
        Field(name="response_schema", type="object", description="JSON schema that the answer must keep to"),
    )
    outputs = (
        Field(name="completion", type="text", description="What the model answered"),
        Field(name="json", type="object", description="The answer as JSON, when `response_schema` is given"),
        Field(name="usage", type="object", description="Tokens used, as the provider counts them"),
        Field(name="model", type="text", description="The model that answered"),
        Field(name="finish_reason", type="text", description="Why it ended: `stop`, `length` …", example="stop"),
    )
    secrets = ("OPENAI_API_KEY",)
    example = {"text": "It rained all day.", "prompt": "Translate to French"}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Ask the model. Raises ``TaskError``; ``output_invalid`` when the answer does not keep to the schema."""
        schema: dict[str, JsonValue] | None = inputs["response_schema"]
        if schema is not None:
            require_schema(schema)
        messages = [{"role": "system", "content": inputs["prompt"]}, {"role": "user", "content": inputs["text"]}]
        answer = openai_client.complete(context, messages=messages, **_options(inputs))
        _record(context, answer)
        if answer.refusal is not None or answer.finish_reason == "content_filter":
            said = (answer.refusal or "its content filter stopped the answer")[:300]
            raise TaskError("content_refused", f"The model refused: {said}")
        return {
            "completion": answer.text,
            "json": None if schema is None else _checked(answer, schema),
            "usage": answer.usage,
            "model": answer.model,
            "finish_reason": answer.finish_reason,
        }


def _options(inputs: Mapping[str, JsonValue]) -> dict[str, Any]:
    """What is sent besides the messages."""
    model: str = inputs["model"]
    reasons = _REASONING.match(model) is not None
    options: dict[str, Any] = {"model": model}
    if inputs["max_tokens"] is not None:
        options["max_completion_tokens" if reasons else "max_tokens"] = int(inputs["max_tokens"])
    options |= {name: inputs[name] for name, usual in _SAMPLING.items() if not (reasons and inputs[name] == usual)}
    if (schema := inputs["response_schema"]) is not None:
        form = {"name": "response", "schema": schema, "strict": is_strict(schema)}
        options["response_format"] = {"type": "json_schema", "json_schema": form}
    return options


def _record(context: TaskContext, answer: openai_client.Completion) -> None:
    names = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens"}
    counted = {ours: answer.usage[theirs] for theirs, ours in names.items() if answer.usage and theirs in answer.usage}
    context.usage(model=answer.model, **counted)


def _checked(answer: openai_client.Completion, schema: Mapping[str, JsonValue]) -> JsonValue:
    """The answer as JSON that keeps to ``schema``; another try of the model may do better."""
    if answer.finish_reason == "length":
        _unusable("The answer was cut at its most tokens before the JSON was complete. Raise `max_tokens`.")
    try:
        value = parse_json(answer.text.encode("utf-8", "replace"))
    except JsonError as error:
        _unusable(f"The model's answer is not JSON: {error.detail}")
    if (wrong := mismatch(value, schema)) is not None:
        _unusable(f"The model's answer does not keep to `response_schema`: {wrong}")
    return value


def _unusable(message: str) -> NoReturn:
    raise TaskError("output_invalid", message, retryable=True)
