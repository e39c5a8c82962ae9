"""What ``manage.py up`` starts besides the web server and the worker."""

from __future__ import annotations

from typing import Any

import pytest

from dataflow import startup

VOICE = "http://127.0.0.1:1/v1"


@pytest.mark.parametrize(
    ("debug", "key", "base_url", "voice", "needed"),
    [
        (True, "", "", "", True),
        (True, "sk-test", "", "", False),
        (True, "", "http://127.0.0.1:11434/v1", "", False),
        (True, "", "", VOICE, False),
        (False, "", "", "", False),
    ],
)
def test_the_local_voice_is_started_where_it_would_be_used(
    settings: Any, debug: bool, key: str, base_url: str, voice: str, needed: bool
) -> None:
    settings.DEBUG, settings.OPENAI_API_KEY, settings.OPENAI_BASE_URL = debug, key, base_url
    settings.DATAFLOW_LOCAL_VOICE_URL = voice
    assert startup._needs_local_voice() is needed
