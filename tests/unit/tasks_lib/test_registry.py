"""Finding task types, naming them, and what they say about themselves."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tasks_lib import registry
from tasks_lib.base import Field, TaskContext, TaskType
from tasks_lib.checks import RegistryError
from tasks_lib.registry import Registry

TEXT = Field(name="text", type="text", description="A text", required=True)
ROOT = Path(__file__).parents[3]
#: ../shared/spec/3-task-types.md: name, required inputs, other inputs, outputs (the default one first).
DOCUMENTED = [
    ("text.size", "text", "", "size"),
    ("text.truncate", "text length", "", "truncated_text"),
    ("text.reverse", "text", "", "text"),
    ("text.static", "text", "", "text"),
    ("text.echo", "text", "", "text"),
    ("web.download", "url", "method headers body timeout", "html status_code headers final_url content_type"),
    ("web.extract_text", "html", "favour", "text title language author date"),
    (
        "http.request",
        "url",
        "method headers query json body form files expected_status auth",
        "body json status_code headers",
    ),
    (
        "openai.completion",
        "text prompt",
        "model max_tokens temperature top_p frequency_penalty presence_penalty response_schema",
        "completion json usage model finish_reason",
    ),
    (
        "openai.audio.transcription",
        "file",
        "model language prompt response_format temperature",
        "text segments language duration",
    ),
    ("openai.audio.text_to_speech", "text", "voice model format speed instructions", "audio"),
]
#: Inputs that documented types have besides.
BEYOND = {"connection"}
DEFAULTS: dict[str, dict[str, object]] = {
    "openai.completion": {"temperature": 0.7, "top_p": 1.0, "frequency_penalty": 0, "presence_penalty": 0},
    "openai.audio.transcription": {"model": "whisper-1", "response_format": "json", "temperature": 0},
    "openai.audio.text_to_speech": {"voice": "alloy", "model": "tts-1", "format": "mp3", "speed": 1.0},
    "web.download": {"method": "GET"},
    "web.extract_text": {"favour": "balanced"},
}


def make(name: str, /, **attributes: Any) -> type[TaskType]:
    described = {"title": "T", "category": "test", "description": "D", "inputs": (TEXT,), "outputs": (TEXT,)}

    def run(self: TaskType, context: TaskContext, **inputs: Any) -> Mapping[str, Any]:
        return inputs

    return type("Made", (TaskType,), described | {"name": name, "run": run} | attributes)


@pytest.mark.parametrize(("name", "required", "optional", "outputs"), DOCUMENTED)
def test_the_documented_ones(name: str, required: str, optional: str, outputs: str) -> None:
    found = registry.get(name)
    assert found is not None
    assert {field.name for field in found.inputs if field.required} == set(required.split())
    assert {field.name for field in found.inputs if not field.required} - BEYOND == set(optional.split())
    assert [field.name for field in found.outputs] == outputs.split()
    assert registry.default_output(found) == outputs.split(maxsplit=1)[0]
    given = {field.name: field.default for field in found.inputs}
    assert DEFAULTS.get(name, {}).items() <= given.items()


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("openai.audio.tts", "openai.audio.text_to_speech"),
        ("static_text_input", "text.static"),
        ("text_operations.reverse", "text.reverse"),
        ("echo", "text.echo"),
        ("Web.ExtractText", "web.extract_text"),
        ("Web.Download", "web.download"),
        ("OpenAI.Audio.TextToSpeech", "openai.audio.text_to_speech"),
        ("Openai.Completion", "openai.completion"),
        ("TextOperations.Reverse", "text.reverse"),
        ("TEXT.SIZE", "text.size"),
        ("Echo", "text.echo"),
    ],
)
def test_other_spellings(spelling: str, name: str) -> None:
    assert registry.get(spelling) is registry.get(name) is not None


@pytest.mark.parametrize("name", ["", "text", "text.", "text.sizes", "web.extracttext", "text-size", "Text.Siz"])
def test_unknown_names(name: str) -> None:
    assert registry.get(name) is None


def test_listing() -> None:
    assert list(registry.names()) == sorted(registry.names())
    assert [found.name for found in registry.all()] == registry.names()
    assert {"echo", "text.echo"} <= set(registry.load().spellings())


@pytest.mark.parametrize("task_type", registry.all(), ids=lambda found: found.name)
def test_a_specification_is_json_and_complete(task_type: TaskType) -> None:
    shown = registry.specification(task_type)
    assert json.loads(json.dumps(shown)) == shown
    assert {field["name"] for field in shown["inputs"]} == {field.name for field in task_type.inputs}
    assert shown["example"], "the catalogue shows one for every type"
    assert all(field["description"] for field in shown["inputs"] + shown["outputs"])


def test_a_specification_shows_every_check() -> None:
    checked = Field(
        name="n",
        type="number",
        description="N",
        default=2,
        example=3,
        minimum=1,
        maximum=4,
        aliases=("m",),
        enum=(2, 3),
    )
    made = make("test.checked", inputs=(TEXT, checked), aliases=("old",), example={"text": "x"})()
    shown = registry.specification(made)
    assert shown["inputs"][1] == {
        "name": "n", "type": "number", "description": "N", "required": False, "default": 2, "example": 3,
        "minimum": 1, "maximum": 4, "aliases": ["m"], "enum": [2, 3],
    }  # fmt: skip
    assert (shown["aliases"], shown["example"], shown["default_output"]) == (["old"], {"text": "x"}, "text")


def test_two_types_with_one_name() -> None:
    with pytest.raises(RegistryError, match=r"both claim the name 'test[.]a'"):
        Registry([make("test.a"), make("test.a")])
    with pytest.raises(RegistryError, match=r"both claim the name 'test[.]a'"):
        Registry([make("test.a"), make("test.b", aliases=("test.a",))])


def test_ambiguous_spellings_find_nothing() -> None:
    found = Registry(
        [
            make("test.ab"),
            make("test.a_b"),
            make("test.c", aliases=("Old.Name",)),
            make("test.d", aliases=("old.name",)),
        ]
    )
    assert found.get("Test.A_B") is found.get("test.a_b")
    assert found.get("Test.AB") is found.get("test.ab")
    assert found.get("OLD.NAME") is None
    assert found.get("Old.Name") is found.get("test.c")


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"title": ""}, "lacks title"),
        ({"outputs": ()}, "no outputs"),
        ({"default_output": "other"}, "default output 'other'"),
        ({"example": {"other": 1}}, "'other', which is not an input"),
        ({"example": {"text": 1}}, "not of type text"),
        ({"inputs": (TEXT, TEXT)}, "two inputs"),
        ({"inputs": (TEXT, Field(name="t", type="text", description="d", aliases=("TEXT",)))}, "two inputs"),
        ({"inputs": (Field(name="Bad", type="text", description="d"),)}, "'Bad'"),
        ({"inputs": (Field(name="n", type="int", description="d"),)}, "unknown type"),  # type: ignore[arg-type]  # the point
        ({"inputs": (Field(name="n", type="number", description="d", default="1"),)}, "not of type number"),
        ({"inputs": (Field(name="n", type="number", description="d", default=True),)}, "not of type number"),
        ({"inputs": (Field(name="n", type="text", description="d", default="x", enum=("y",)),)}, "enum"),
        ({"inputs": (Field(name="n", type="text", description="d", required=True, default="x"),)}, "required and has"),
        ({"timeout": 0}, "timeout"),
        ({"retried": ("timeout", "nonsense")}, "it retries nonsense"),
        ({"name": "Bad Name"}, "'Bad Name'"),
        (
            {"inputs": (TEXT, Field(name="b", type="text", description="d", required=True)), "example": {"text": "x"}},
            "lacks b",
        ),
    ],
)
def test_a_class_that_says_too_little(attributes: dict[str, Any], said: str) -> None:
    with pytest.raises(RegistryError, match=re.escape(said)):
        Registry([make("test.bad", **attributes)])


DROPPED = '''
from tasks_lib.base import Field, TaskType
from tasks_lib.types.text_size import TextSize

class Base(TaskType):
    """Abstract: not a task type by itself."""

class Dropped(Base):
    name = "test.dropped"
    title = "Dropped"
    category = "test"
    description = "Found without being listed."
    inputs = (Field(name="text", type="text", description="Any"),)
    outputs = (Field(name="text", type="text", description="The same"),)

    def run(self, context, **inputs):
        return inputs
'''


def python(code: str, *paths: Path) -> str:
    """Run code in a fresh interpreter, as tests of loading need one."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": ":".join(map(str, (*paths, ROOT)))},
    )
    return done.stdout + done.stderr


