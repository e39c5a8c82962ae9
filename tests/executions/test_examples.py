"""The example of every task type runs through the real engine, as its page offers it, against servers on loopback."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from dataflow.trying import trial
from tasks_lib import registry
from tasks_lib.base import TaskType
from tests.api_client import Api
from tests.examples_driver import World, document_of, example_world, finished, outputs_of

__all__ = ["example_world"]

pytestmark = pytest.mark.django_db(transaction=True)

#: Types whose example is a failure, and its code.
FAILS = {"flow.fail": "validation"}
#: Older spellings of the documented types (../shared/spec/3-task-types.md), at least one for each.
SPELLINGS = {
    "text.size": ("Text.Size",),
    "text.truncate": ("Text.Truncate",),
    "text.reverse": ("text_operations.reverse", "TextOperations.Reverse"),
    "text.static": ("static_text_input", "Text.Static"),
    "text.echo": ("echo", "Text.Echo"),
    "web.download": ("Web.Download",),
    "web.extract_text": ("Web.ExtractText",),
    "http.request": ("Http.Request",),
    "video.extract_audio": ("Video.ExtractAudio",),
    "youtube.download": ("Youtube.Download", "YouTube.Download"),
    "openai.completion": ("OpenAI.Completion",),
    "openai.audio.transcription": ("OpenAI.Audio.Transcription",),
    "openai.audio.text_to_speech": ("openai.audio.tts", "OpenAI.Audio.TextToSpeech"),
    "whisper.transcribe": ("Whisper.Transcribe",),
}


def _cases(names: list[str]) -> list[Any]:
    """A quick type takes no time; any other one may start programs or ask servers."""
    types = [(name, registry.get(name)) for name in names]
    return [
        pytest.param(name, marks=() if found is None or found.quick else pytest.mark.slow, id=name)
        for name, found in types
    ]


def _type(name: str) -> TaskType:
    found = registry.get(name)
    assert found is not None, f"there is no task type {name}"
    if said := found.missing():
        pytest.skip(said)
    return found


@pytest.mark.parametrize("name", _cases(list(registry.names())))
def test_the_example_of_every_type_runs(name: str, example_world: World) -> None:
    task_type = _type(name)
    document = document_of(task_type, example_world)
    execution = finished(document)
    if name in FAILS:
        assert (execution["status"], execution["error"]["code"]) == ("FAILED", FAILS[name])
        return
    assert execution["status"] == "COMPLETED", execution.get("error")
    outputs = outputs_of(execution)
    schema = registry.specification(task_type)["output_schema"]
    assert [error.message for error in Draft202012Validator(schema).iter_errors(outputs)] == []
    assert outputs.get(registry.default_output(task_type), outputs) is not None, "its main output is null"


@pytest.mark.parametrize("name", _cases([name for name in registry.names() if name not in FAILS]))
def test_the_example_of_every_type_runs_from_its_page(name: str, example_world: World) -> None:
    task_type = _type(name)
    inputs = document_of(task_type, example_world)["tasks"][0]["inputs"]
    execution = finished(trial(task_type), inputs)
    assert execution["status"] == "COMPLETED", execution.get("error")
    assert execution["outputs"].items() <= outputs_of(execution).items()


@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        pytest.param(name, spelling, id=spelling, marks=case.marks)
        for case in _cases(list(SPELLINGS))
        for name in case.values
        for spelling in SPELLINGS[name]
    ],
)
def test_a_documented_type_runs_under_its_older_spellings(name: str, spelling: str, example_world: World) -> None:
    document = document_of(_type(name), example_world, spelling=spelling)
    execution = finished(document)
    assert execution["status"] == "COMPLETED", execution.get("error")
    assert [task["type"] for task in execution["tasks"]] == [name], "shown with the current spelling"
    workflow = Api().call("GET", f"/workflows/{execution['workflow_id']}", status=200)
    assert workflow["definition"] == document, "kept with the spelling it came with"
