"""What a proxy says of its client, and who is believed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api_client import Api


@pytest.mark.parametrize(
    ("trusted", "caller", "proto", "redirected"),
    [
        ("127.0.0.1", "127.0.0.1", "https", False),
        ("127.0.0.1", "127.0.0.1", "http", True),
        ("127.0.0.1", "127.0.0.1", "", True),
        ("127.0.0.1", "10.0.0.1", "https", True),
        ("10.0.0.1", "10.0.0.1", "https", False),
        ("*", "10.0.0.1", "https", False),
        ("", "127.0.0.1", "https", True),
    ],
)
def test_who_is_believed_that_a_client_speaks_tls(
    api: Api, settings: Any, trusted: str, caller: str, proto: str, redirected: bool
) -> None:
    settings.SECURE_SSL_REDIRECT = True
    settings.FORWARDED_ALLOW_IPS = frozenset(filter(None, [trusted]))
    answer = api.generic("GET", "/task-types", headers={"X-Forwarded-Proto": proto}, REMOTE_ADDR=caller)
    assert (answer.status_code == 301) is redirected
