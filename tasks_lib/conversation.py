"""A conversation with a model whose tools are workflows: its messages, the calls it asked for, and how it is kept."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace

from dataflow.lib.errors import TaskError
from dataflow.lib.jsonvalues import JsonError, clean_json, parse_json
from dataflow.lib.sniffing import HEAD, media_type
from tasks_lib.base import FileValue, JsonValue, Resumed, TaskContext, Wait
from tasks_lib.clients.openai_chat import Completion
from tasks_lib.schema_check import mismatch, require_schema

#: Bytes of JSON that a conversation may add to what it was given, and wait with for a tool.
MAX_STATE = 1024 * 1024
#: Characters of a tool's result that the model is given; the rest is left out, and it is told so.
MAX_RESULT = 100_000
MAX_MESSAGES, MAX_TOOLS = 1000, 128
#: Bytes of all images of one request together.
MAX_IMAGES = 20 * 1024 * 1024
IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
_ROLES = ("system", "developer", "user", "assistant")
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CHUNK = 1024 * 1024
#: Levels of a call's arguments: they stand a few levels deep in what is kept, which may have 50.
_MAX_DEPTH = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A workflow that the model may run. ``parameters`` is the JSON schema of its inputs, where one is given."""

    name: str
    workflow: str
    description: str
    parameters: Mapping[str, JsonValue] | None
    version: int | None = None

    def as_sent(self) -> dict[str, JsonValue]:
        """As the protocol names it."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}


@dataclass(slots=True, kw_only=True)
class Conversation:
    """What was said, by whom, and what is still to be done before the model is asked again."""

    #: What the task was given. It is given again after a wait, and not kept: it may have secrets in it.
    given: Sequence[dict[str, JsonValue]]
    #: What was said since.
    added: list[dict[str, JsonValue]] = field(default_factory=list)
    #: Calls without an answer, as the protocol names them, in order.
    pending: list[dict[str, JsonValue]] = field(default_factory=list)
    #: What became of each call: the output ``tool_calls``.
    calls: list[dict[str, JsonValue]] = field(default_factory=list)
    #: Tokens of all turns, as the provider counts them.
    usage: dict[str, JsonValue] = field(default_factory=dict)
    turns: int = 0

    @property
    def messages(self) -> list[dict[str, JsonValue]]:
        """The whole conversation."""
        return [*self.given, *self.added]

    def add_answer(self, answer: Completion) -> None:
        """Take in what the model said: a text, or calls of tools that are to be answered."""
        self.turns += 1
        for name, amount in (answer.usage or {}).items():
            if type(amount) is int:
                self.usage[name] = self.usage.get(name, 0) + amount
        said: dict[str, JsonValue] = {"role": "assistant", "content": answer.text or None}
        if answer.tool_calls:
            ids: set[str] = set()
            for place, call in enumerate(answer.tool_calls):
                known = f"{call.id}_{place}" if call.id in ids else call.id  # some servers give all the same
                ids.add(known)
                function = {"name": call.name, "arguments": call.arguments}
                self.pending.append({"id": known, "type": "function", "function": function})
            said["tool_calls"] = list(self.pending)
        else:
            said["content"] = answer.text
        self.added.append(said)

    def add_result(self, ended: Resumed) -> None:
        """Answer the first open call with how its workflow ended; a failure is told, not raised."""
        result = ended.outputs if ended.status == "COMPLETED" else {"error": _told(ended)}
        self._answer(result, status=ended.status, execution_id=ended.execution_id or None)

    def next_run(self, tools: Mapping[str, Tool]) -> Wait | None:
        """The workflow to run for the first open call; ``None`` once every call has its answer.

        Calls that cannot be made are answered with what is wrong with them. Raises ``TaskError('too_large')``.
        """
        while self.pending:
            function = self.pending[0]["function"]
            tool = tools.get(function["name"])
            inputs, wrong = _arguments(tool, function["arguments"])
            record = {"name": function["name"], "workflow_id": tool.workflow if tool else None}
            self.calls.append(record | {"arguments": function["arguments"] if wrong else inputs})
            if tool is None or wrong:
                self._answer({"error": {"code": "validation", "message": wrong}}, status="REFUSED", execution_id=None)
                continue
            data = {"workflow_id": tool.workflow, "inputs": inputs, "version": tool.version}
            return Wait(kind="child", data=data, state=self._state())
        return None

    @classmethod
    def resumed(cls, given: Sequence[dict[str, JsonValue]], state: Mapping[str, JsonValue]) -> Conversation:
        """The conversation that a wait kept. The state itself stays as it is: another try may begin from it."""
        return cls(given=given, **deepcopy({name: state[name] for name in _KEPT}))

    def _answer(self, result: JsonValue, **record: JsonValue) -> None:
        call = self.pending.pop(0)
        self.calls[-1] |= record
        text = json.dumps(result, ensure_ascii=False)
        if len(text) > MAX_RESULT:
            text = f"{text[:MAX_RESULT]}… (cut: the result has {len(text):,} characters)"
        self.added.append({"role": "tool", "tool_call_id": call["id"], "content": text})

    def _state(self) -> dict[str, JsonValue]:
        state: dict[str, JsonValue] = clean_json({name: getattr(self, name) for name in _KEPT})  # models say anything
        size = len(json.dumps(state, ensure_ascii=False).encode("utf-8", "replace"))
        if size > MAX_STATE:
            message = (
                f"What was said has {size:,} bytes, more than the {MAX_STATE:,} that can be kept while a tool runs. "
                "Let the tools give less, or lower `max_turns`."
            )
            raise TaskError("too_large", message)
        return state


#: What of a conversation is kept while a tool runs.
_KEPT = ("added", "pending", "calls", "usage", "turns")


def tools_of(given: JsonValue) -> dict[str, Tool]:
    """The tools by name. Raises ``TaskError('validation')``, which names the place."""
    found: dict[str, Tool] = {}
    if len(given or ()) > MAX_TOOLS:
        raise TaskError("validation", f"`tools` has {len(given)} entries; {MAX_TOOLS} are allowed.")
    for place, one in enumerate(given or ()):
        tool = _tool(f"tools[{place}]", one)
        if tool.name in found:
            raise TaskError("validation", f"`tools[{place}]`: two tools are called {tool.name}. Give each a `name`.")
        found[tool.name] = tool
    return found


def with_parameters(context: TaskContext, tools: Mapping[str, Tool]) -> dict[str, Tool]:
    """The tools, each with what its workflow takes. Raises ``TaskError('validation')`` where there is no workflow."""
    return {
        name: replace(tool, parameters=context.workflow_inputs(tool.workflow, tool.version))
        if tool.parameters is None
        else tool
        for name, tool in tools.items()
    }


def checked_messages(given: JsonValue) -> list[dict[str, JsonValue]]:
    """The messages as they were given. Raises ``TaskError('validation')``, which names the place."""
    if not given or len(given) > MAX_MESSAGES:
        raise TaskError("validation", f"`messages` must have 1 to {MAX_MESSAGES} entries.")
    return [_message(f"messages[{place}]", one) for place, one in enumerate(given)]


def as_sent(context: TaskContext, messages: Sequence[Mapping[str, JsonValue]]) -> list[dict[str, JsonValue]]:
    """Messages as the protocol takes them, with the content of images that are files.

    Raises ``TaskError``: ``validation`` for a file that is no picture, ``too_large`` beyond ``MAX_IMAGES``.
    """
    room = MAX_IMAGES
    sent = []
    for message in messages:
        content = message["content"]
        if isinstance(content, list):
            parts = []
            for part in content:
                told = part
                if part["type"] == "image":
                    url, size = _data_url(context, _file(part["image"]), room)
                    room -= size
                    told = {"type": "image_url", "image_url": {"url": url}}
                parts.append(told)
            content = parts
        sent.append(dict(message) | {"content": content})
    return sent


def _told(ended: Resumed) -> dict[str, JsonValue]:
    error = ended.error or {}
    return {"code": error.get("code", ended.status.lower()), "message": error.get("message", f"It is {ended.status}.")}


def _arguments(tool: Tool | None, text: str) -> tuple[JsonValue, str]:
    """The inputs that a call gives, and what is wrong with it, empty if nothing is."""
    if tool is None:
        return None, "There is no such tool."
    try:
        inputs = parse_json(text.encode("utf-8", "replace"), max_depth=_MAX_DEPTH) if text.strip() else {}
    except JsonError as error:
        return None, f"The arguments are not JSON: {error.detail}"
    if not isinstance(inputs, dict):
        return None, "The arguments must be a JSON object."
    wrong = None if tool.parameters is None else mismatch(inputs, tool.parameters, "parameters")
    return inputs, "" if wrong is None else f"The arguments do not fit: {wrong}"


def _tool(where: str, given: JsonValue) -> Tool:
    wrong = list(_wrong_tool(given))
    if wrong:
        raise TaskError("validation", f"`{where}`: {'; '.join(wrong)}.")
    parameters = given.get("parameters") or None
    if parameters is not None:
        require_schema(parameters, f"{where}.parameters")
    return Tool(
        name=given.get("name") or given["workflow"],
        workflow=given["workflow"],
        description=given.get("description") or "",
        parameters=parameters,
        version=given.get("version"),
    )


def _wrong_tool(given: JsonValue) -> Iterator[str]:
    if not isinstance(given, dict):
        yield "it must be an object with `workflow`, `name` and `description`"
        return
    known = ("workflow", "name", "description", "parameters", "version")
    yield from (f"a tool has no `{name}`; it has {', '.join(known)}" for name in sorted(set(given) - set(known)))
    workflow, version, parameters = given.get("workflow"), given.get("version"), given.get("parameters")
    name = given.get("name") or workflow
    if not isinstance(workflow, str) or not workflow:
        yield "`workflow` must be the id of a workflow"
    elif not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
        yield "`name` must have 1 to 64 letters, digits, _ and -"
    if not isinstance(given.get("description") or "", str):
        yield "`description` must be a text"
    if parameters and (not isinstance(parameters, dict) or parameters.get("type") != "object"):
        yield "`parameters` must be a JSON schema of type object"
    if version is not None and (type(version) is not int or version < 1):
        yield "`version` must be a whole number from 1"


def _message(where: str, given: JsonValue) -> dict[str, JsonValue]:
    wrong = list(_wrong_message(given))
    if wrong:
        raise TaskError("validation", f"`{where}`: {'; '.join(wrong)}.")
    return {"role": given["role"], "content": given["content"]}


def _wrong_message(given: JsonValue) -> Iterator[str]:
    if not isinstance(given, dict):
        yield "it must be an object with `role` and `content`"
        return
    if given.get("role") not in _ROLES:
        yield f"`role` must be one of {', '.join(_ROLES)}"
    content = given.get("content")
    if isinstance(content, list) and content:
        yield from (f"`content[{at}]` {_PART}" for at, part in enumerate(content) if not _is_part(part))
    elif not isinstance(content, str):
        yield "`content` must be a text or a list of parts"


_PART = 'must be {"type": "text", "text": …} or {"type": "image", "image": a file}, or an `image_url` with https:'


def _is_part(part: JsonValue) -> bool:
    if not isinstance(part, dict):
        return False
    if part.get("type") == "text":
        return isinstance(part.get("text"), str)
    if part.get("type") == "image":
        return _file(part.get("image")) != {}
    address = part.get("image_url")
    url = address.get("url") if part.get("type") == "image_url" and isinstance(address, dict) else None
    return isinstance(url, str) and url.startswith(("https://", "data:image/"))


def _file(value: JsonValue) -> FileValue:
    """A file value; an id alone will do. Empty for what is none."""
    if isinstance(value, str) and value:
        return {"file_id": value}
    return value if isinstance(value, dict) and (value.get("file_id") or value.get("url")) else {}


def _data_url(context: TaskContext, value: FileValue, room: int) -> tuple[str, int]:
    """An image as a URL with its content in it, and its size; ``room`` is what it may have."""
    content = bytearray()
    with context.files.open(value) as file:
        while chunk := file.read(_CHUNK):
            context.cancellation.check()
            content += chunk
            if len(content) > room:
                raise TaskError("too_large", f"The images of the messages have more than {MAX_IMAGES:,} bytes.")
    kind = media_type(bytes(content[:HEAD]))
    if kind not in IMAGE_TYPES:
        name = value.get("name") or value.get("file_id") or value.get("url")
        raise TaskError("validation", f"{name} is {kind}; a model takes {', '.join(sorted(IMAGE_TYPES))}.")
    return f"data:{kind};base64,{base64.b64encode(content).decode()}", len(content)
