"""Speaks the OpenAI protocol with the ``openai`` package, for the ``openai.*`` task types.

Nothing else imports that package. It takes over a second to import, so it is imported when the first call is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, NoReturn

from dataflow.lib.errors import TaskError
from dataflow.lib.lifeline import Lifeline
from dataflow.lib.retry_after import parse_retry_after
from tasks_lib.base import JsonValue, TaskContext

if TYPE_CHECKING:
    import openai

OPENAI_URL = "https://api.openai.com/v1"
#: Seconds one exchange may take when the task has no deadline.
DEFAULT_TIMEOUT = 600.0
#: The header by which the local voice server says that it, and not OpenAI, has spoken.
VOICE_HEADER = "x-dataflow-voice"
_MESSAGE_LENGTH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a model answered. ``refusal`` is its words when it would not."""

    text: str
    refusal: str | None
    model: str
    finish_reason: str | None
    usage: dict[str, JsonValue] | None


@dataclass(frozen=True, slots=True)
class Speech:
    """Spoken sound on its way. ``local`` says that the local voice speaks."""

    local: bool
    chunks: Iterator[bytes]


def complete(context: TaskContext, *, messages: Any, **options: Any) -> Completion:
    """One chat completion. ``options`` go to the protocol as they are. Raises ``TaskError``."""
    with _connection(context) as client:
        answer = client.chat.completions.create(messages=messages, **options)
        data = _as_object(answer)
    choices = data.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        _malformed("has no choices")
    content, refusal = message.get("content"), message.get("refusal")
    if not isinstance(content, str) and not isinstance(refusal, str):
        _malformed("has no text")
    return Completion(
        text=content if isinstance(content, str) else "",
        refusal=refusal if isinstance(refusal, str) else None,
        model=str(data.get("model") or options.get("model", "")),
        finish_reason=choice.get("finish_reason"),
        usage=data.get("usage") if isinstance(data.get("usage"), dict) else None,
    )


@contextmanager
def speech(context: TaskContext, *, text: str, **options: Any) -> Iterator[Speech]:
    """``text`` (at most 4,096 characters) spoken, as a stream that lives as long as the block. Raises ``TaskError``."""
    with ExitStack() as stack:
        client = stack.enter_context(_connection(context))
        speaking = client.audio.speech.with_streaming_response.create(input=text, **options)
        answer = stack.enter_context(speaking)
        kind = answer.headers.get("content-type", "")
        if kind.startswith(("text/", "application/json")):
            _malformed(f"is {kind.split(';')[0]}, not sound")
        yield Speech(answer.headers.get(VOICE_HEADER) == "local", answer.iter_bytes(64 * 1024))


def transcribe(
    context: TaskContext, *, file: IO[bytes], name: str, content_type: str, **options: Any
) -> dict[str, JsonValue]:
    """The text of a sound file (at most 25 MB): the protocol's answer, ``{"text": …}`` for plain formats."""
    with _connection(context) as client:
        answer = client.audio.transcriptions.create(file=(name, file, content_type), **options)
        if isinstance(answer, str):
            return _plain_text(answer, str(options.get("response_format")))
        data = _as_object(answer)
    if not isinstance(data.get("text"), str):
        _malformed("has no text")
    return data


def _plain_text(answer: str, kind: str) -> dict[str, JsonValue]:
    if kind in ("json", "verbose_json"):
        _malformed("is not JSON")
    return {"text": answer}


@contextmanager
def _connection(context: TaskContext) -> Iterator[openai.OpenAI]:
    """A client for one exchange, ended by the task's deadline or cancellation; what it raises becomes ``TaskError``."""
    import httpx2  # with openai
    import openai  # over a second

    from tasks_lib.clients.openai_transport import NETWORK_ERRORS, LifelineTransport  # imports httpx2

    left = context.cancellation.remaining()
    with Lifeline(DEFAULT_TIMEOUT if left is None else left, context.cancellation) as line:
        # The lifeline holds the time; a timeout of the library's own would only cut long answers short.
        transport = httpx2.Client(transport=LifelineTransport(line), timeout=None, trust_env=False)
        try:
            with openai.OpenAI(
                api_key=_key(context),
                base_url=context.openai_base_url or OPENAI_URL,
                max_retries=0,
                timeout=None,
                http_client=transport,
            ) as client:
                yield client
        except (openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError, *NETWORK_ERRORS) as error:
            line.check()  # a cut line shows as a broken connection
            raise _task_error(error) from error
        except json.JSONDecodeError as error:
            raise TaskError("provider_error", "The provider's answer is not JSON.", retryable=True) from error


def _key(context: TaskContext) -> str:
    key = context.secret("OPENAI_API_KEY")
    if key:
        return key
    if context.openai_base_url is None:
        message = "There is no OpenAI key: send the header X-OpenAI-Key, or set OPENAI_API_KEY."
        raise TaskError("authentication", message)
    return "none"  # the operator's own server may need no key; the package insists on one


def _task_error(error: Exception) -> TaskError:
    import openai  # loaded already

    if isinstance(error.__cause__, TaskError):  # of our own transport, wrapped by the package
        return error.__cause__
    if isinstance(error, openai.APIStatusError):
        return _status_error(error)
    if isinstance(error, openai.APITimeoutError):
        return TaskError("timeout", "The provider did not answer in time.", retryable=True)
    if isinstance(error, openai.APIResponseValidationError):
        return TaskError("provider_error", "The provider's answer does not keep to the protocol.", retryable=True)
    cause = str(error.__cause__ or error)[:_MESSAGE_LENGTH]
    return TaskError("communication", f"The connection to the provider failed: {cause}", retryable=True)


def _status_error(error: openai.APIStatusError) -> TaskError:
    status, said = error.status_code, _said(error)
    code, retryable = _code(status, error.code, error.type)
    if code == "authentication":
        said += " Check the key: the header X-OpenAI-Key, or OPENAI_API_KEY."
    wait = parse_retry_after(error.response.headers.get("retry-after")) if retryable else None
    details = {"status": status} | ({"provider_code": str(error.code)[:100]} if error.code else {})
    return TaskError(code, f"The provider answered {status}: {said}", retryable, wait, details)


def _code(status: int, code: str | None, kind: str | None) -> tuple[str, bool]:
    """Our code for an answer, and whether another try could help."""
    if code == "insufficient_quota" or kind == "insufficient_quota":
        return "budget_exceeded", False
    if code in ("content_policy_violation", "content_filter", "moderation_blocked"):
        return "content_refused", False
    known = {
        401: ("authentication", False),
        402: ("budget_exceeded", False),
        403: ("authorization", False),
        408: ("timeout", True),
        409: ("provider_error", True),
        413: ("too_large", False),
        425: ("provider_error", True),
        429: ("rate_limited", True),
    }
    return known.get(status, ("provider_error", True) if status >= 500 else ("validation", False))


def _said(error: openai.APIStatusError) -> str:
    """What the provider says is wrong, shortened."""
    body = error.body
    message = body.get("message") if isinstance(body, dict) else body if isinstance(body, str) else None
    return (message if isinstance(message, str) and message.strip() else "no reason given")[:_MESSAGE_LENGTH]


def _as_object(answer: Any) -> dict[str, JsonValue]:
    """The answer as it was sent. A server that keeps badly to the protocol makes the package give back anything."""
    data = answer.model_dump(mode="json", warnings=False) if hasattr(answer, "model_dump") else answer
    if not isinstance(data, dict):
        _malformed("is not a JSON object")
    return data


def _malformed(what: str) -> NoReturn:
    raise TaskError("provider_error", f"The provider's answer {what}.", retryable=True)
