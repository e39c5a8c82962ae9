"""The system checks of the installation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from dataflow import checks


def ids(found: Any) -> list[str]:
    return [message.id for message in found]


@pytest.mark.parametrize(("options", "expected"), [({}, []), ({"pool": True}, ["dataflow.E001"]), ({"pool": {}}, [])])
def test_no_connection_pool(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], expected: list[str]
) -> None:
    monkeypatch.setitem(settings.DATABASES["default"], "OPTIONS", options)
    assert ids(checks.check_no_connection_pool()) == expected


@pytest.mark.parametrize(
    ("key", "debug", "expected"),
    [
        ("django-insecure-abcdefghijklmnopqrstuvwxyz0123456789abcdefgh", False, ["dataflow.E002"]),
        ("short", False, ["dataflow.E002"]),
        ("ab" * 40, False, ["dataflow.E002"]),
        ("short", True, []),
        ("3kR9vLq2Zx7TnW5yBm8Hc4Jd6Gf1Ps0Ua-eQoXiKzVtNrYwMbE", False, []),
    ],
)
def test_secret_key(settings: Settings, key: str, debug: bool, expected: list[str]) -> None:
    settings.SECRET_KEY, settings.DEBUG = key, debug
    assert ids(checks.check_secret_key()) == expected


@pytest.mark.parametrize(("version", "expected"), [((3, 34, 9), ["dataflow.E003"]), ((3, 35, 0), [])])
def test_sqlite_version(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int], expected: list[str]
) -> None:
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", "django.db.backends.sqlite3")
    monkeypatch.setattr("sqlite3.sqlite_version_info", version)
    assert ids(checks.check_sqlite_version()) == expected


def test_data_dir(settings: Settings, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    assert ids(checks.check_data_dir_writable()) == []
    settings.DATA_DIR = tmp_path / "gone"
    assert ids(checks.check_data_dir_writable()) == ["dataflow.E004"]


@pytest.mark.parametrize(
    ("host", "debug", "expected"),
    [
        ("127.0.0.1", True, []),
        ("localhost", True, []),
        ("::1", True, []),
        ("0.0.0.0", True, ["dataflow.W001"]),
        ("0.0.0.0", False, []),
    ],
)
def test_debug_on_loopback(settings: Settings, host: str, debug: bool, expected: list[str]) -> None:
    settings.HOST, settings.DEBUG = host, debug
    assert ids(checks.check_debug_on_loopback()) == expected
