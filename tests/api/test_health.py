"""``GET /healthz`` and ``GET /readyz``."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.api_client import Api
from tests.factories import make_worker

pytestmark = pytest.mark.django_db


def test_it_works(api: Api) -> None:
    assert api.call("GET", "/healthz", status=200) == {"status": "ok"}


def test_ready_with_a_worker(api: Api) -> None:
    make_worker()
    answer = api.call("GET", "/readyz", status=200)
    assert answer["status"] == "ok"
    assert set(answer["checks"].values()) == {"ok"}


def test_unready_says_what_to_do(api: Api) -> None:
    answer = api.call("GET", "/readyz", status=503)
    assert answer["status"] == "unready"
    assert answer["checks"]["database"] == "ok"
    assert "manage.py worker" in answer["checks"]["workers"]


def test_a_silent_worker_is_none(api: Api) -> None:
    make_worker(silent_for=timedelta(minutes=2))
    api.call("GET", "/readyz", status=503)
