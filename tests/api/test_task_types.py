"""``GET /task-types`` and ``GET /task-types/{type}``."""

from __future__ import annotations

import pytest

from tasks_lib.types.text_size import TextSize
from tests.api_client import Api, assert_problem

#: Every type of the tables in ../shared/spec/3-task-types.md.
NAMED = {
    "text.size", "text.truncate", "text.reverse", "text.static", "text.echo", "web.download", "web.extract_text",
    "http.request", "video.extract_audio", "youtube.download", "openai.completion", "openai.audio.transcription",
    "openai.audio.text_to_speech", "whisper.transcribe",
    "flow.wait", "flow.approval", "flow.fail", "workflow.run",
    "json.parse", "json.query", "csv.parse", "csv.write", "data.map", "data.filter", "data.sort", "data.group",
    "text.template", "text.split", "text.join", "text.replace", "text.regex", "text.hash",
    "file.read", "file.write", "archive.zip", "archive.unzip", "document.extract_text", "image.resize",
    "image.convert", "audio.convert", "audio.split", "video.thumbnail",
    "sql.query", "email.send", "slack.post", "rss.read", "s3.get", "s3.put",
    "openai.embedding", "openai.image", "openai.moderation", "openai.chat", "ai.classify", "ai.extract",
}  # fmt: skip


#: What the specification of a type says; more may come, nothing of this goes.
SAID = {
    "name", "title", "category", "description", "inputs", "outputs", "default_output", "any_outputs", "timeout",
    "idempotent", "quick", "retried", "secrets", "aliases", "example", "input_schema", "output_schema", "installed",
    "install",
}  # fmt: skip


def test_it_works(api: Api) -> None:
    answer = api.call("GET", "/task-types", status=200)
    names = [one["specification"]["name"] for one in answer["task_types"]]
    assert set(names) >= NAMED
    assert names == sorted(names)


@pytest.mark.parametrize("name", sorted(NAMED))
def test_one(api: Api, name: str) -> None:
    answer = api.call("GET", f"/task-types/{name}", status=200)
    assert set(answer) == {"specification"}
    specification = answer["specification"]
    assert specification["name"] == name
    assert specification["description"]
    assert set(specification) >= SAID
    assert set(specification["input_schema"]["properties"]) == {field["name"] for field in specification["inputs"]}
    assert set(specification["output_schema"]["properties"]) == {field["name"] for field in specification["outputs"]}
    for field in (*specification["inputs"], *specification["outputs"]):
        assert {"name", "type", "description"} <= set(field)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("openai.audio.tts", "openai.audio.text_to_speech"),
        ("static_text_input", "text.static"),
        ("text_operations.reverse", "text.reverse"),
        ("echo", "text.echo"),
        ("Web.ExtractText", "web.extract_text"),
    ],
)
def test_older_spellings(api: Api, spelling: str, name: str) -> None:
    assert api.call("GET", f"/task-types/{spelling}", status=200)["specification"]["name"] == name


def test_one_that_lacks_a_package_says_how_to_install_it(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TextSize, "modules", ("no_such_module",))
    monkeypatch.setattr(TextSize, "extra", "sizes")
    specification = api.call("GET", "/task-types/text.size", status=200)["specification"]
    assert specification["installed"] is False
    assert "pip install -r requirements-sizes.txt" in specification["install"]


@pytest.mark.parametrize("name", ["no.such", "x" * 101, "%00", "text.size%00", "a%2Fb", "é", "text.size%0A", "..."])
def test_unknown(api: Api, name: str) -> None:
    assert_problem(api.raw("GET", f"/task-types/{name}"), 404, "not_found")
