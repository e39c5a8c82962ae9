"""Speaks the OpenAI protocol with the ``openai`` package, for the types that ask a model.

Nothing else imports that package. It takes over a second to import, so it is imported when the first call is made.
What is asked is in ``openai_chat`` and ``openai_calls``; here is how: where to, with which key, and what errors mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from dataflow.lib.addresses import AddressPolicy
from dataflow.lib.errors import TaskError
from dataflow.lib.lifeline import Lifeline
from dataflow.lib.retry_after import parse_retry_after
from tasks_lib.base import JsonValue, TaskContext

if TYPE_CHECKING:
    import openai

OPENAI_URL = "https://api.openai.com/v1"
#: Seconds one exchange may take when the task has no deadline.
DEFAULT_TIMEOUT = 600.0
#: Codes of what goes wrong with a provider now and may go well at another try.
RETRIED = ("rate_limited", "provider_error", "communication", "timeout")
_MESSAGE_LENGTH = 500
#: The package insists on a key; a server of one's own may need none.
_NO_KEY = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the protocol is spoken, and as whom."""

    base_url: str
    key: str
    organisation: str | None = None
    #: Model of tasks that name none; ``None`` leaves it to the type.
    default_model: str | None = None
    #: Which addresses it may be at; ``None`` for the operator's own choice, which is not checked.
    policy: AddressPolicy | None = None
    #: What to look at when the key is refused.
    key_is_from: str = "the header X-OpenAI-Key, or OPENAI_API_KEY"

    def model(self, given: str | None, usual: str) -> str:
        """The model to ask: the one given, else the connection's, else ``usual``."""
        return given or self.default_model or usual


def endpoint_of(context: TaskContext, connection: str | None) -> Endpoint:
    """A named connection's endpoint, else the installation's.

    A connection stands alone: neither the installation's key nor its address goes with it. Raises ``TaskError``.
    """
    if not connection:
        return _installed(context)
    settings = context.connection(connection, "openai")
    return Endpoint(
        base_url=settings.get("base_url") or OPENAI_URL,
        key=settings.get("api_key") or _NO_KEY,
        organisation=settings.get("organisation") or None,
        default_model=settings.get("default_model") or None,
        policy=AddressPolicy(context.http.allowed_hosts, context.http.allow_loopback),
        key_is_from=f"`api_key` of the connection {connection}",
    )


@contextmanager
def exchange(context: TaskContext, endpoint: Endpoint) -> Iterator[openai.OpenAI]:
    """A client for one exchange, ended by the task's deadline or cancellation; what it raises becomes ``TaskError``."""
    import httpx2  # with openai
    import openai  # over a second

    from tasks_lib.clients.openai_transport import NETWORK_ERRORS, LifelineTransport  # imports httpx2

    left = context.cancellation.remaining()
    with Lifeline(DEFAULT_TIMEOUT if left is None else left, context.cancellation) as line:
        # The lifeline holds the time; a timeout of the library's own would only cut long answers short.
        # A redirect is not followed: the key is for this server alone.
        transport = LifelineTransport(line, endpoint.policy)
        http = httpx2.Client(transport=transport, timeout=None, trust_env=False, follow_redirects=False)
        try:
            with openai.OpenAI(
                api_key=endpoint.key,
                base_url=endpoint.base_url,
                default_headers=_headers(endpoint),
                max_retries=0,
                timeout=None,
                http_client=http,
            ) as client:
                yield client
        except (openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError, *NETWORK_ERRORS) as error:
            line.check()  # a cut line shows as a broken connection
            raise _task_error(error, endpoint) from error
        except (json.JSONDecodeError, RecursionError) as error:
            raise TaskError("provider_error", "The provider's answer is not JSON.", retryable=True) from error


def as_object(answer: Any) -> dict[str, JsonValue]:
    """The answer as it was sent. A server that keeps badly to the protocol makes the package give back anything."""
    dumped = {"mode": "json", "by_alias": True, "exclude_unset": True, "warnings": False}
    data = answer.model_dump(**dumped) if hasattr(answer, "model_dump") else answer
    if not isinstance(data, dict):
        malformed("is not a JSON object")
    return data


def malformed(what: str) -> NoReturn:
    """Raise the error of an answer that does not keep to the protocol; ``what`` follows "The provider's answer"."""
    raise TaskError("provider_error", f"The provider's answer {what}.", retryable=True)


def _headers(endpoint: Endpoint) -> dict[str, Any]:
    """For a connection, without what the package takes from the installation's environment."""
    import openai  # loaded already

    if endpoint.policy is None:
        return {}
    return {
        "OpenAI-Organization": endpoint.organisation or openai.Omit(),
        "OpenAI-Project": openai.Omit(),
    }


def _installed(context: TaskContext) -> Endpoint:
    """The installation's. The operator's own server may need no key."""
    key, base_url = context.secret("OPENAI_API_KEY"), context.openai_base_url
    if not key and base_url is None:
        message = "There is no OpenAI key: send the header X-OpenAI-Key, or set OPENAI_API_KEY."
        raise TaskError("authentication", message)
    return Endpoint(base_url=base_url or OPENAI_URL, key=key or _NO_KEY)


def _task_error(error: Exception, endpoint: Endpoint) -> TaskError:
    import openai  # loaded already

    if isinstance(error.__cause__, TaskError):  # of our own transport, wrapped by the package
        return error.__cause__
    if isinstance(error, openai.APIStatusError):
        return _status_error(error, endpoint)
    if isinstance(error, openai.APITimeoutError):
        return TaskError("timeout", "The provider did not answer in time.", retryable=True)
    if isinstance(error, openai.APIResponseValidationError):
        return TaskError("provider_error", "The provider's answer does not keep to the protocol.", retryable=True)
    if isinstance(error, openai.APIError) and not isinstance(error, openai.APIConnectionError):
        code, retryable = _code(500, error.code, error.type)  # told within a stream, after its 200
        return TaskError(code, f"The provider broke off with an error: {_said(error)}", retryable)
    cause = str(error.__cause__ or error)[:_MESSAGE_LENGTH]
    return TaskError("communication", f"The connection to the provider failed: {cause}", retryable=True)


def _status_error(error: openai.APIStatusError, endpoint: Endpoint) -> TaskError:
    status, said = error.status_code, _said(error)
    code, retryable = _code(status, error.code, error.type)
    if code == "authentication":
        said += f" Check the key: {endpoint.key_is_from}."
    if 300 <= status < 400:
        said += " A redirect is not followed: set the base URL to where the protocol is spoken."
    wait = parse_retry_after(error.response.headers.get("retry-after")) if retryable else None
    details = {"status": status} | ({"provider_code": str(error.code)[:100]} if error.code else {})
    return TaskError(code, f"The provider answered {status}: {said}", retryable, wait, details)


def _code(status: int, code: str | None, kind: str | None) -> tuple[str, bool]:
    """Our code for an answer, and whether another try could help."""
    if code == "insufficient_quota" or kind == "insufficient_quota":
        return "budget_exceeded", False
    if code in ("content_policy_violation", "content_filter", "moderation_blocked"):
        return "content_refused", False
    if code == "rate_limit_exceeded":
        return "rate_limited", True
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


def _said(error: openai.APIError) -> str:
    """What the provider says is wrong, shortened."""
    body = error.body
    message = body.get("message") if isinstance(body, dict) else body if isinstance(body, str) else None
    return (message if isinstance(message, str) and message.strip() else "no reason given")[:_MESSAGE_LENGTH]
