"""A small catalogue of task types, and the shortest way to check a definition against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.types.flow_approval import FlowApproval
from tasks_lib.types.flow_wait import FlowWait
from workflows.definition import Checked, check

CheckTasks = Callable[..., Checked]


class _Type(TaskType):
    title = category = description = ""

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        return {}


def text(name: str, **more: Any) -> Field:
    return Field(name=name, type="text", description=f"The {name}.", **more)


class Static(_Type):
    name = "text.static"
    inputs = (text("text", required=True),)
    outputs = (text("text"),)


class Reverse(Static):
    name = "text.reverse"


class Echo(_Type):
    name = "text.echo"
    aliases = ("echo",)
    inputs = (text("text", required=True),)
    outputs = (text("text"),)


class Size(_Type):
    name = "text.size"
    inputs = (text("text", required=True),)
    outputs = (Field(name="size", type="number", description=""),)


class Truncate(_Type):
    name = "text.truncate"
    inputs = (
        text("text", required=True, max_length=1000),
        Field(name="length", type="number", description="", required=True, minimum=0, maximum=100),
    )
    outputs = (text("truncated_text"),)


class Download(_Type):
    name = "web.download"
    inputs = (
        text("url", required=True),
        text("method", default="GET", enum=("GET", "HEAD")),
        Field(name="headers", type="object", description=""),
        text("body"),
        Field(name="follow", type="boolean", description=""),
        Field(name="tags", type="list", description=""),
    )
    outputs = (
        text("html"),
        Field(name="status_code", type="number", description=""),
        Field(name="headers", type="object", description=""),
        Field(name="found", type="boolean", description=""),
        Field(name="links", type="list", description=""),
        Field(name="json", type="any", description=""),
    )


class Extract(_Type):
    name = "web.extract_text"
    inputs = (text("html", required=True),)
    outputs = (text("text"),)


class Completion(_Type):
    name = "openai.completion"
    inputs = (
        text("text", required=True),
        text("prompt", required=True, aliases=("instructions",)),
        Field(name="max_tokens", type="number", description=""),
    )
    outputs = (text("completion"),)


class Speech(_Type):
    name = "openai.audio.text_to_speech"
    aliases = ("openai.audio.tts",)
    inputs = (text("text", required=True), text("voice", default="alloy"))
    outputs = (Field(name="audio", type="file", description=""),)


class Audio(_Type):
    name = "video.extract_audio"
    inputs = (Field(name="video", type="file", description="", required=True),)
    outputs = (Field(name="audio", type="file", description=""),)


class Transcription(_Type):
    name = "openai.audio.transcription"
    inputs = (Field(name="file", type="file", description="", required=True, aliases=("audio",)), text("model"))
    outputs = (text("text"),)


class Whisper(_Type):
    name = "whisper.transcribe"
    inputs = (Field(name="audio", type="file", description="", required=True),)
    outputs = (text("text"),)


class Shop(_Type):
    """Names that differ in case only."""

    name = "shop"
    inputs = (text("Key"), text("key"), text("Other"))
    outputs = ()


class Child(_Type):
    """Gives outputs that nobody knows beforehand, and one that everybody does."""

    name = "workflow.run"
    inputs = (text("workflow_id", required=True), Field(name="inputs", type="object", description=""))
    outputs = (Field(name="number", type="number", description=""),)
    any_outputs = True


TYPES = (
    Child,
    FlowWait,
    FlowApproval,
    Static,
    Reverse,
    Echo,
    Size,
    Truncate,
    Download,
    Extract,
    Completion,
    Speech,
    Audio,
    Transcription,
    Whisper,
    Shop,
)


class Known:
    """A catalogue of ``TYPES``; a CamelCase spelling stands for the real one's tolerance."""

    def __init__(self) -> None:
        self.types = {one.name: one() for one in TYPES}
        self.spellings = {alias: self.types[one.name] for one in TYPES for alias in one.aliases}
        self.spellings["Web.ExtractText"] = self.types["web.extract_text"]

    def get(self, name: str, /) -> TaskType | None:
        return self.types.get(name) or self.spellings.get(name)

    def names(self) -> Sequence[str]:
        return sorted(self.types)


@pytest.fixture(scope="session")
def catalogue() -> Known:
    return Known()


@pytest.fixture
def checked(catalogue: Known) -> Callable[[object], Checked]:
    """Check a whole document."""
    return lambda document: check(document, catalogue)


@pytest.fixture
def check_tasks(catalogue: Known) -> CheckTasks:
    """Check a document with these tasks and other top-level fields."""

    def run(*tasks: Any, **fields: Any) -> Checked:
        return check({"title": "T", "tasks": list(tasks), **fields}, catalogue)

    return run
