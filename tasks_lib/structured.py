"""Answers of a model as JSON that keeps to a schema."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from dataflow.lib.errors import TaskError
from dataflow.lib.jsonvalues import JsonError, parse_json
from tasks_lib.base import JsonValue, TaskContext
from tasks_lib.clients import openai_chat
from tasks_lib.clients.openai_client import Endpoint
from tasks_lib.model_inputs import record_usage
from tasks_lib.schema_check import is_strict, mismatch

#: What a server may refuse that knows no such form of an answer.
_FORM_REFUSED = re.compile(r"response_format|json_schema|json_object|schema|grammar|structured", re.IGNORECASE)
_FENCE = "```"


def response_format(schema: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """How the protocol asks for JSON by a schema; strict where the provider can hold itself to it."""
    form = {"name": "response", "schema": schema, "strict": is_strict(dict(schema))}
    return {"type": "json_schema", "json_schema": form}


def require_answer(answer: openai_chat.Completion) -> None:
    """Raise ``TaskError('content_refused')`` where the model would not answer."""
    if answer.refusal is not None or answer.finish_reason == "content_filter":
        said = (answer.refusal or "its content filter stopped the answer")[:300]
        raise TaskError("content_refused", f"The model refused: {said}")


def checked_json(
    answer: openai_chat.Completion, schema: Mapping[str, JsonValue], name: str = "response_schema"
) -> JsonValue:
    """The answer as JSON that keeps to ``schema``; another try of the model may do better.

    Raises ``TaskError('output_invalid')``.
    """
    if answer.finish_reason == "length":
        _unusable("The answer was cut at its most tokens before the JSON was complete. Raise `max_tokens`.")
    try:
        value = parse_json(_unfenced(answer.text).encode("utf-8", "replace"))
    except JsonError as error:
        _unusable(f"The model's answer is not JSON: {error.detail}")
    if (wrong := mismatch(value, schema, name)) is not None:
        _unusable(f"The model's answer does not keep to `{name}`: {wrong}")
    return value


def ask_for_json(
    context: TaskContext,
    endpoint: Endpoint,
    *,
    messages: Sequence[Mapping[str, JsonValue]],
    schema: Mapping[str, JsonValue],
    name: str,
    options: Mapping[str, Any],
    on_text: Callable[[int], None],
) -> tuple[JsonValue, openai_chat.Completion]:
    """JSON that keeps to ``schema`` (which the user knows as ``name``), and the answer that it was in.

    A server that does not know schemas is asked for any JSON, and one that does not know that for plain text: the
    schema stands in the messages too. Raises ``TaskError``; ``output_invalid`` may go well at another try.
    """
    told = [{"role": "system", "content": _INSTRUCTION + json.dumps(schema, ensure_ascii=False)}, *messages]
    forms: list[dict[str, Any]] = [
        {"response_format": response_format(schema)},
        {"response_format": {"type": "json_object"}},
        {},
    ]
    answer = None
    while answer is None:
        form = forms.pop(0)
        try:
            answer = openai_chat.complete(context, endpoint, messages=told, on_text=on_text, **options, **form)
        except TaskError as error:
            if not forms or not _form_is_refused(error):
                raise
            context.log("The server does not know this form of an answer; it is asked in a simpler one.", level="debug")
    record_usage(context, answer.model, answer.usage)
    require_answer(answer)
    return checked_json(answer, schema, name), answer


def _unfenced(text: str) -> str:
    """``text`` without the Markdown fence that many models put around JSON."""
    text = text.strip()
    if not (text.startswith(_FENCE) and text.endswith(_FENCE)):
        return text
    return text.partition("\n")[2].removesuffix(_FENCE)


_INSTRUCTION = "Answer with JSON alone, without any other text. It must keep to this JSON schema: "


def _form_is_refused(error: TaskError) -> bool:
    return error.details.get("status") in (400, 404, 422, 501) and _FORM_REFUSED.search(error.message) is not None


def _unusable(message: str) -> NoReturn:
    raise TaskError("output_invalid", message, retryable=True)
