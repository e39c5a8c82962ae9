"""``POST /workflows/validate``."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api_client import Api, assert_problem, rows
from tests.factories import DOCUMENT

pytestmark = pytest.mark.django_db


def test_it_works(api: Api) -> None:
    answer = api.call("POST", "/workflows/validate", DOCUMENT, status=200)
    assert answer["valid"] is True
    assert answer["warnings"] == []
    assert answer["plan"]["stages"] == [["first"], ["second"], ["third"]]
    assert answer["plan"]["tasks"][1] == {"name": "second", "type": "text.reverse", "waits_for": ["first"]}


def test_it_stores_nothing(api: Api) -> None:
    before = rows()
    api.call("POST", "/workflows/validate", DOCUMENT, status=200)
    assert rows() == before


def test_it_says_what_create_says(api: Api) -> None:
    document = DOCUMENT | {"title": "", "tasks": [{"name": "x y", "type": "no.such"}]}
    checked = assert_problem(api.send("POST", "/workflows/validate", document, status=400), 400, "validation")
    created = assert_problem(api.send("POST", "/workflows", document, status=400), 400, "validation")
    assert checked["errors"] == created["errors"] != []


def test_it_needs_no_database(api: Api, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        api.call("POST", "/workflows/validate", DOCUMENT, status=200)
