"""``openai.moderation``: whether a text is one that should not be published."""

from __future__ import annotations

from collections.abc import Mapping

from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.clients import openai_calls
from tasks_lib.clients.openai_client import RETRIED, endpoint_of
from tasks_lib.model_inputs import CONNECTION, model_field, record_usage

_MODEL = "omni-moderation-latest"


class OpenAIModeration(TaskType):
    """Asks a model whether a text is violent, hateful, sexual and so on."""

    name = "openai.moderation"
    title = "Moderation"
    category = "AI"
    description = "Says whether a text is flagged as harmful, by which categories, and how surely for each (0–1)."
    inputs = (
        Field(
            name="text",
            type="text",
            required=True,
            min_length=1,
            max_length=1_000_000,
            description="The text to look at",
            example="Have a nice day!",
        ),
        model_field(_MODEL),
        CONNECTION,
    )
    outputs = (
        Field(name="flagged", type="boolean", description="Whether any category holds"),
        Field(name="categories", type="object", description="Category to true or false"),
        Field(name="scores", type="object", description="Category to how surely it holds, 0–1"),
        Field(name="model", type="text", description="The model that answered"),
    )
    secrets = ("OPENAI_API_KEY",)
    retried = RETRIED
    example = {"text": "Have a nice day!"}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Look at the text. Raises ``TaskError``."""
        endpoint = endpoint_of(context, inputs["connection"])
        asked = endpoint.model(inputs["model"], _MODEL)
        answer = openai_calls.moderate(context, endpoint, text=inputs["text"], model=asked)
        model = answer["model"] or asked
        record_usage(context, model, None, characters=len(inputs["text"]))
        return {name: answer[name] for name in ("flagged", "categories", "scores")} | {"model": model}
