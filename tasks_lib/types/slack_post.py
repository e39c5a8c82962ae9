"""``slack.post``: a message to a Slack channel."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dataflow.lib.errors import TaskError
from dataflow.lib.jsonvalues import JsonError, parse_json
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.connections import complete, guarded

if TYPE_CHECKING:  # imports `requests`
    from dataflow.lib.egress import Response

#: Characters of a text and blocks of a message, as Slack has them; bytes of a message and of an answer; seconds.
MAX_TEXT, MAX_BLOCKS, MAX_MESSAGE, MAX_ANSWER, TIMEOUT = 40_000, 50, 512 * 1024, 1024 * 1024, 30.0
#: Characters of Slack's own words that a message shows.
_SHOWN = 200
#: By Slack's error: our code, and whether another try could help. Anything else is a message that Slack refuses.
_CODES: dict[str, tuple[str, bool]] = {
    word: (code, retryable)
    for code, retryable, words in [
        ("authentication", False, "invalid_auth not_authed account_inactive token_revoked token_expired"),
        ("authentication", False, "no_service invalid_token no_team"),
        ("authorization", False, "missing_scope no_permission not_in_channel access_denied action_prohibited"),
        ("authorization", False, "restricted_action posting_to_general_channel_denied ekm_access_denied"),
        ("rate_limited", True, "ratelimited rate_limited message_limit_exceeded rollup_error"),
        ("provider_error", True, "service_unavailable request_timeout team_added_to_org"),
        # Slack says of these that a part may have been done: a message twice is worse than one that fails.
        ("provider_error", False, "internal_error fatal_error"),
        ("too_large", False, "msg_too_long msg_blocks_too_long"),
    ]
    for word in words.split()
}
#: What Slack's errors look like; anything else comes from something that stands before it.
_WORD = re.compile(r"[a-z][a-z0-9_]{1,60}")
_REMEDIES = {
    "not_in_channel": "Invite the bot to the channel.",
    "channel_not_found": "Give a channel's id or name that the bot can see.",
    "missing_scope": "Give the token the scope chat:write.",
    "invalid_blocks": "Check the blocks in Slack's Block Kit Builder.",
}


class SlackPost(TaskType):
    """Posts a message by an incoming webhook or a bot's token, whichever the connection has."""

    name = "slack.post"
    title = "Post to Slack"
    category = "integrations"
    description = "Posts a message to a Slack channel, through a connection with an incoming webhook or a bot token."
    inputs = (
        Field(name="connection", type="text", required=True, description="Name of the connection", example="main"),
        Field(
            name="text",
            type="text",
            description="Message in Slack's mrkdwn; with `blocks` what notifications show",
            example="The report is ready",
        ),
        Field(name="blocks", type="list", description="Block Kit blocks, at most 50"),
        Field(
            name="channel",
            type="text",
            description="Channel id or name; the connection's without it. A webhook has its own",
            example="#reports",
        ),
        Field(name="thread_ts", type="text", description="`ts` of the message to answer in its thread"),
    )
    outputs = (
        Field(name="posted", type="boolean", description="Whether Slack took the message", example=True),
        Field(name="ts", type="text", description="Slack's name for the message (with a token)"),
        Field(name="channel", type="text", description="Id of the channel (with a token)"),
    )
    retried = ("communication", "rate_limited", "timeout", "provider_error")
    idempotent = False
    example = {"connection": "main", "text": "The report is ready"}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Post the message. Raises ``TaskError`` by what Slack says."""
        settings = complete("slack", context.connection(inputs["connection"], "slack"))
        message = _message(inputs)
        with guarded("slack", settings):
            if settings["token"]:
                return _by_token(context, settings, message, inputs["channel"])
            return _by_webhook(context, settings, message, inputs["channel"])


def _message(inputs: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    text, blocks = inputs["text"] or "", inputs["blocks"] or []
    if not text.strip() and not blocks:
        raise TaskError("validation", "Give `text`, `blocks` or both.")
    if len(text) > MAX_TEXT or len(blocks) > MAX_BLOCKS:
        message = (
            f"A message has at most {MAX_TEXT:,} characters and {MAX_BLOCKS} blocks. Post a file's address instead."
        )
        raise TaskError("too_large", message)
    if not all(isinstance(block, dict) for block in blocks):
        raise TaskError("validation", "`blocks` must be a list of objects, as Slack's Block Kit Builder gives them.")
    given = {"text": text, "blocks": blocks, "thread_ts": inputs["thread_ts"]}
    message_value = {name: value for name, value in given.items() if value}
    if len(json.dumps(message_value)) > MAX_MESSAGE:
        raise TaskError("too_large", f"The message is larger than {MAX_MESSAGE // 1024} KiB.")
    return message_value


def _by_webhook(
    context: TaskContext, settings: Mapping[str, JsonValue], message: dict[str, JsonValue], channel: str | None
) -> dict[str, JsonValue]:
    if not settings["webhook_url"]:
        raise TaskError("validation", "The connection has neither a webhook_url nor a token.")
    if channel:
        raise TaskError("validation", "A webhook posts to its own channel. Leave `channel` out, or use a bot token.")
    status, body, retry_after = _sent(context, str(settings["webhook_url"]), message, {})
    if status != 200 or body.strip() != "ok":
        raise _failure(status, body, retry_after)
    return {"posted": True, "ts": None, "channel": None}


def _by_token(
    context: TaskContext, settings: Mapping[str, JsonValue], message: dict[str, JsonValue], channel: str | None
) -> dict[str, JsonValue]:
    target = channel or settings["channel"]
    if not target:
        raise TaskError("validation", "Give a `channel`, here or in the connection.")
    url = f"{str(settings['api_url']).rstrip('/')}/chat.postMessage"
    headers = {"Authorization": f"Bearer {settings['token']}"}
    status, body, retry_after = _sent(context, url, message | {"channel": target}, headers)
    answer = _parsed(body)
    if status != 200 or answer.get("ok") is not True:
        raise _failure(status, str(answer.get("error") or body), retry_after)
    return {"posted": True, "ts": _text(answer.get("ts")), "channel": _text(answer.get("channel"))}


def _sent(
    context: TaskContext, url: str, message: Mapping[str, JsonValue], headers: Mapping[str, str]
) -> tuple[int, str, float | None]:
    """Status, body and the wait that is asked for. A redirect is not followed: the token goes where it was meant to."""
    request = context.http.request(
        "POST", url, json=message, headers=headers, timeout=TIMEOUT, max_bytes=MAX_ANSWER, follow_redirects=0
    )
    with request as response:
        return response.status, _body(response), response.retry_after


def _body(response: Response) -> str:
    return response.read().decode("utf-8", "replace")


def _parsed(body: str) -> dict[str, Any]:
    try:
        answer = parse_json(body.encode())
    except JsonError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _text(value: JsonValue) -> str | None:
    return value if isinstance(value, str) else None


def _failure(status: int, said: str, retry_after: float | None) -> TaskError:
    """The error for what Slack said: one of its words, or whatever stands in the body."""
    word = " ".join(said.split())[:_SHOWN]
    details = {"status": status, "slack_error": word}
    code, retryable = _code(status, word)
    message = f"Slack refused the message: {word or f'status {status}'}. {_REMEDIES.get(word, '')}".rstrip()
    return TaskError(code, message, retryable, retry_after if retryable else None, details)


def _code(status: int, word: str) -> tuple[str, bool]:
    if status == 429:
        return "rate_limited", True
    if word in _CODES:
        return _CODES[word]
    if status >= 500:
        return "provider_error", True
    if status in (401, 403):
        return "authentication" if status == 401 else "authorization", False
    return "validation" if _WORD.fullmatch(word) and not 300 <= status < 400 else "output_invalid", False
