"""What task types see to be wrong with literals before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from tasks_lib import registry
from tasks_lib.base import MISSING

URL = "https://example.com"
CHAT = {"messages": [{"role": "user", "content": "Hello"}]}
MAIL = {"connection": "main", "to": "ann@example.com", "subject": "x", "text": "y"}
SOUND = {"audio": "fl-1"}


def found(name: str, given: dict[str, Any]) -> list[tuple[str, str]]:
    return list(registry.load().types[name].check(given))


@pytest.mark.parametrize(
    ("name", "given", "place", "words"),
    [
        *[
            (name, {"url": url}, "url", "must start with http:// or https:// and name a host")
            for name in ("web.download", "http.request", "rss.read", "youtube.download")
            for url in ("example.com", "ftp://example.com", "http://", "http://a:99999999", "")
        ],
        ("web.download", {"url": URL, "headers": {"a": [1]}}, "headers", "headers.a"),
        ("http.request", {"url": URL, "method": "GE T"}, "method", "'GE T' is not an HTTP method"),
        ("http.request", {"url": URL, "headers": {"a": {}}}, "headers", "headers.a"),
        ("http.request", {"url": URL, "query": {"a": [{}]}}, "query", "query.a"),
        ("http.request", {"url": URL, "form": {"a": []}}, "form", "form.a"),
        ("http.request", {"url": URL, "expected_status": "ok"}, "expected_status", "must be like 200"),
        ("http.request", {"url": URL, "auth": {"user": "ann"}}, "auth", "`auth` must be"),
        ("http.request", {"url": URL, "json": {}, "body": "x"}, "body", "Give one of"),
        ("http.request", {"url": URL, "json": {}, "form": {}}, "form", "Give one of"),
        ("rss.read", {"url": URL, "since": "yesterday"}, "since", "not a time with a zone"),
        ("text.truncate", {"text": "x", "length": 1.5}, "length", "must be a whole number, not 1.5"),
        ("text.split", {"text": "x", "by": "length", "length": 1.5}, "length", "must be a whole number"),
        ("text.split", {"text": "x", "separator": ","}, "separator", "`by: lines` does not look at `separator`"),
        ("openai.completion", {"text": "x", "prompt": "y", "max_tokens": 1.5}, "max_tokens", "must be a whole number"),
        ("openai.completion", {"response_schema": {"type": "array"}}, "response_schema", "must be of type object"),
        ("openai.chat", CHAT | {"max_turns": 1.5}, "max_turns", "must be a whole number"),
        ("openai.chat", CHAT | {"response_schema": {"type": ["string"]}}, "response_schema", "must be of type object"),
        ("openai.embedding", {}, "text", "Give either"),
        ("openai.embedding", {"text": "x", "texts": ["y"], "connection": MISSING}, "text", "Give either"),
        ("openai.embedding", {"text": "x", "dimensions": 1.5}, "dimensions", "must be a whole number"),
        ("openai.image", {"prompt": "x", "n": 1.5}, "n", "must be a whole number"),
        ("video.extract_audio", {"video": "fl-1", "bitrate": "fast"}, "bitrate", "8k to 512k"),
        ("audio.convert", SOUND | {"sample_rate": 8000.5}, "sample_rate", "must be a whole number"),
        ("audio.split", SOUND | {"channels": 1.5}, "channels", "must be a whole number"),
        ("email.send", MAIL | {"to": "nobody"}, "to", "nobody"),
        ("email.send", MAIL | {"bcc": [5]}, "bcc", "`bcc` must be"),
        ("email.send", MAIL | {"subject": "x\nBcc: eve@example.org"}, "subject", "line break"),
        ("email.send", MAIL | {"text": None}, "text", "Give `text`, `html` or both"),
    ],
)
def test_wrong_literals_are_told(name: str, given: dict[str, Any], place: str, words: str) -> None:
    [(at, message)] = found(name, given)
    assert at == place
    assert words in message


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("web.download", {"url": MISSING, "headers": MISSING}),
        ("web.download", {"url": " HTTPS://Example.com:8080/a b?c", "headers": {"a": 1, "b": None}}),
        ("http.request", {"url": URL, "method": "purge", "json": None, "body": "x", "expected_status": [200, "3xx"]}),
        ("http.request", {"url": URL, "json": MISSING, "body": "x", "auth": {"token": "t"}}),
        ("http.request", {"url": URL, "form": {"a": 1}, "files": {"f": "fl-1"}}),
        ("rss.read", {"url": URL, "since": "2026-01-01T00:00:00Z"}),
        ("text.truncate", {"text": "x", "length": 5.0}),
        ("text.split", {"text": "x", "by": MISSING, "separator": ","}),
        ("text.split", {"text": "x", "separator": None}),
        ("openai.completion", {"text": "x", "prompt": "y", "response_schema": {"properties": {}}, "max_tokens": 10}),
        ("openai.completion", {"text": "x", "prompt": "y", "response_schema": {"type": ["object", "null"]}}),
        ("openai.embedding", {"text": MISSING, "texts": ["x"]}),
        ("openai.embedding", {"text": "x", "texts": None, "connection": MISSING}),
        ("video.extract_audio", {"video": "fl-1", "bitrate": "128k", "channels": 2, "sample_rate": None}),
        ("email.send", MAIL | {"to": ["Ann <ann@example.com>"], "cc": MISSING, "html": MISSING}),
    ],
)
def test_what_may_be_right_is_let_through(name: str, given: dict[str, Any]) -> None:
    assert found(name, given) == []
