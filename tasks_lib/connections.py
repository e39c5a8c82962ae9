"""The kinds of named connections and their settings: what is kept, asked for, checked and given to tasks.

The one place that says so. Pure: where they are kept, and who may use them, is said elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

from dataflow.lib.errors import TaskError
from tasks_lib.base import MISSING, JsonValue
from tasks_lib.checks import fits

#: Characters of one setting.
MAX_SETTING = 4096
#: A path of a URL that is not longer than this gives nothing away.
_SHORT_PATH = 8
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}")
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+")
_BUCKET = re.compile(r"[A-Za-z0-9._-]{3,63}")
_SCHEME = re.compile(r"[a-z][a-z0-9]*(\+[a-z0-9]+)?://")

SettingFormat = Literal["", "http_url", "sql_url", "host", "port", "address", "bucket"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionField:
    """One setting of a kind. A ``secret`` one is never shown again once it is kept."""

    name: str
    type: Literal["text", "number", "boolean"]
    description: str
    required: bool = False
    secret: bool = False
    default: JsonValue = MISSING
    enum: tuple[str, ...] = ()
    example: JsonValue = MISSING
    format: SettingFormat = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of connection: what it leads to and which settings it has."""

    name: str
    title: str
    description: str
    fields: tuple[ConnectionField, ...]


_OPENAI = Kind(
    name="openai",
    title="OpenAI protocol",
    description="A server that speaks the protocol of OpenAI",
    fields=(
        ConnectionField(
            name="base_url",
            type="text",
            format="http_url",
            description="Where the protocol is spoken; OpenAI itself without it",
            example="https://api.openai.com/v1",
        ),
        ConnectionField(
            name="api_key", type="text", secret=True, description="Key; a server of your own may need none"
        ),
        ConnectionField(
            name="default_model",
            type="text",
            description="Model of tasks that name none",
            example="gpt-4o-mini",
        ),
        ConnectionField(name="organisation", type="text", description="Organisation to bill", example="org-abc"),
    ),
)
_SQL = Kind(
    name="sql",
    title="SQL database",
    description="A database that is asked in SQL",
    fields=(
        ConnectionField(
            name="url",
            type="text",
            required=True,
            secret=True,
            format="sql_url",
            description="Address with user and password, or `sqlite:////absolute/path` of a file that exists",
            example="postgresql://reader:password@db.example.com:5432/shop",
        ),
        ConnectionField(
            name="read_only",
            type="boolean",
            default=True,
            description="Whether every statement that writes is refused. Let the user of the address have no more "
            "rights than to read: a superuser also reads the server's files",
        ),
    ),
)
_EMAIL = Kind(
    name="email",
    title="Mail server",
    description="An SMTP server that sends mail",
    fields=(
        ConnectionField(
            name="host", type="text", required=True, format="host", description="Server", example="smtp.example.com"
        ),
        ConnectionField(name="port", type="number", format="port", default=587, description="Port", example=587),
        ConnectionField(
            name="security",
            type="text",
            enum=("none", "starttls", "tls"),
            default="starttls",
            description="Encryption: none, after the greeting (port 587), or from the first byte (port 465)",
        ),
        ConnectionField(name="username", type="text", description="User name; no login without it"),
        ConnectionField(name="password", type="text", secret=True, description="Password of the user"),
        ConnectionField(
            name="sender",
            type="text",
            required=True,
            format="address",
            description="Address that mail comes from",
            example="flows@example.com",
        ),
    ),
)
_SLACK = Kind(
    name="slack",
    title="Slack",
    description="A Slack workspace, by an incoming webhook or a bot token",
    fields=(
        ConnectionField(
            name="webhook_url",
            type="text",
            secret=True,
            format="http_url",
            description="Incoming webhook; it posts to the one channel it was made for",
            example="https://hooks.slack.com/services/T0/B0/x",
        ),
        ConnectionField(
            name="token", type="text", secret=True, description="Bot token with `chat:write`", example="xoxb-…"
        ),
        ConnectionField(
            name="channel",
            type="text",
            description="Channel of messages that name none (with a token)",
            example="#reports",
        ),
        ConnectionField(
            name="api_url",
            type="text",
            format="http_url",
            default="https://slack.com/api",
            description="Where the API is, for GovSlack or a proxy of your own",
        ),
    ),
)
_S3 = Kind(
    name="s3",
    title="S3 storage",
    description="A bucket of S3, or of a store that speaks its protocol",
    fields=(
        ConnectionField(
            name="bucket", type="text", required=True, format="bucket", description="Bucket", example="reports"
        ),
        ConnectionField(name="region", type="text", default="us-east-1", description="Region", example="eu-west-1"),
        ConnectionField(
            name="endpoint_url",
            type="text",
            format="http_url",
            description="Server, where it is not Amazon's",
            example="https://minio.example.com",
        ),
        ConnectionField(name="access_key_id", type="text", required=True, description="Id of the access key"),
        ConnectionField(
            name="secret_access_key", type="text", required=True, secret=True, description="The access key's secret"
        ),
        ConnectionField(
            name="prefix",
            type="text",
            description="Beginning of every key; tasks see only what is below it",
            example="flows/",
        ),
    ),
)