def test_a_file_dropped_in_is_found(tmp_path: Path) -> None:
    (tmp_path / "dropped.py").write_text(DROPPED)
    said = python(
        f"""
        from tasks_lib import types
        types.__path__.append({str(tmp_path)!r})
        from tasks_lib import registry
        print(registry.names(), registry.get("Test.Dropped").run(None, text="x"))
        """
    )
    assert "'test.dropped'" in said
    assert "{'text': 'x'}" in said
    assert said.count("text.size") == 1


def install(tmp_path: Path, entry: str) -> Path:
    (tmp_path / "extra.py").write_text(DROPPED)
    info = tmp_path / "extra-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: extra\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[dataflow.task_types]\nextra = {entry}\n")
    return tmp_path


@pytest.mark.parametrize("entry", ["extra", "extra:Dropped"])
def test_another_package_adds_types(tmp_path: Path, entry: str) -> None:
    said = python("from tasks_lib import registry; print(registry.names())", install(tmp_path, entry))
    assert said.count("'test.dropped'") == 1


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("nowhere", "cannot be loaded"),
        ("extra:Missing", "cannot be loaded"),
        ("extra:DROPPED", "cannot"),
        ("extra:Field", "neither"),
    ],
)
def test_another_package_that_is_broken(tmp_path: Path, entry: str, reason: str) -> None:
    said = python("from tasks_lib import registry; print(registry.names())", install(tmp_path, entry))
    assert "RegistryError: The entry point extra = " in said
    assert reason in said


def test_loading_stays_light() -> None:
    said = python(
        """
        import sys
        from tasks_lib import registry
        registry.load()
        heavy = {"requests", "openai", "trafilatura", "lxml", "regex", "jsonschema", "httpx2", "imageio_ffmpeg", "espeakng_loader"}
        print("heavy", sorted(heavy & set(sys.modules)))
        """
    )
    assert "heavy []" in said
