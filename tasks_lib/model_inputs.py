"""What the types that ask a model have in common: inputs, options of a request, what was used, and progress."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from tasks_lib.base import Field, JsonValue, TaskContext

#: What each sampling option means when it is not given; such a value is not sent to models that take none.
SAMPLING = {"temperature": 0.7, "top_p": 1.0, "frequency_penalty": 0, "presence_penalty": 0}
#: Models that reason take another name for the limit and no sampling options.
_REASONING = re.compile(r"(o\d|gpt-([5-9]|\d\d))(?!.*chat)")
#: Characters of a token, about; and characters after which an answer without a limit counts as two thirds done.
_TOKEN, _USUAL = 4, 4000
#: A part may be quoted as done only when it is.
_ALMOST = 0.99
#: Our names of amounts, and where providers say them.
_COUNTED = {
    "input_tokens": (("prompt_tokens",), ("input_tokens",)),
    "output_tokens": (("completion_tokens",), ("output_tokens",)),
    "cached_tokens": (("prompt_tokens_details", "cached_tokens"), ("input_tokens_details", "cached_tokens")),
}

CONNECTION = Field(
    name="connection",
    type="text",
    max_length=200,
    description="Name of a connection of the kind `openai`: its address and key, and none of the installation's",
    example="main",
)
SAMPLING_FIELDS = (
    Field(name="max_tokens", type="number", minimum=1, description="Most tokens of the answer", example=300),
    Field(name="temperature", type="number", default=0.7, minimum=0, maximum=2, description="How free it is"),
    Field(name="top_p", type="number", default=1.0, minimum=0, maximum=1, description="Share of likely tokens"),
    Field(name="frequency_penalty", type="number", default=0, minimum=-2, maximum=2, description="Less repetition"),
    Field(name="presence_penalty", type="number", default=0, minimum=-2, maximum=2, description="More new topics"),
)


def model_field(usual: str) -> Field:
    """The input ``model``; without a value it is the connection's default model, else ``usual``."""
    return Field(
        name="model",
        type="text",
        default=usual,
        unless="connection",
        max_length=200,
        description="Name of the model. With a connection, its default model",
        example=usual,
    )


def sampling_options(inputs: Mapping[str, JsonValue], model: str) -> dict[str, Any]:
    """The model and the sampling options as they are sent."""
    reasons = _REASONING.match(model) is not None
    options: dict[str, Any] = {"model": model}
    if inputs.get("max_tokens") is not None:
        options["max_completion_tokens" if reasons else "max_tokens"] = int(inputs["max_tokens"])
    given = {name: inputs[name] for name in SAMPLING if name in inputs}
    return options | {name: value for name, value in given.items() if not (reasons and value == SAMPLING[name])}


def steady_options(model: str) -> dict[str, Any]:
    """The model and what makes it answer alike each time, where it can be told so."""
    return {"model": model} | ({} if _REASONING.match(model) else {"temperature": 0})


def record_usage(context: TaskContext, model: str, usage: JsonValue, **more: JsonValue) -> None:
    """Note what a request used: tokens as the provider counts them, and ``more`` (characters, seconds, images)."""
    amounts = {name: _counted(usage, places) for name, places in _COUNTED.items()} | more
    context.usage(model=model, **{name: amount for name, amount in amounts.items() if _is_amount(amount)})


def progress_of_text(
    context: TaskContext, max_tokens: JsonValue, *, begun: float = 0.0, share: float = 1.0, prefix: str = ""
) -> Callable[[int], None]:
    """Tells the progress of an answer by its characters: against the most it may have, else ever slower.

    ``begun`` and ``share`` place the answer within a longer task.
    """

    def tell(characters: int) -> None:
        most = None if max_tokens is None else max_tokens * _TOKEN
        done = 1 - math.exp(-characters / _USUAL) if most is None else characters / most
        context.progress(begun + share * min(done, _ALMOST), f"{prefix}{characters:,} characters")

    return tell


def _counted(usage: JsonValue, places: tuple[tuple[str, ...], ...]) -> JsonValue:
    """The first of ``places`` in a provider's usage that has something."""
    for place in places:
        value = usage
        for key in place:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            return value
    return None


def _is_amount(value: JsonValue) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value >= 0
