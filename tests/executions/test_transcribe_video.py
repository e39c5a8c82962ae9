"""The example `transcribe-video`: the provider fails, the model on this machine gives the words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from executions.models import Execution
from executions.worker.node import Node
from tests.api_client import Api
from tests.carrier_driver import go_on
from tests.executions_driver import age_due_times, age_wake
from tests.stubs.openai_stub import KEY, OpenAIStub, error
from tests.stubs.speech import PICTURE, SENTENCE, share_heard, spoken

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

DOCUMENT = Path(__file__).resolve().parents[1] / "documents" / "transcribe-video.json"


@pytest.fixture
def openai(settings: Any) -> Iterator[OpenAIStub]:
    with OpenAIStub(key=KEY) as stub:
        settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY = stub.base_url, KEY
        yield stub


@pytest.fixture
def started(openai: OpenAIStub, tmp_path: Path) -> Execution:
    """The example, begun with a video in which somebody speaks."""
    api = Api()
    workflow = api.call("POST", "/workflows", json.loads(DOCUMENT.read_text(encoding="utf-8")), status=201)
    film = SimpleUploadedFile("film.mp4", spoken(SENTENCE, tmp_path, *PICTURE, name="film.mp4"), "video/mp4")
    answer = api.post(f"/workflows/{workflow['workflow_id']}/executions", {"video": film})
    assert answer.status_code == 201, answer.content
    return Execution.objects.get(pk=answer.json()["workflow_execution_id"])


def work(execution: Execution) -> dict[str, Any]:
    """Carry it to its end, waits for retries passing at once: the execution as the API shows it."""
    for _ in range(5):
        go_on(Node(threads=1).run)
        shown: dict[str, Any] = Api().call(
            "GET", f"/workflows/{execution.workflow_id}/executions/{execution.pk}", status=200
        )
        if shown["status"] in ("COMPLETED", "FAILED"):
            return shown
        age_due_times(execution)
        age_wake(execution, seconds=3600)
    raise AssertionError(f"it has not ended: {shown}")


def test_whisper_steps_in_when_the_provider_fails(started: Execution, openai: OpenAIStub) -> None:
    openai.script(*[error(500)] * 3)
    shown = work(started)
    assert shown["status"] == "COMPLETED", shown
    text = shown["outputs"]["transcription"]
    assert share_heard(SENTENCE, text) >= 0.6, text
    assert [request.path for request in openai.requests] == ["/v1/audio/transcriptions"] * 3


def test_the_provider_is_asked_first(started: Execution, openai: OpenAIStub) -> None:
    shown = work(started)
    assert shown["status"] == "COMPLETED", shown
    assert len(openai.requests) == 1
    assert share_heard(SENTENCE, shown["outputs"]["transcription"]) < 0.6  # the stub does not listen