#: Every kind by name.
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (_OPENAI, _SQL, _EMAIL, _SLACK, _S3)}


def check(kind: str, settings: Mapping[str, JsonValue]) -> list[tuple[str, str]]:
    """What is wrong with ``settings``: ``(field, message)``, empty where they can be used.

    A field is named as it came, ``""`` for the whole. No message shows a value. Raises ``KeyError`` for an unknown
    kind. ``None`` and a missing field are the same.
    """
    fields = {field.name: field for field in KINDS[kind].fields}
    found = [
        (str(name), f"A connection of kind {kind} has no such setting. It has {', '.join(fields)}.")
        for name in settings
        if name not in fields
    ]
    for name, field in fields.items():
        if (message := _wrong_setting(field, settings.get(name))) is not None:
            found.append((name, message))
    return found or list(_wrong_together(kind, settings))


def complete(kind: str, settings: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Every setting of the kind: as given, else its default, else ``None``. Raises ``KeyError`` for an unknown kind."""
    defaults = {field.name: None if field.default is MISSING else field.default for field in KINDS[kind].fields}
    return defaults | {name: value for name, value in settings.items() if name in defaults and value is not None}


def secret_values(kind: str, settings: Mapping[str, JsonValue]) -> list[str]:
    """Everything in ``settings`` that must be shown nowhere: secret settings, and what is secret inside a URL.

    Raises ``KeyError`` for an unknown kind.
    """
    values = [settings.get(field.name) for field in KINDS[kind].fields if field.secret]
    texts = [value for value in values if isinstance(value, str) and value]
    return list(dict.fromkeys([*texts, *(part for text in texts for part in _secret_parts(text))]))


@contextmanager
def guarded(kind: str, settings: Mapping[str, JsonValue]) -> Iterator[None]:
    """A ``TaskError`` that leaves the block shows none of the secrets of the connection, whatever raised it."""
    try:
        yield
    except TaskError as error:
        secrets = sorted(secret_values(kind, settings), key=len, reverse=True)
        message, details = _masked([error.message, dict(error.details)], secrets)
        raise TaskError(error.code, message, error.retryable, error.retry_after, details) from None


def _masked(value: JsonValue, secrets: Sequence[str]) -> JsonValue:
    match value:
        case str():
            for secret in secrets:
                value = value.replace(secret, "***")
            return value
        case dict():
            return {name: _masked(inner, secrets) for name, inner in value.items()}
        case list() | tuple():
            return [_masked(inner, secrets) for inner in value]
        case _:
            return value


def _secret_parts(text: str) -> list[str]:
    """The password in a URL, as it stands, decoded and encoded, and the path of a URL that is its own password."""
    try:
        parts = urlsplit(text)
        password = parts.password
    except ValueError:
        return []
    forms = [password, unquote(password), quote(unquote(password), safe="")] if password else []
    if parts.scheme in ("http", "https") and len(parts.path) > _SHORT_PATH:
        forms.append(parts.path)
    return [form for form in forms if form]


def _wrong_setting(field: ConnectionField, value: JsonValue) -> str | None:
    if value is None or value == "":
        return "It is required." if field.required else None
    if not fits(value, field.type):
        return f"It must be of type {field.type}."
    if isinstance(value, str) and (len(value) > MAX_SETTING or _CONTROL.search(value)):
        return f"It must have at most {MAX_SETTING} characters and no line breaks or other control characters."
    if field.enum and value not in field.enum:
        return f"It must be one of {', '.join(field.enum)}."
    wrong = _FORMATS.get(field.format)
    return None if wrong is None else wrong(value)


def _wrong_http_url(value: str) -> str | None:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return "It is not a URL."
    if not usable:
        return "It must start with http:// or https:// and name a host."
    return "It must hold no user name and no password." if "@" in parts.netloc else None


def _wrong_sql_url(value: str) -> str | None:
    if not _SCHEME.match(value):
        return "It must be like postgresql://user:password@host:5432/database or sqlite:////absolute/path."
    return None


def _wrong_port(value: float) -> str | None:
    return None if 0 < value < 65536 and value == int(value) else "It must be a whole number from 1 to 65535."


def _pattern(pattern: re.Pattern[str], message: str) -> Callable[[str], str | None]:
    return lambda value: None if pattern.fullmatch(value) else message


_FORMATS: dict[str, Callable[..., str | None]] = {
    "http_url": _wrong_http_url,
    "sql_url": _wrong_sql_url,
    "port": _wrong_port,
    "host": _pattern(_HOST, "It must be a host name or an address, without a scheme or a port."),
    "address": _pattern(_ADDRESS, "It must be a mail address such as flows@example.com."),
    "bucket": _pattern(_BUCKET, "It must be the name of a bucket: 3 to 63 letters, digits, dots and hyphens."),
}


def _wrong_together(kind: str, settings: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
    """What is wrong between settings that are each right."""
    if kind == "slack" and bool(settings.get("webhook_url")) == bool(settings.get("token")):
        yield "webhook_url", "Give either webhook_url or token."
    if kind == "email" and bool(settings.get("username")) != bool(settings.get("password")):
        yield "username", "Give username and password together, or neither."
