"""``openai.chat``: a conversation with a model, whose tools are other workflows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dataflow.lib.errors import TaskError
from tasks_lib import conversation
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType, Wait
from tasks_lib.clients import openai_chat
from tasks_lib.clients.openai_client import RETRIED, endpoint_of
from tasks_lib.conversation import Conversation, Tool
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
_MOST_TURNS = 20


class OpenAIChat(TaskType):
    """Talks with a model. A tool that it calls is an execution of another workflow; no worker is held meanwhile."""

    name = "openai.chat"
    title = "Chat"
    category = "AI"
    description = (
        "Continues a conversation with a language model. Its tools are other workflows: when the model calls one, that "
        "workflow runs, and the model goes on with its outputs, or with its error. Several calls run one after the "
        "other. At the last of `max_turns` the model must answer without tools."
    )
    inputs = (
        Field(
            name="messages",
            type="list",
            required=True,
            description="What was said: objects with `role` (`system`, `user`, `assistant`) and `content`, a text or a "
            'list of parts `{"type": "text", "text": …}` and `{"type": "image", "image": a file}`',
            example=[{"role": "user", "content": "What is the capital of France?"}],
        ),
        Field(
            name="tools",
            type="list",
            description="Workflows that the model may run: objects with `workflow` (its id), `name`, `description`, "
            "and optionally `version` and `parameters` (JSON schema; otherwise its inputs as they are declared)",
            example=[{"workflow": "wf-0123456789", "name": "look_up", "description": "Looks a customer up"}],
        ),
        Field(
            name="max_turns",
            type="number",
            default=5,
            minimum=1,
            maximum=_MOST_TURNS,
            description="How often the model is asked at most",
        ),
        model_field(_MODEL),
        *SAMPLING_FIELDS,
        Field(name="response_schema", type="object", description="JSON schema that the last answer must keep to"),
        CONNECTION,
    )
    outputs = (
        Field(name="message", type="text", description="The model's last answer"),
        Field(name="messages", type="list", description="The whole conversation"),
        Field(name="json", type="object", description="The last answer as JSON, when `response_schema` is given"),
        Field(
            name="tool_calls",
            type="list",
            description="Each call: `name`, `workflow_id`, `arguments`, `status` (`COMPLETED`, `FAILED`, `CANCELLED`, "
            "or `REFUSED` for one that could not be made) and `execution_id`",
        ),
        Field(name="usage", type="object", description="Tokens of all turns, as the provider counts them"),
        Field(name="model", type="text", description="The model that answered"),
        Field(name="finish_reason", type="text", description="Why it ended: `stop`, `length` …", example="stop"),
        Field(name="turns", type="number", description="How often the model was asked"),
    )
    secrets = ("OPENAI_API_KEY",)
    retried = (*RETRIED, "output_invalid")
    example = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}

    def check(self, given: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
        """Messages, tools and the schema, as far as they are known."""
        checks = {"messages": conversation.checked_messages, "tools": conversation.tools_of}
        yield from wrong_inputs(given, {**checks, "response_schema": require_object})
        yield from fractions(given, "max_tokens", "max_turns")

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue] | Wait:
        """Ask the model until it answers without a tool. Raises ``TaskError``."""
        if (schema := inputs["response_schema"]) is not None:
            require_object(schema)
        tools = conversation.with_parameters(context, conversation.tools_of(inputs["tools"]))
        talk = _begun(context, inputs)
        most = int(inputs["max_turns"])
        while (wait := talk.next_run(tools)) is None:
            answer = _ask(context, talk, tools, inputs, most)
            talk.add_answer(answer)
            if not answer.tool_calls:
                return _outputs(talk, answer, schema)
            if talk.turns >= most:
                message = f"The model still calls tools after {talk.turns} turns. Raise `max_turns`."
                raise TaskError("output_invalid", message, retryable=True)
        return wait


def _begun(context: TaskContext, inputs: Mapping[str, JsonValue]) -> Conversation:
    """The conversation as it stands: from its beginning, or from the end of a tool."""
    given = conversation.checked_messages(inputs["messages"])
    if context.resumed is None:
        return Conversation(given=given)
    talk = Conversation.resumed(given, context.resumed.state)
    talk.add_result(context.resumed)
    return talk


def _ask(
    context: TaskContext, talk: Conversation, tools: Mapping[str, Tool], inputs: Mapping[str, JsonValue], most: int
) -> openai_chat.Completion:
    """One turn."""
    endpoint = endpoint_of(context, inputs["connection"])
    options = sampling_options(inputs, endpoint.model(inputs["model"], _MODEL))
    if tools:
        options["tools"] = [tool.as_sent() for tool in tools.values()]
        if talk.turns + 1 >= most:
            options["tool_choice"] = "none"
    if inputs["response_schema"] is not None:
        options["response_format"] = response_format(inputs["response_schema"])
    turn = talk.turns + 1
    tell = progress_of_text(
        context, inputs["max_tokens"], begun=talk.turns / most, share=1 / most, prefix=f"Turn {turn}: "
    )
    messages = conversation.as_sent(context, talk.messages)
    answer = openai_chat.complete(context, endpoint, messages=messages, on_text=tell, **options)
    record_usage(context, answer.model, answer.usage)
    require_answer(answer)
    return answer


def _outputs(
    talk: Conversation, answer: openai_chat.Completion, schema: Mapping[str, JsonValue] | None
) -> dict[str, JsonValue]:
    return {
        "message": answer.text,
        "messages": talk.messages,
        "json": None if schema is None else checked_json(answer, schema),
        "tool_calls": talk.calls,
        "usage": talk.usage,
        "model": answer.model,
        "finish_reason": answer.finish_reason,
        "turns": talk.turns,
    }
