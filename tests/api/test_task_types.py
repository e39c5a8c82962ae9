"""``GET /task-types`` and ``GET /task-types/{type}``."""

from __future__ import annotations

import pytest

from tests.api_client import Api, assert_problem

NAMED = {
    "text.size", "text.truncate", "text.reverse", "text.static", "text.echo", "web.download", "web.extract_text",
    "http.request", "openai.completion", "openai.audio.text_to_speech", "openai.audio.transcription",
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


@pytest.mark.parametrize("name", ["no.such", "x" * 101, "%00", "text.size%00", "a%2Fb", "é", "text.size%0A", "..."])
def test_unknown(api: Api, name: str) -> None:
    assert_problem(api.raw("GET", f"/task-types/{name}"), 404, "not_found")
