"""``POST /workflows/{id}/executions`` with the files of its inputs: multipart parts, ids, whole descriptions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile

from executions.models import Execution, StoredFile
from tests.api_client import Api, assert_nothing_queued, assert_problem
from tests.factories import make_workflow
from workflows.models import Workflow

INPUTS = [{"name": "sound", "type": "file"}, {"name": "note", "type": "text", "required": False}]

pytestmark = pytest.mark.django_db


@pytest.fixture
def workflow(db: None) -> Workflow:
    return make_workflow(
        inputs=INPUTS, tasks=[{"name": "a", "type": "text.static", "inputs": {"text": "x"}}], outputs=[]
    )


def send(api: Api, workflow: Workflow, parts: dict[str, Any], **headers: str) -> Any:
    return api.post(f"/workflows/{workflow.pk}/executions", parts, headers=headers)


def sound() -> SimpleUploadedFile:
    return SimpleUploadedFile("o.wav", b"RIFF....WAVE", "application/octet-stream")


def test_it_works(api: Api, workflow: Workflow) -> None:
    answer = send(api, workflow, {"inputs": json.dumps({"note": "loud"}), "labels": '{"a": "b"}', "sound": sound()})
    assert answer.status_code == 201, answer.content
    execution, stored = Execution.objects.get(), StoredFile.objects.get()
    assert execution.inputs == {"sound": stored.as_value(), "note": "loud"}
    assert execution.labels == {"a": "b"}
    assert (stored.name, stored.content_type) == ("o.wav", "audio/wav")


@pytest.mark.parametrize(
    ("parts", "pointer"),
    [
        ({"inputs": "{"}, "/inputs"),
        ({"inputs": '{"note": 1}'}, "/inputs/note"),
        ({"inputs": '{"note": "\\u0000"}'}, "/inputs"),
        ({"note": "loud"}, "/note"),
        ({"other": SimpleUploadedFile("b.wav", b"x")}, "/inputs/other"),
        ({"inputs": "[]"}, "/inputs"),
    ],
)
def test_a_bad_request_keeps_no_file(api: Api, workflow: Workflow, parts: dict[str, Any], pointer: str) -> None:
    problem = assert_problem(send(api, workflow, parts | {"sound": sound()}), 400)
    assert pointer in {error["pointer"] for error in problem["errors"]}
    assert not StoredFile.objects.exists()
    assert_nothing_queued()


def test_the_content_of_a_refused_file_is_gone_too(
    api: Api, workflow: Workflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[str] = []
    save = default_storage.save

    def noting(*arguments: Any) -> str:
        kept.append(save(*arguments))
        return kept[-1]

    monkeypatch.setattr(default_storage, "save", noting)
    assert_problem(send(api, workflow, {"inputs": '{"note": 1}', "sound": sound()}), 400)
    assert kept
    assert not default_storage.exists(kept[0])


def test_with_an_idempotency_key_the_file_is_uploaded_first(api: Api, workflow: Workflow) -> None:
    answer = send(api, workflow, {"sound": sound()}, **{"Idempotency-Key": "k"})
    assert_problem(answer, 400, at=["/Idempotency-Key"])


def test_the_whole_answer_of_an_upload_is_a_file(api: Api, workflow: Workflow) -> None:
    described = api.post("/files", {"file": sound()}).json()
    inputs = {"sound": described | {"name": "../forged", "size": 0}}
    api.call("POST", f"/workflows/{workflow.pk}/executions", {"inputs": inputs}, status=201)
    assert Execution.objects.get().inputs["sound"] == StoredFile.objects.get().as_value()
