"""Asks a model for a completion, as a stream where the server gives one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataflow.lib.errors import TaskError
from dataflow.lib.jsonvalues import JsonError, parse_json
from tasks_lib.base import JsonValue, TaskContext
from tasks_lib.clients.openai_client import Endpoint, as_object, exchange, malformed

#: Called with the characters that have come so far.
OnText = Callable[[int], None]
_EVENTS = "text/event-stream"
#: Tool calls of one answer; more are no answer but a fault.
_MAX_CALLS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A tool that the model wants called. ``arguments`` is text that ought to be a JSON object."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a model answered. ``refusal`` is its words when it would not."""

    text: str
    refusal: str | None
    model: str
    finish_reason: str | None
    usage: dict[str, JsonValue] | None
    tool_calls: tuple[ToolCall, ...] = ()


def complete(
    context: TaskContext, endpoint: Endpoint, *, messages: Sequence[Any], on_text: OnText, **options: Any
) -> Completion:
    """One chat completion. ``options`` go to the protocol as they are. Raises ``TaskError``.

    It is asked for as a stream; a server that refuses to stream is asked again without.
    """
    try:
        return _streamed(context, endpoint, on_text, {"messages": messages, **options})
    except TaskError as error:
        if not _means_no_stream(error):
            raise
    with exchange(context, endpoint) as client:
        answer: Any = client.chat.completions.create(messages=messages, **options)
        return _whole(as_object(answer), options)


def _streamed(context: TaskContext, endpoint: Endpoint, on_text: OnText, asked: dict[str, Any]) -> Completion:
    with exchange(context, endpoint) as client:
        create: Any = client.chat.completions.with_streaming_response.create
        with create(stream=True, stream_options={"include_usage": True}, **asked) as answer:
            if answer.headers.get("content-type", "").startswith(_EVENTS):
                return _assembled(answer.parse(), asked, on_text)
            data = _parsed(answer.read())  # a server that knows no streams answers at once
    return _whole(data, asked)


def _means_no_stream(error: TaskError) -> bool:
    return error.details.get("status") in (400, 404, 422, 501) and "stream" in error.message.lower()


def _parsed(body: bytes) -> dict[str, JsonValue]:
    try:
        data = parse_json(body)
    except JsonError as error:
        malformed(f"is not JSON: {error.detail}")
    if not isinstance(data, dict):
        malformed("is not a JSON object")
    return data


def _whole(data: Mapping[str, Any], asked: Mapping[str, Any]) -> Completion:
    """A completion that came in one piece."""
    choice = _first(data.get("choices"))
    message = choice.get("message") if choice is not None else None
    if choice is None or not isinstance(message, dict):
        malformed("has no choices")
    content, refusal = message.get("content"), message.get("refusal")
    calls = _calls(message.get("tool_calls"))
    if not isinstance(content, str) and not isinstance(refusal, str) and not calls:
        malformed("has no text")
    return Completion(
        text=content if isinstance(content, str) else "",
        refusal=refusal if isinstance(refusal, str) else None,
        model=str(data.get("model") or asked.get("model", "")),
        finish_reason=_text(choice.get("finish_reason")),
        usage=data.get("usage") if isinstance(data.get("usage"), dict) else None,
        tool_calls=calls,
    )


@dataclass(slots=True)
class _Pieces:
    """What of a streamed answer has come."""

    text: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    #: By their place: id, name, pieces of the arguments.
    calls: dict[int, tuple[list[str], list[str], list[str]]] = field(default_factory=dict)
    characters: int = 0
    model: str = ""
    finish_reason: str | None = None
    usage: dict[str, JsonValue] | None = None

    def add(self, chunk: Mapping[str, Any]) -> None:
        """Take in one event."""
        self.model = str(chunk.get("model") or self.model)
        if isinstance(chunk.get("usage"), dict):
            self.usage = chunk["usage"]
        choice = _first(chunk.get("choices"))
        if choice is None:
            return
        self.finish_reason = _text(choice.get("finish_reason")) or self.finish_reason
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return
        for name, kept in (("content", self.text), ("refusal", self.refusal)):
            if isinstance(piece := delta.get(name), str):
                kept.append(piece)
                self.characters += len(piece)
        for call in delta.get("tool_calls") or ():
            self._add_call(call)

    def _add_call(self, call: Any) -> None:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            malformed("has a tool call without a function")
        place = call.get("index")
        # Some servers leave the place out: an id begins a new call.
        here = place if isinstance(place, int) else max(len(self.calls) - (0 if call.get("id") else 1), 0)
        if here not in self.calls and len(self.calls) >= _MAX_CALLS:
            malformed(f"has more than {_MAX_CALLS} tool calls")
        kept = self.calls.setdefault(here, ([], [], []))
        for pieces, piece in zip(kept, (call.get("id"), function.get("name"), function.get("arguments")), strict=True):
            if isinstance(piece, str):
                pieces.append(piece)
                self.characters += len(piece)


def _assembled(events: Iterable[Any], asked: Mapping[str, Any], on_text: OnText) -> Completion:
    pieces = _Pieces()
    for event in events:
        pieces.add(as_object(event))
        on_text(pieces.characters)
    if pieces.finish_reason is None:
        raise TaskError("communication", "The provider's stream ended before the answer did.", retryable=True)
    told = [
        {"id": "".join(ids), "function": {"name": "".join(names), "arguments": "".join(arguments)}}
        for _, (ids, names, arguments) in sorted(pieces.calls.items())
    ]
    return Completion(
        text="".join(pieces.text),
        refusal="".join(pieces.refusal) or None,
        model=pieces.model or str(asked.get("model", "")),
        finish_reason=pieces.finish_reason,
        usage=pieces.usage,
        tool_calls=_calls(told),
    )


def _calls(told: Any) -> tuple[ToolCall, ...]:
    if not told:
        return ()
    if not isinstance(told, list) or len(told) > _MAX_CALLS:
        malformed("has tool calls that are no list, or too many")
    return tuple(_call(place, one) for place, one in enumerate(told))


def _call(place: int, told: Any) -> ToolCall:
    function = told.get("function") if isinstance(told, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name:
        malformed("has a tool call without a name")
    arguments = function.get("arguments")
    return ToolCall(
        id=_text(told.get("id")) or f"call_{place}",
        name=name,
        arguments=arguments if isinstance(arguments, str) else "",
    )


def _first(choices: Any) -> dict[str, Any] | None:
    choice = choices[0] if isinstance(choices, list) and choices else None
    return choice if isinstance(choice, dict) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
