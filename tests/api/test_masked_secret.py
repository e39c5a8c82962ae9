"""The webhook secret in a definition is shown nowhere, and survives a read, a change and a write."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api_client import Api, assert_problem
from tests.factories import DOCUMENT
from workflows.masking import MASK
from workflows.models import Workflow

pytestmark = pytest.mark.django_db

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def document(secret: str = SECRET, **changes: Any) -> dict[str, Any]:
    webhook = {"url": "https://example.com/hook", "secret": secret}
    return DOCUMENT | {"monitoring": {"webhook": webhook}} | changes


def test_it_is_shown_masked_and_kept_by_a_write_of_what_was_read(api: Api) -> None:
    created = api.call("POST", "/workflows", document(), status=201)
    path = created["url"]
    shown = api.call("GET", path, status=200)["definition"]
    assert shown == document(MASK)
    assert api.call("PUT", path, shown, status=200)["workflow_version"] == 1
    assert api.call("PUT", path, shown | {"title": "New"}, status=200)["workflow_version"] == 2
    stored = Workflow.objects.get(pk=created["workflow_id"]).current().definition
    assert stored == document(title="New")


def test_a_new_secret_replaces_it(api: Api) -> None:
    path = api.call("POST", "/workflows", document(), status=201)["url"]
    assert api.call("PUT", path, document("whsec_" + "A" * 32), status=200)["workflow_version"] == 2


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
@pytest.mark.parametrize("place", ["", "/versions/1", "/versions/2", "/edit"])
def test_no_page_and_no_answer_holds_it(api: Api, place: str, accept: str) -> None:
    path = api.call("POST", "/workflows", document(), status=201)["url"]
    api.call("PUT", path, document(title="New"), status=200)
    assert SECRET.encode() not in api.get(path + place, headers={"accept": accept}).content


def test_a_mask_without_a_secret_before_it_is_refused(api: Api, workflow: Workflow) -> None:
    pointer = ["/monitoring/webhook/secret"]
    assert_problem(api.send("POST", "/workflows", document(MASK), status=400), 400, at=pointer)
    assert_problem(api.send("PUT", f"/workflows/{workflow.pk}", document(MASK), status=400), 400, at=pointer)
