"""Monitoring and labels, as a definition and an execution request give them."""

from __future__ import annotations

import pytest

from workflows.definition import check_labels, check_monitoring

URL = "https://example.com/hook"


@pytest.mark.parametrize(
    "value",
    [
        {"webhook_url": URL},
        {"webhook_url": "http://localhost:8000/x?y=1"},
        {"webhook": {"url": URL}},
        {
            "webhook": {
                "url": URL,
                "events": ["started", "completed", "failed", "cancelled", "task"],
                "secret": "whsec_x",
            }
        },
    ],
)
def test_good_monitoring(value: object) -> None:
    assert check_monitoring(value, "/monitoring") == []


@pytest.mark.parametrize(
    ("value", "pointer", "code"),
    [
        (None, "", "wrong_type"),
        ("x", "", "wrong_type"),
        ([], "", "wrong_type"),
        ({}, "", "required"),
        ({"webhook_url": URL, "webhook": {"url": URL}}, "", "conflicting"),
        ({"webhook_urls": URL}, "/webhook_urls", "unknown_field"),
        ({"webhook_url": None}, "/webhook_url", "wrong_type"),
        ({"webhook_url": "example.com"}, "/webhook_url", "invalid_url"),
        ({"webhook_url": "ftp://example.com"}, "/webhook_url", "invalid_url"),
        ({"webhook_url": "https://user:pw@example.com/"}, "/webhook_url", "invalid_url"),
        ({"webhook_url": "https://user@example.com/"}, "/webhook_url", "invalid_url"),
        ({"webhook_url": "https://"}, "/webhook_url", "invalid_url"),
        ({"webhook_url": "https://example.com/a b"}, "/webhook_url", "invalid_url"),
        ({"webhook_url": "https://example.com\\@evil/"}, "/webhook_url", "invalid_url"),
        ({"webhook_url": "https://[::1"}, "/webhook_url", "invalid_url"),
        ({"webhook_url": "https://example.com:99999/"}, "/webhook_url", "invalid_url"),
        ({"webhook_url": "https://example.com/" + "x" * 2048}, "/webhook_url", "invalid_url"),
        ({"webhook": URL}, "/webhook", "wrong_type"),
        ({"webhook": {}}, "/webhook/url", "required"),
        ({"webhook": {"url": URL, "event": []}}, "/webhook/event", "unknown_field"),
        ({"webhook": {"url": URL, "events": "task"}}, "/webhook/events", "wrong_type"),
        ({"webhook": {"url": URL, "events": []}}, "/webhook/events", "too_short"),
        ({"webhook": {"url": URL, "events": ["done"]}}, "/webhook/events/0", "not_in_enum"),
        ({"webhook": {"url": URL, "events": [{}]}}, "/webhook/events/0", "not_in_enum"),
        ({"webhook": {"url": URL, "events": ["task", "task"]}}, "/webhook/events/1", "duplicate_name"),
        ({"webhook": {"url": URL, "events": ["task"] * 6}}, "/webhook/events", "too_many"),
        ({"webhook": {"url": URL, "secret": 5}}, "/webhook/secret", "wrong_type"),
        ({"webhook": {"url": URL, "secret": ""}}, "/webhook/secret", "too_short"),
        ({"webhook": {"url": URL, "secret": "x" * 513}}, "/webhook/secret", "too_long"),
    ],
)
def test_bad_monitoring(value: object, pointer: str, code: str) -> None:
    assert [(one.pointer, one.code) for one in check_monitoring(value, "/m")] == [(f"/m{pointer}", code)]


def test_a_secret_is_never_in_a_message() -> None:
    problems = check_monitoring({"webhook": {"url": "https://user:hush@example.com", "secret": "hush" * 200}}, "")
    assert len(problems) == 2
    assert not [one for one in problems if "hush" in one.detail + one.hint]


@pytest.mark.parametrize("value", [{}, {"a": ""}, {"team": "x" * 256}, {f"k{n}": "v" for n in range(50)}])
def test_good_labels(value: object) -> None:
    assert check_labels(value, "/labels") == []


@pytest.mark.parametrize(
    ("value", "pointer", "code"),
    [
        ([], "", "wrong_type"),
        (None, "", "wrong_type"),
        ({"a": 1}, "/a", "wrong_type"),
        ({"a": None}, "/a", "wrong_type"),
        ({"a": ["x"]}, "/a", "wrong_type"),
        ({"": "x"}, "/", "invalid_name"),
        ({"k" * 65: "x"}, "/" + "k" * 65, "invalid_name"),
        ({"a": "x" * 257}, "/a", "too_long"),
        ({f"k{n}": "v" for n in range(51)}, "", "too_many"),
    ],
)
def test_bad_labels(value: object, pointer: str, code: str) -> None:
    assert [(one.pointer, one.code) for one in check_labels(value, "/l")] == [(f"/l{pointer}", code)]
